"""A published sparse encoder, read from its folder, as a checkpoint directory.

What a reader (`readers/`) found is a `Published`; its graph is ours, with pooling and top-k inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from tokenizers import Tokenizer
from torch import Tensor

from . import query_table as query_table_file
from .checkpoints import Description, cleared, write_manifest
from .input_recipe import RoleInput
from .onnx_bert import BertSizes, Weight, dense, encoder_states, layer_norm
from .onnx_graph import ANY, LARGEST_FILE, MICROSOFT, Graph, Target, assembled, save
from .onnx_modernbert import ModernBertSizes, modernbert_states

NEVER = -1.0e4
"""Score of what is no term."""

TERMS = 1024
"""Most terms of a text: more than such models give."""


@dataclass(frozen=True)
class Scores:
    """How weights come from the scores of a text's positions; the names are the manifest's."""

    activation: str = "log1p_relu"
    pooling: str = "max"
    threshold: float = 0.0
    never_terms: tuple[int, ...] = ()


@dataclass(frozen=True)
class Published:
    """What a folder holds."""

    family: str
    model: Any
    """A masked language model of transformers; with `head`, the model below it."""
    tokenizer: Tokenizer
    """Without the special tokens around a text: those are in `input`."""
    input: dict[str, RoleInput]
    max_tokens: dict[str, int]
    scores: Scores = field(default_factory=Scores)
    query_weights: Tensor | None = None
    """Weights [V] of the tokens of a query, where no model reads it; a repeated token counts once.

    Where a query has its own terms alone (`RoleInput.terms`), their factors.
    """
    head: tuple[Tensor, Tensor] | None = None
    """Weight [1, H] and bias [1] of the score that each token of the text gets itself (BGE-M3)."""


def weights_of(model: Any, renamed: Callable[[str], str]) -> Weight:
    """The model's weights by the name that `renamed` turns into theirs."""
    state = model.state_dict()

    def weight(name: str) -> np.ndarray:
        return state[renamed(name)].detach().float().cpu().numpy()

    return weight


