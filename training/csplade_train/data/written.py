"""Pseudo-queries that the base language model writes itself.

A passage is shown to the model after three others with their queries, and it goes on with
one (InPars, Bonifacio et al. 2022).  Small models often write nonsense, so a
query should be kept only if BM25 finds its own passage with it near the top
(`mining.found_again`, the round trip of Promptagator, Dai et al. 2022).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..base import GGUF, PACKAGE
from .pairs import Pair, tidy

EXAMPLES = (
    (
        "Bread rises because yeast feeds on the sugars of the dough and gives off carbon dioxide, which the "
        "stretched gluten holds in small bubbles. A cold kitchen slows this down.",
        "why does bread dough rise slowly",
    ),
    (
        "A lighthouse keeper trimmed the wicks, wound the clockwork that turned the lens and wrote the weather "
        "into a log. Electric lamps ended the trade within fifty years.",
        "duties of lighthouse keepers",
    ),
    (
        "To restore a table from a backup, stop the writers, copy the files into an empty directory and start "
        "the server with recovery switched on. It replays the log up to the last complete transaction.",
        "restore database table after crash",
    ),
)
"""Passages and what somebody typed: a model without instruction tuning goes on in the same way."""

MOST_CHARACTERS = 500
"""Of a passage that the model is shown."""

MOST_TOKENS = 16
"""Of what it writes."""

LABEL = re.compile(r"^(?:search|query|question|answer)(?: query)?\s*:\s*", re.IGNORECASE)
WORDS = range(2, 17)
"""Of a query."""

LONGEST_COPY = 4
"""Words that may stand in the passage one after the other: a name or a term, no sentence."""


class Writer:
    """A causal language model that writes one line about a passage.

    directory: a Hugging Face model with its tokenizer; without it SmolLM2-135M-Instruct of the package.
    The same seed, threads and batches give the same lines.
    """

    def __init__(self, directory: Path | None = None, seed: int = 1, temperature: float = 0.7) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place, extra = _place(directory)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(place, padding_side="left", **extra)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **extra).eval()
        self.seed, self.temperature = seed, temperature

    @torch.inference_mode()
    def __call__(self, passages: list[str]) -> list[str]:
        """A line for each passage, as the model wrote it."""
        torch.manual_seed(self.seed)
        asked = self.tokenizer([prompt(p) for p in passages], return_tensors="pt", padding=True)
        how: dict[str, object] = {"do_sample": False}
        if self.temperature > 0:
            how = {"do_sample": True, "temperature": self.temperature, "top_p": 0.9}
        written = self.model.generate(
            **asked, max_new_tokens=MOST_TOKENS, pad_token_id=self.tokenizer.pad_token_id, **how
        )
        lines: list[str] = self.tokenizer.batch_decode(
            written[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return lines


def prompt(passage: str) -> str:
    """What the model goes on from: three passages with their queries, then this one."""
    shown = [f"Text: {text}\nSearch query: {query}\n\n" for text, query in EXAMPLES]
    return "".join(shown) + f"Text: {tidy(passage)[:MOST_CHARACTERS]}\nSearch query:"


def _place(directory: Path | None) -> tuple[str, dict[str, str]]:
    if directory is not None:
        return str(directory), {}
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"install {PACKAGE.replace('_', '-')} to have the model that writes, or name one")
    return str(Path(next(iter(spec.submodule_search_locations)))), {"gguf_file": GGUF}


def cleaned(line: str, passage: str) -> str | None:
    """The query in what a model wrote, or None where there is none or it only copies the passage."""
    first = next((part for part in line.splitlines() if part.strip()), "")
    text = LABEL.sub("", tidy(first)).strip("\"'`*<>[]. ")
    words = text.split()
    if len(words) not in WORDS or len({w.lower() for w in words}) < 0.7 * len(words):
        return None
    if len(words) > LONGEST_COPY and text.lower() in tidy(passage).lower():
        return None
    return text


def written(pairs: list[Pair], write: Callable[[list[str]], list[str]], batch: int = 16) -> Iterator[Pair]:
    """A pair for every passage that the model wrote a query to; source and group stay."""
    for start in range(0, len(pairs), batch):
        part = pairs[start : start + batch]
        for pair, line in zip(part, write([p.passage for p in part]), strict=True):
            query = cleaned(line, pair.passage)
            if query is not None:
                yield Pair(query, pair.passage, pair.source, pair.group)
