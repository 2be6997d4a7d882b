"""The layers of a BERT-style sentence encoder as ONNX nodes, from token ids to a unit vector of the text."""

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
    """Sizes of an encoder, and the rows of the tokens that begin and end every text."""

    hidden: int
    layers: int
    heads: int
    positions: int
    norm_epsilon: float
    first: int
    last: int


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


def unit_vectors(g: Graph, weight: Weight, c: BertSizes) -> str:
    """The mean of a text's states after the last layer, at unit length [B, H]."""
    ids, mask = framed(g, c)
    position, bias = positions_and_bias(g, ids, mask, c.positions, causal=False)

    def norm(x: str, name: str) -> str:
        scale = g.constant(name + ".weight", weight(name + ".weight"))
        shift = g.constant(name + ".bias", weight(name + ".bias"))
        return g.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=c.norm_epsilon)

    def dense(x: str, name: str, *parts: str) -> str:
        """x through the linear layers `parts` (or `name` itself), side by side."""
        whole = np.concatenate([weight(p + ".weight") for p in parts or (name,)])
        shift = np.concatenate([weight(p + ".bias") for p in parts or (name,)])
        return g.op("Add", g.linear(x, name, whole), g.constant(name + ".bias", shift))

    tables = "embeddings."
    x = g.rows(ids, "embedding", weight(tables + "word_embeddings.weight"))
    # Every text is the first of its pair: its type is row 0, the same for all positions.
    places = weight(tables + "position_embeddings.weight") + weight(tables + "token_type_embeddings.weight")[0]
    x = g.op("Add", x, g.op("Gather", g.weight("places", places), position, axis=0))
    x = norm(x, tables + "LayerNorm")

    for n in range(c.layers):
        p = f"encoder.layer.{n}."
        own = [p + f"attention.self.{name}" for name in ("query", "key", "value")]
        q, k, v = g.many("Split", dense(x, p + "qkv", *own), g.ints(c.hidden, c.hidden, c.hidden), outputs=3, axis=-1)
        a = g.op("MultiHeadAttention", q, k, v, "", "", bias, domain=MICROSOFT, num_heads=c.heads)
        x = norm(g.op("Add", x, dense(a, p + "attention.output.dense")), p + "attention.output.LayerNorm")
        h = g.op("Gelu", dense(x, p + "intermediate.dense"), domain=MICROSOFT)
        x = norm(g.op("Add", x, dense(h, p + "output.dense")), p + "output.LayerNorm")

    real = g.op("Unsqueeze", g.op("Cast", mask, to=TensorProto.FLOAT), g.ints(2))
    total = g.op("ReduceSum", g.op("Mul", x, real), g.ints(1), keepdims=0)
    # The mean's length does not matter: it is made one.
    return g.op("Div", total, g.op("Max", g.op("ReduceL2", total, axes=[1], keepdims=1), g.floats(1e-9)))