DISTILBERT = {
    "attention.self.query": "attention.q_lin", "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin", "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm", "intermediate.dense": "ffn.lin1", "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}  # fmt: skip


def distilbert_name(name: str) -> str:
    """DistilBERT's name of a weight that BERT has too."""
    parts = name.split(".")
    if parts[0] != "encoder":
        return name
    own, kind = ".".join(parts[3:-1]), parts[-1]
    return f"transformer.layer.{parts[2]}.{DISTILBERT[own]}.{kind}"


@dataclass(frozen=True)
class Architecture:
    """Where a kind of masked language model has its parts."""

    trunk: str
    """Attribute of the model below the head; "" where the model has none above it."""
    transform: str
    norm: str
    decoder: str


ARCHITECTURES = {
    "bert": Architecture(
        "bert", "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"
    ),
    "distilbert": Architecture("distilbert", "vocab_transform", "vocab_layer_norm", "vocab_projector"),
    "roberta": Architecture("roberta", "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    "xlm-roberta": Architecture("roberta", "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    "modernbert": Architecture("model", "head.dense", "head.norm", "decoder"),
}


def demand(model: Any) -> None:
    """Raises ValueError for what the graph does not compute."""
    c = model.config
    if c.model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"a masked language model of type {c.model_type} cannot be converted; {known} can")
    names = ("hidden_act", "activation", "hidden_activation", "classifier_activation")
    others = {str(v) for n in names if (v := getattr(c, n, "gelu")) != "gelu"}
    if others:
        raise ValueError(f"only the activation gelu can be converted; this model has {', '.join(sorted(others))}")
    placed = getattr(c, "position_embedding_type", "absolute")
    if placed not in (None, "absolute"):
        raise ValueError(f"{placed} positions cannot be converted")
    if c.model_type == "modernbert":
        if c.attention_bias or c.mlp_bias or c.norm_bias or c.classifier_bias:
            raise ValueError("a ModernBERT with biases cannot be converted")
        kinds = {(p or {}).get("rope_type", "default") for p in c.rope_parameters.values()}
        if kinds != {"default"}:
            raise ValueError("a ModernBERT with scaled rotary positions cannot be converted")


def positions_of(config: Any) -> int:
    """How many tokens a text may have, its special ones included."""
    most = int(config.max_position_embeddings)
    return most - int(config.pad_token_id) - 1 if config.model_type in ("roberta", "xlm-roberta") else most


def states(g: Graph, model: Any, positions: int, types: str | None = None) -> str:
    """States [B, S, H] of the trunk of a masked language model; types as in `encoder_states`."""
    c = model.config
    prefix = ARCHITECTURES[c.model_type].trunk + "."
    if not hasattr(model, prefix[:-1]):
        prefix = ""
    if c.model_type == "modernbert":
        trunk = model.model
        kinds = c.layer_types
        angles = {k: tuple(getattr(trunk.rotary_emb, f"{k}_inv_freq").double().tolist()) for k in set(kinds)}
        sizes = ModernBertSizes(
            c.hidden_size, c.num_attention_heads, c.intermediate_size, positions, c.norm_eps,
            tuple(c.sliding_window if kind == "sliding_attention" else None for kind in kinds),
            tuple(angles[kind] for kind in kinds),
        )  # fmt: skip
        named = weights_of(model, lambda name: prefix + name)
        return modernbert_states(g, named, sizes, "input_ids", "attention_mask")
    distil = c.model_type == "distilbert"
    found = weights_of(model, lambda name: prefix + (distilbert_name(name) if distil else name))
    skipped = int(c.max_position_embeddings) - positions_of(c)

    def weight(name: str) -> np.ndarray:
        if name == "embeddings.position_embeddings.weight":
            return found(name)[skipped : skipped + positions]
        if name == "embeddings.token_type_embeddings.weight" and distil:
            return np.zeros((1, c.dim), dtype=np.float32)
        return found(name)

    sizes_of_bert = BertSizes(
        c.hidden_size, c.num_hidden_layers, c.num_attention_heads, positions, getattr(c, "layer_norm_eps", 1e-12)
    )
    return encoder_states(g, weight, sizes_of_bert, "input_ids", "attention_mask", types)


def activated(g: Graph, scores: str, activation: str) -> str:
    weights = g.op("Relu", scores)
    for _ in range(activation.count("log1p")):
        weights = g.op("Log", g.op("Add", weights, g.floats(1.0)))
    return weights


def finished(g: Graph, weights: str, threshold: float) -> str:
    """Weights without those at or below the threshold, and none of an empty text."""
    if threshold > 0:
        above = g.op("Cast", g.op("Greater", weights, g.floats(threshold)), to=TensorProto.FLOAT)
        weights = g.op("Mul", weights, above)
    nonempty = g.op("ReduceMax", "attention_mask", axes=[1], keepdims=1)
    return g.op("Mul", weights, g.op("Cast", nonempty, to=TensorProto.FLOAT))


def masked_graph(found: Published, precision: str, block: int, target: Target) -> onnx.ModelProto:
    """The graph of a masked language model whose vocabulary scores are pooled."""
    model, s = found.model, found.scores
    c = model.config
    a = ARCHITECTURES[c.model_type]
    g = Graph(precision, block, target)
    x = states(g, model, positions_in(found))
    weight = weights_of(model, lambda name: name)
    if c.model_type == "modernbert":
        h = g.wide(g.linear(g.narrow(x), a.transform, weight(a.transform + ".weight")))
        h = g.op("Gelu", h, domain=MICROSOFT)
        scale = g.constant(a.norm, weight(a.norm + ".weight"))
        h = g.op("LayerNormalization", h, scale, axis=-1, epsilon=c.norm_eps)
    else:
        h = g.op("Gelu", dense(g, x, weight, a.transform), domain=MICROSOFT)
        h = layer_norm(g, h, weight, a.norm, getattr(c, "layer_norm_eps", 1e-12))
    table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    head = weight(a.decoder + ".weight")
    # One copy where both are the same; a quantized table is the same for both too.
    name = "embedding" if head.shape == table.shape and np.array_equal(head, table) else "decoder"
    state = model.state_dict()
    shift = (
        weight(a.decoder + ".bias") if a.decoder + ".bias" in state else np.zeros(len(head), dtype=np.float32)
    ).copy()
    shift[list(s.never_terms)] = NEVER
    bias = g.constant("output_bias", shift)
    real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=TensorProto.FLOAT), g.ints(2))
    if s.pooling == "max":
        # A position of padding counts as the first one.
        first = g.op("Slice", h, g.ints(0), g.ints(1), g.ints(1))
        h = g.op("Where", g.op("Cast", real, to=TensorProto.BOOL), h, first)
        weights = activated(g, g.op("Add", g.max_projection(h, name, head), bias), s.activation)
    elif s.pooling == "sum":
        each = activated(g, g.op("Add", g.projection(h, name, head), bias), s.activation)
        weights = g.op("ReduceSum", g.op("Mul", each, real), g.ints(1), keepdims=0)
    else:
        raise ValueError(f"pooling {s.pooling} cannot be converted")
    return assembled(g, "masked_language_model", finished(g, weights, s.threshold), len(head))


