"""Detects a training run that has died, so that it stops and says why."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field


class Collapsed(RuntimeError):
    """The encoder no longer distinguishes texts."""


@dataclass
class Watch:
    """Looks at the last `window` steps.

    Collapse means: non-finite loss, almost no active terms, almost all terms
    active, or a contrastive loss that is no better than guessing among `batch`
    passages and not falling (large weights may begin far above chance and recover).
    """

    batch: int
    vocabulary: int
    window: int = 25
    fewest: float = 1.5
    densest: float = 0.25
    losses: deque[float] = field(default_factory=deque)
    terms: deque[float] = field(default_factory=deque)

    def state(self) -> dict[str, list[float]]:
        """What a saved run must remember to notice a collapse at the same step after resuming."""
        return {"losses": list(self.losses), "terms": list(self.terms)}

    def restore(self, state: dict[str, list[float]]) -> None:
        self.losses = deque(state.get("losses", []))
        self.terms = deque(state.get("terms", []))

    def see(self, contrast: float, query_terms: float, document_terms: float) -> None:
        if not math.isfinite(contrast):
            raise Collapsed(f"the loss is {contrast}")
        self.losses.append(contrast)
        self.terms.append(min(query_terms, document_terms))
        if len(self.losses) > self.window:
            self.losses.popleft()
            self.terms.popleft()
        if len(self.losses) < self.window:
            return
        loss, terms = sum(self.losses) / self.window, sum(self.terms) / self.window
        if terms < self.fewest:
            raise Collapsed(f"only {terms:.2f} active terms a text over {self.window} steps")
        if document_terms > self.densest * self.vocabulary:
            raise Collapsed(f"{document_terms:.0f} active terms a document of {self.vocabulary}")
        half = self.window // 2
        earlier, later = list(self.losses)[:half], list(self.losses)[-half:]
        if loss > 0.98 * math.log(self.batch) and sum(later) > 0.9 * sum(earlier):
            raise Collapsed(f"contrastive loss {loss:.3f} is at chance ({math.log(self.batch):.3f})")
