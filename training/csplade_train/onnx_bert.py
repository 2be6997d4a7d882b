"""The layers of BERT-style encoders as ONNX nodes, and of a sentence encoder the unit vector of its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from .onnx_graph import MICROSOFT, Graph
from .onnx_trunk import positions_and_bias

Weight = Callable[[str], np.ndarray]
"""A float32 weight by its name in transformers' BertModel."""


@dataclass(frozen=True)
class BertSizes:
    """Sizes of an encoder; of a sentence encoder the rows of the tokens that begin and end every text."""

    hidden: int
    layers: int
    heads: int
    positions: int
    norm_epsilon: float
    first: int = 0
    last: int = 0


def framed(g: Graph, c: BertSizes) -> tuple[str, str]:
    """Ids and mask [B, S + 2] of the inputs' texts between their first and last token."""
    mask = "attention_mask"
    zero = g.op("Mul", g.op("Slice", mask, g.ints(0), g.ints(1), g.ints(1)), g.ints(0))
    one = g.op("Add", zero, g.ints(1))
    ids = g.op("Concat", g.op("Add", zero, g.ints(c.first)), "input_ids", zero, axis=1)
    whole = g.op("Concat", one, one, mask, axis=1)
    # The one place that the whole mask has more than that of the first token and the text.
    end = g.op("Greater", whole, g.op("Concat", one, mask, zero, axis=1))
    return g.op("Where", end, g.ints(c.last), ids), whole


def layer_norm(g: Graph, x: str, weight: Weight, name: str, epsilon: float) -> str:
    scale, shift = weight(name + ".weight"), weight(name + ".bias")
    both = g.constant(name + ".weight", scale), g.constant(name + ".bias", shift)
    return g.op("LayerNormalization", x, *both, axis=-1, epsilon=epsilon)


def dense(g: Graph, x: str, weight: Weight, name: str, *parts: str) -> str:
    """x through the linear layers `parts` (or `name` itself), side by side."""
    whole = np.concatenate([weight(p + ".weight") for p in parts or (name,)])
    shift = np.concatenate([weight(p + ".bias") for p in parts or (name,)])
    return g.op("Add", g.wide(g.linear(g.narrow(x), name, whole)), g.constant(name + ".bias", shift))


def encoder_states(g: Graph, weight: Weight, c: BertSizes, ids: str, mask: str, types: str | None = None) -> str:
    """States [B, S, H] after the last layer; types: the name of ids [B, S] of the pair's part that a token is of."""
    position, bias = positions_and_bias(g, ids, mask, c.positions, causal=False)

    def norm(x: str, name: str) -> str:
        return layer_norm(g, x, weight, name, c.norm_epsilon)

    tables = "embeddings."
    x = g.rows(ids, "embedding", weight(tables + "word_embeddings.weight"))
    places, parts = weight(tables + "position_embeddings.weight"), weight(tables + "token_type_embeddings.weight")
    if types is None:
        # Every text is the first of its pair: its type is row 0, the same for all positions.
        places = places + parts[0]
    else:
        x = g.op("Add", x, g.op("Gather", g.weight("types", parts), types, axis=0))
    x = g.op("Add", x, g.op("Gather", g.weight("places", places), position, axis=0))
    x = norm(x, tables + "LayerNorm")

    for n in range(c.layers):
        p = f"encoder.layer.{n}."
        own = [p + f"attention.self.{name}" for name in ("query", "key", "value")]
        qkv = dense(g, x, weight, p + "qkv", *own)
        q, k, v = g.many("Split", qkv, g.ints(c.hidden, c.hidden, c.hidden), outputs=3, axis=-1)
        a = g.op("MultiHeadAttention", q, k, v, "", "", bias, domain=MICROSOFT, num_heads=c.heads)
        a = dense(g, a, weight, p + "attention.output.dense")
        x = norm(g.op("Add", x, a), p + "attention.output.LayerNorm")
        h = g.op("Gelu", dense(g, x, weight, p + "intermediate.dense"), domain=MICROSOFT)
        x = norm(g.op("Add", x, dense(g, h, weight, p + "output.dense")), p + "output.LayerNorm")
    return x


def unit_vectors(g: Graph, weight: Weight, c: BertSizes) -> str:
    """The mean of a text's states after the last layer, at unit length [B, H]."""
    ids, mask = framed(g, c)
    x = encoder_states(g, weight, c, ids, mask)
    real = g.op("Unsqueeze", g.op("Cast", mask, to=TensorProto.FLOAT), g.ints(2))
    total = g.op("ReduceSum", g.op("Mul", x, real), g.ints(1), keepdims=0)
    # The mean's length does not matter: it is made one.
    return g.op("Div", total, g.op("Max", g.op("ReduceL2", total, axes=[1], keepdims=1), g.floats(1e-9)))
