"""Checkpoint directories: `manifest.json`, `model.onnx`, `tokenizer.json`; and the weight fingerprint.

Also the float masters from which every precision is exported (`master.pt`,
kept out of version control).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .export import build, save
from .model import ModelConfig, SparseEncoder

ACTIVATION = "log1p_relu"
POOLING = "max"


@dataclass(frozen=True)
class Description:
    """What a manifest says beyond the weights themselves."""

    name: str
    base: dict[str, str]
    max_tokens: dict[str, int]
    top_k: dict[str, int]
    license: str = "Apache-2.0"
    pad_token_id: int = 0
    training: dict[str, object] = field(default_factory=dict)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(model: SparseEncoder, tokenizer_json: str) -> str:
    """16 hexadecimal digits that name the weight space, the same at every precision."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(np.ascontiguousarray(tensor.float().numpy(), dtype="<f4").tobytes())
    digest.update(hashlib.sha256(tokenizer_json.encode()).hexdigest().encode())
    digest.update(f"{model.config.variant}/{POOLING}/{ACTIVATION}".encode())
    return digest.hexdigest()[:16]


def write(
    directory: Path, model: SparseEncoder, tokenizer_json: str, precision: str, about: Description
) -> dict[str, object]:
    """Export one precision of `model` as a checkpoint directory; returns the manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    positions = max(2 * about.max_tokens["document"], 128)
    save(build(model, precision, positions), directory / "model.onnx")
    names = [n for n in ("model.onnx", "model.onnx_data", "tokenizer.json") if (directory / n).exists()]
    files = {n: {"sha256": sha256_of(directory / n), "bytes": (directory / n).stat().st_size} for n in names}
    manifest: dict[str, object] = {
        "format": 1,
        "name": about.name,
        "variant": model.config.variant,
        "license": about.license,
        "base": about.base,
        "precision": precision,
        "files": files,
        "vocabulary_size": model.config.vocabulary,
        "activation": ACTIVATION,
        "pooling": POOLING,
        "max_tokens": about.max_tokens,
        "top_k": about.top_k,
        "pad_token_id": about.pad_token_id,
        "fingerprint": fingerprint(model, tokenizer_json),
        "training": about.training,
    }
    (directory / "manifest.json").write_text(
        json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return manifest


def save_master(path: Path, model: SparseEncoder, tokenizer_json: str) -> None:
    """The float weights, written beside the target first so that a crash never leaves half a file."""
    temporary = path.with_suffix(".tmp")
    torch.save({"config": model.config.to_dict(), "state": model.state_dict(), "tokenizer": tokenizer_json}, temporary)
    temporary.replace(path)


def load_master(path: Path) -> tuple[SparseEncoder, str]:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = SparseEncoder(ModelConfig(**saved["config"]))
    model.load_state_dict(saved["state"])
    return model, saved["tokenizer"]
