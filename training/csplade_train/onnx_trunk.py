"""Layers of Llama and its kin (`trunk_shape.ARCHITECTURES`) as ONNX nodes: masks, rotary positions, attention, MLP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import TensorProto, numpy_helper

from .onnx_graph import MICROSOFT, Graph

Weights = Callable[[str], "np.ndarray | None"]
"""A float32 weight by our name (`layers.3.attention.q.weight`), or None if the model has none such."""

Adapt = Callable[[str, str, str], str]
"""What becomes of y by the name of a linear layer (`layers.3.qkv`), its input x and its output y, or by the name
`layers.3.shift` and a layer's input twice."""


def unchanged(_name: str, _x: str, y: str) -> str:
    """Of a trunk to which nothing is added."""
    return y


class Sizes(Protocol):
    """Sizes of the trunk."""

    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def key_value_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def norm_epsilon(self) -> float: ...
    @property
    def activation(self) -> str: ...
    @property
    def embedding_factor(self) -> float: ...


@dataclass(frozen=True)
class Angles:
    """Rotary angles [positions, head_size / 2] of the layers."""

    usual: np.ndarray
    factor: float = 1.0
    """Of their cosine and sine."""
    other: np.ndarray | None = None
    """Of `other_layers`; None where those have no positions."""
    other_layers: tuple[int, ...] = ()


def angles_at(
    positions: int,
    frequencies: Sequence[float],
    factor: float = 1.0,
    other: Sequence[float] | None = None,
    other_layers: Sequence[int] | None = None,
) -> Angles:
    """Angles at the first positions, by those at position 1; 0 is no position."""

    def at(each: Sequence[float]) -> np.ndarray:
        return np.arange(positions)[:, None] * np.array(each, dtype=np.float64)

    moved = at(other) if other is not None and any(other) else None
    return Angles(at(frequencies), factor, moved, tuple(other_layers or ()))


def needed(weights: Weights, name: str) -> np.ndarray:
    value = weights(name)
    if value is None:
        raise ValueError(f"the model has no {name}")
    return value


def positions_and_bias(g: Graph, ids: str, mask: str, positions: int, causal: bool) -> tuple[str, str]:
    """Positions [B, S], counted over real tokens, and the additive attention bias [B, 1, S, S]."""
    running = g.op("CumSum", mask, g.constant("axis_one", np.array(1, dtype=np.int64)))
    position = g.op("Sub", running, g.ints(1))
    position = g.op("Min", g.op("Max", position, g.ints(0)), g.ints(positions - 1))
    # Additive attention bias [B, 1, S, S]: 0 where allowed, -10000 where not.
    key = g.op("Unsqueeze", g.op("Cast", mask, to=TensorProto.FLOAT), g.ints(1, 2))
    bias = g.op("Mul", g.op("Sub", key, g.floats(1.0)), g.floats(1.0e4))
    length = g.op("Slice", g.op("Shape", ids), g.ints(1), g.ints(2), g.ints(0))
    square = g.op("Concat", length, length, axis=0)
    zeros = g.op("ConstantOfShape", square, value=numpy_helper.from_array(np.zeros(1, dtype=np.float32)))
    if causal:
        ones = g.op("ConstantOfShape", square, value=numpy_helper.from_array(np.full(1, -1.0e4, dtype=np.float32)))
        zeros = g.op("Trilu", ones, g.constant("above", np.array(1, dtype=np.int64)), upper=1)
        return position, g.op("Max", g.op("Add", bias, zeros), g.floats(-1.0e4))
    return position, g.op("Add", bias, zeros)


def rotary_tables(g: Graph, name: str, angles: np.ndarray, factor: float) -> tuple[str, str]:
    """Cosines and sines of angles, in the precision of products."""
    cos = g.constant(name + "_cos", (np.cos(angles) * factor).astype(np.float32))
    sin = g.constant(name + "_sin", (np.sin(angles) * factor).astype(np.float32))
    return g.narrow(cos), g.narrow(sin)


def gated(g: Graph, gate: str, activation: str) -> str:
    if activation == "gelu_tanh":
        return g.op("FastGelu", gate, domain=MICROSOFT)
    return g.op("Mul", gate, g.op("Sigmoid", gate))


