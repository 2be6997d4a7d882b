"""The inference-free query: a learned weight per token, no model (Geng et al. 2411.04403, LightRetriever)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = "query_weights.json"
"""Its file in a checkpoint directory: `{"repeated": "once", "weights": [one per token id]}`.

A weight of 0 means the token is no term; `repeated` says whether a token that occurs
twice counts "once" or as the "sum".
"""


class QueryTable(nn.Module):
    """Weights [V] of a query's distinct tokens, never negative."""

    term_mask: Tensor

    def __init__(self, start: Tensor, term_mask: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone())
        self.register_buffer("term_mask", term_mask.clone())

    def weights(self) -> Tensor:
        return torch.relu(self.weight) * self.term_mask

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Query vectors [B, V] of ids and mask [B, S]: repeated tokens count once."""
        present = torch.zeros(len(ids), len(self.weight), device=ids.device)
        present.scatter_reduce_(1, ids, mask.float(), "amax")
        return present * self.weights()


def start_of(idf: Tensor, scale: float) -> Tensor:
    """The weight scale * sqrt(idf) [V] at which the document side's own tokens start too."""
    return scale * idf.clamp(0.02, 9.0).sqrt()


def read(directory: Path) -> tuple[Tensor, str]:
    """The weights [V] in a checkpoint's `query_weights.json`, and how repeated tokens count."""
    found = json.loads((directory / FILE).read_text(encoding="utf-8"))
    return torch.tensor(found["weights"], dtype=torch.float32), str(found["repeated"])


def write(directory: Path, weights: Tensor, repeated: str = "once") -> Path:
    """Write `query_weights.json`, weights rounded to five digits."""
    path = directory / FILE
    values = [round(float(w), 5) for w in weights.tolist()]
    document = {"repeated": repeated, "weights": values}
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    return path
