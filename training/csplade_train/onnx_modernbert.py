"""The layers of ModernBERT (arXiv 2412.13663) as ONNX nodes: rotary positions, local and global attention in turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from .onnx_bert import Weight
from .onnx_graph import MICROSOFT, Graph
from .onnx_trunk import positions_and_bias


@dataclass(frozen=True)
class ModernBertSizes:
    """Sizes of the trunk."""

    hidden: int
    heads: int
    intermediate: int
    positions: int
    norm_epsilon: float
    windows: tuple[int | None, ...]
    """For each layer how far a position sees to either side; None: everywhere."""
    frequencies: tuple[tuple[float, ...], ...]
    """For each layer the angles of its rotary positions at position 1 [head_size / 2]."""


def modernbert_states(g: Graph, weight: Weight, c: ModernBertSizes, ids: str, mask: str) -> str:
    """States [B, S, H] after the final norm."""
    position, everywhere = positions_and_bias(g, ids, mask, c.positions, causal=False)

    def norm(x: str, name: str) -> str:
        scale = g.constant(name + ".weight", weight(name + ".weight"))
        return g.op("LayerNormalization", x, scale, axis=-1, epsilon=c.norm_epsilon)

    def linear(x: str, name: str) -> str:
        return g.wide(g.linear(g.narrow(x), name, weight(name + ".weight")))

    def within(window: int) -> str:
        """The attention bias of positions at most `window` apart."""
        place = g.op("Cast", position, to=TensorProto.FLOAT)
        apart = g.op("Sub", g.op("Unsqueeze", place, g.ints(1, 3)), g.op("Unsqueeze", place, g.ints(1, 2)))
        far = g.op("Greater", g.op("Abs", apart), g.floats(float(window)))
        return g.op("Where", far, g.floats(-1.0e4), everywhere)

    biases: dict[int | None, str] = {None: everywhere}
    tables: dict[tuple[float, ...], list[str]] = {}
    x = norm(g.rows(ids, "embedding", weight("embeddings.tok_embeddings.weight")), "embeddings.norm")
    for n, (window, frequencies) in enumerate(zip(c.windows, c.frequencies, strict=True)):
        p = f"layers.{n}."
        if window is not None and window not in biases:
            biases[window] = within(window)
        if frequencies not in tables:
            angles = np.arange(c.positions)[:, None] * np.array(frequencies, dtype=np.float64)
            both = (("cos", np.cos(angles)), ("sin", np.sin(angles)))
            tables[frequencies] = [
                g.constant(f"rotary_{name}_{len(tables)}", value.astype(np.float32)) for name, value in both
            ]
        h = x if n == 0 else norm(x, p + "attn_norm")
        parts = g.many("Split", linear(h, p + "attn.Wqkv"), g.ints(c.hidden, c.hidden, c.hidden), outputs=3, axis=-1)
        q, k = (
            g.op(
                "RotaryEmbedding", part, position, *tables[frequencies], domain=MICROSOFT, num_heads=c.heads,
                interleaved=0,
            )
            for part in parts[:2]
        )  # fmt: skip
        a = g.op("MultiHeadAttention", q, k, parts[2], "", "", biases[window], domain=MICROSOFT, num_heads=c.heads)
        x = g.op("Add", x, linear(a, p + "attn.Wo"))
        both_halves = linear(norm(x, p + "mlp_norm"), p + "mlp.Wi")
        inner, gate = g.many("Split", both_halves, g.ints(c.intermediate, c.intermediate), outputs=2, axis=-1)
        x = g.op("Add", x, linear(g.op("Mul", g.op("Gelu", inner, domain=MICROSOFT), gate), p + "mlp.Wo"))
    return norm(x, "final_norm")