def stack(
    g: Graph,
    x: str,
    weights: Weights,
    c: Sizes,
    position: str,
    bias: str,
    angles: Angles,
    adapt: Adapt = unchanged,
) -> str:
    """States [B, S, H] after the last layer, before the final norm, from embeddings; the sum over layers in single
    precision.

    adapt: what is added to the layers, on the CPU.
    """
    usual = rotary_tables(g, "rotary", angles.usual, angles.factor)
    other = usual
    if angles.other is not None:
        other = rotary_tables(g, "other_rotary", angles.other, 1.0)
    bias = g.narrow(bias)
    if c.embedding_factor != 1.0:
        x = g.op("Mul", x, g.constant("embedding_factor", np.array(c.embedding_factor, dtype=np.float32)))
    wide, narrow = c.heads * c.head_size, c.key_value_heads * c.head_size

    def norm(x: str, name: str) -> str:
        weight = g.constant(name, needed(weights, name))
        return g.narrow(g.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=c.norm_epsilon))

    def head_norm(x: str, name: str, heads: int) -> str:
        """Each head's vector normalized, where the model has such a norm (Qwen3)."""
        value = weights(name)
        if value is None:
            return x
        each = g.op("Reshape", x, g.ints(0, 0, heads, c.head_size))
        each = g.op("SimplifiedLayerNormalization", each, g.constant(name, value), axis=-1, epsilon=c.norm_epsilon)
        return g.narrow(g.op("Reshape", each, g.ints(0, 0, heads * c.head_size)))

    def rotary(x: str, n: int, heads: int) -> str:
        others = n in angles.other_layers
        if others and angles.other is None:
            return x
        tables = other if others else usual
        return g.op("RotaryEmbedding", x, position, *tables, domain=MICROSOFT, num_heads=heads, interleaved=0)

    def out_norm(x: str, name: str) -> str:
        """An output normalized before it is added, where the model has such a norm (Gemma 3)."""
        value = weights(name)
        if value is None:
            return x
        return g.op("SimplifiedLayerNormalization", x, g.constant(name, value), axis=-1, epsilon=c.norm_epsilon)

    def repeat(x: str) -> str:
        if c.heads == c.key_value_heads:
            return x
        x = g.op("Reshape", x, g.ints(0, 0, c.key_value_heads, 1, c.head_size))
        x = g.op("Expand", x, g.ints(1, 1, 1, c.heads // c.key_value_heads, 1))
        return g.op("Reshape", x, g.ints(0, 0, wide))

    def linear(x: str, name: str, weight: np.ndarray) -> str:
        return adapt(name, x, g.linear(x, name, weight))

    for n in range(c.layers):
        p = f"layers.{n}."
        x = adapt(p + "shift", x, x)
        h = norm(x, p + "attention_norm.weight")
        joined = linear(h, p + "qkv", np.concatenate([needed(weights, p + f"attention.{m}.weight") for m in "qkv"]))
        shifts = [s for m in "qkv" if (s := weights(p + f"attention.{m}.bias")) is not None]
        if shifts:
            joined = g.op("Add", joined, g.narrow(g.constant(p + "qkv_bias", np.concatenate(shifts))))
        q, k, v = g.many("Split", joined, g.ints(wide, narrow, narrow), outputs=3, axis=-1, name=p + "split")
        q = rotary(head_norm(q, p + "attention.q_norm.weight", c.heads), n, c.heads)
        k = rotary(head_norm(k, p + "attention.k_norm.weight", c.key_value_heads), n, c.key_value_heads)
        a = g.op("MultiHeadAttention", q, repeat(k), repeat(v), "", "", bias, domain=MICROSOFT, num_heads=c.heads)
        a = g.wide(linear(a, p + "o", needed(weights, p + "attention.o.weight")))
        x = g.op("Add", x, out_norm(a, p + "attention_out_norm.weight"))
        h = norm(x, p + "mlp_norm.weight")
        both = np.concatenate([needed(weights, p + "gate.weight"), needed(weights, p + "up.weight")])
        gate, up = g.many(
            "Split", linear(h, p + "gate_up", both), g.ints(c.intermediate, c.intermediate), outputs=2, axis=-1
        )
        h = g.op("Mul", gated(g, gate, c.activation), up)
        h = g.wide(linear(h, p + "down", needed(weights, p + "down.weight")))
        x = g.op("Add", x, out_norm(h, p + "mlp_out_norm.weight"))
    return x
