"""Checkpoint directories: `manifest.json`, `model.onnx`, `tokenizer.json`; and the weight fingerprint.

Also the float masters from which every precision is exported (`master.pt`,
kept out of version control).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import lexicon as lexicon_file
from . import query_table as query_table_file
from .export import build
from .input_recipe import RoleInput
from .lexicon import Lexicon
from .model import ModelConfig, SparseEncoder
from .onnx_graph import ANY, Target, save

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
    prompt: dict[str, str] = field(default_factory=dict)
    """What follows a text of each role, for models that are read at a prompt."""
    input: dict[str, RoleInput] = field(default_factory=dict)
    """What else is around a text of each role; without it, what the tokenizer adds."""
    threshold: float = 0.0
    """Weights at or below it are no terms."""
    never_terms: tuple[int, ...] = ()
    """Ids of tokens that are no terms whatever their weight."""
    dense_dimension: int = 0
    """Dimensions of the dense vectors that the graph gives beside terms; 0 where it gives none."""


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(model: SparseEncoder, tokenizer_json: str, lexicon: Lexicon | None = None) -> str:
    """16 hexadecimal digits that name the weight space, the same at every precision."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(np.ascontiguousarray(tensor.float().numpy(), dtype="<f4").tobytes())
    digest.update(hashlib.sha256(tokenizer_json.encode()).hexdigest().encode())
    digest.update(f"{model.config.variant}/{POOLING}/{ACTIVATION}".encode())
    for value in model.config.beyond_weights.values():
        digest.update(json.dumps(value).encode())
    if lexicon is not None:
        # How many terms a question may gain is no property of the space: an index stays valid.
        digest.update(replace(lexicon, expansions={}).to_json().encode())
    return digest.hexdigest()[:16]


FILES = ("model.onnx", "model.onnx_data", "tokenizer.json", query_table_file.FILE, lexicon_file.FILE)
"""All that a checkpoint directory may have beside its manifest."""

READABLE = 0o644
"""Mode of every file of a checkpoint directory: whoever runs the model is rarely who exported it."""


def dense_output(dimension: int) -> dict[str, object]:
    """What a manifest says of dense vectors: their likeness is the cosine, whatever their length."""
    return {"dimension": dimension, "similarity": "cosine"}


def cleared(directory: Path) -> Path:
    """The directory, made if need be, without the files of a checkpoint that was there before."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    return directory


def write_manifest(
    directory: Path,
    about: Description,
    precision: str,
    vocabulary: int,
    fingerprint: str,
    variant: str,
    activation: str = ACTIVATION,
    pooling: str = POOLING,
    provider: str = ANY.provider,
) -> dict[str, object]:
    """Describe the files that a directory has, all others being written; returns the manifest."""
    names = [n for n in FILES if (directory / n).exists()]
    for name in names:
        # onnx makes the file of large weights with mode 0600: a pod's user could not read it.
        (directory / name).chmod(READABLE)
    manifest: dict[str, object] = {
        "format": 1,
        "name": about.name,
        "variant": variant,
        "license": about.license,
        "base": about.base,
        "precision": precision,
        # A graph for the CPU is one for any provider that has its operators.
        **({"provider": provider} if provider != ANY.provider else {}),
        "files": {n: {"sha256": sha256_of(directory / n), "bytes": (directory / n).stat().st_size} for n in names},
        "vocabulary_size": vocabulary,
        "activation": activation,
        "pooling": pooling,
        **({"threshold": about.threshold} if about.threshold else {}),
        **({"never_terms": list(about.never_terms)} if about.never_terms else {}),
        **({"dense": dense_output(about.dense_dimension)} if about.dense_dimension else {}),
        **({"prompt": about.prompt} if about.prompt else {}),
        **({"input": {role: each.told() for role, each in about.input.items()}} if about.input else {}),
        "max_tokens": about.max_tokens,
        "top_k": about.top_k,
        "pad_token_id": about.pad_token_id,
        "fingerprint": fingerprint,
        "training": about.training,
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (directory / "manifest.json").write_text(text + "\n", encoding="utf-8")
    (directory / "manifest.json").chmod(READABLE)
    return manifest


def write(
    directory: Path,
    model: SparseEncoder,
    tokenizer_json: str,
    precision: str,
    about: Description,
    query_table: Tensor | None = None,
    lexicon: Lexicon | None = None,
    target: Target = ANY,
    name: str | None = None,
) -> dict[str, object]:
    """Export one precision of `model` as a checkpoint directory; returns the manifest.

    name: the fingerprint of the weights that `model` was rounded from, if it was.
    """
    cleared(directory)
    (directory / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    positions = max(2 * about.max_tokens["document"], 128)
    save(build(model, precision, positions, target=target), directory / "model.onnx")
    if query_table is not None:
        query_table_file.write(directory, query_table)
    if lexicon is not None:
        lexicon.write(directory)
    name = name or fingerprint(model, tokenizer_json, lexicon)
    c = model.config
    return write_manifest(directory, about, precision, c.vocabulary, name, c.variant, provider=target.provider)


def save_master(path: Path, model: SparseEncoder, tokenizer_json: str, query_table: Tensor | None = None) -> None:
    """The float weights, written beside the target first so that a crash never leaves half a file.

    query_table: weights [V] of the inference-free query, if one was trained.
    """
    temporary = path.with_suffix(".tmp")
    saved = {"config": model.config.to_dict(), "state": model.state_dict(), "tokenizer": tokenizer_json}
    if query_table is not None:
        saved["query_table"] = query_table.detach()
    torch.save(saved, temporary)
    temporary.replace(path)


def load_master(path: Path) -> tuple[SparseEncoder, str]:
    """The model and its tokenizer's JSON."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = SparseEncoder(ModelConfig(**saved["config"]))
    model.load_state_dict(saved["state"])
    return model, saved["tokenizer"]


def load_query_table(path: Path) -> Tensor | None:
    """Weights [V] of the inference-free query that a master holds, if any."""
    return torch.load(path, map_location="cpu", weights_only=True).get("query_table")