def token_graph(found: Published, precision: str, block: int, target: Target) -> onnx.ModelProto:
    """The graph of a model that scores each token of the text itself: no vocabulary is computed.

    A token's weight is the largest of its places; it is given at the first of them.
    """
    assert found.head is not None
    g = Graph(precision, block, target)
    x = states(g, found.model, positions_in(found))
    matrix, shift = (part.detach().float().cpu().numpy() for part in found.head)
    score = g.op("MatMul", x, g.constant("sparse_linear.weight", np.ascontiguousarray(matrix.T)))
    score = g.op("Add", score, g.constant("sparse_linear.bias", shift))
    weights = activated(g, g.op("Squeeze", score, g.ints(2)), found.scores.activation)
    never = np.zeros(found.model.config.vocab_size, dtype=np.float32)
    never[list(found.scores.never_terms)] = 1.0
    kept = g.op("Sub", g.floats(1.0), g.op("Gather", g.constant("never_terms", never), "input_ids", axis=0))
    kept = g.op("Mul", kept, g.op("Cast", "attention_mask", to=TensorProto.FLOAT))
    weights = g.op("Mul", weights, kept)
    same = g.op("Equal", g.op("Unsqueeze", "input_ids", g.ints(2)), g.op("Unsqueeze", "input_ids", g.ints(1)))
    same = g.op("Cast", same, to=TensorProto.FLOAT)
    largest = g.op("ReduceMax", g.op("Mul", same, g.op("Unsqueeze", weights, g.ints(1))), axes=[2], keepdims=0)
    earlier = g.op("Trilu", same, g.constant("below", np.array(-1, dtype=np.int64)), upper=0)
    repeated = g.op("ReduceMax", earlier, axes=[2], keepdims=0)
    weights = g.op("Mul", largest, g.op("Sub", g.floats(1.0), repeated))
    return assembled(g, "token_scores", finished(g, weights, found.scores.threshold), 1, ids="input_ids")


def positions_in(found: Published) -> int:
    """How many positions a text of either role takes at most."""
    extra = max(len(r.begin) + len(r.end) + len(found.tokenizer.encode(r.suffix).ids) for r in found.input.values())
    return min(positions_of(found.model.config), max(found.max_tokens.values()) + extra)


def build(found: Published, precision: str, block: int = 32, target: Target = ANY) -> onnx.ModelProto:
    """The ONNX model of what a folder holds."""
    demand(found.model)
    make = masked_graph if found.head is None else token_graph
    return make(found, precision, block, target)


def fingerprint(found: Published) -> str:
    """16 hexadecimal digits that name the weight space, the same at every precision.

    A role's input changes what every text gives, and so it counts.
    """
    recipe = {
        "scores": vars(found.scores),
        "input": {role: each.space() for role, each in found.input.items()},
        "max_tokens": found.max_tokens,
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    tensors = dict(found.model.state_dict())
    tensors |= {} if found.head is None else dict(zip(("sparse.weight", "sparse.bias"), found.head, strict=True))
    tensors |= {} if found.query_weights is None else {"query_weights": found.query_weights}
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy(), dtype="<f4").tobytes())
    digest.update(found.tokenizer.to_str().encode())
    return digest.hexdigest()[:16]


def write(
    directory: Path,
    found: Published,
    precision: str,
    name: str,
    base: dict[str, str],
    target: Target = ANY,
    largest: int = LARGEST_FILE,
) -> dict[str, object]:
    """Write a checkpoint directory; returns its manifest."""
    graph = build(found, precision, target=target)
    cleared(directory)
    (directory / "tokenizer.json").write_text(found.tokenizer.to_str(), encoding="utf-8")
    save(graph, directory / "model.onnx", largest)
    vocabulary = int(found.model.config.vocab_size)
    if found.query_weights is not None:
        table = torch.zeros(vocabulary)
        table[: len(found.query_weights)] = found.query_weights
        query_table_file.write(directory, table)
    pad = found.model.config.pad_token_id
    about = Description(
        name=name,
        base=base,
        max_tokens=found.max_tokens,
        top_k={role: min(TERMS, vocabulary) for role in ("document", "query")},
        license=base["license"],
        pad_token_id=pad if isinstance(pad, int) and 0 <= pad < vocabulary else 0,
        training={"family": found.family},
        input=found.input,
        threshold=found.scores.threshold,
        never_terms=found.scores.never_terms,
    )
    s = found.scores
    digits = fingerprint(found)
    return write_manifest(
        directory, about, precision, vocabulary, digits, "bi", s.activation, s.pooling, target.provider
    )
