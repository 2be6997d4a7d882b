"""A shipped checkpoint directory as a trainable model again: the exporter's graph read backwards.

Weights of int8 and int4 checkpoints come back as the numbers their codes stand for,
so training goes on from exactly what was shipped, and no float weights need shipping.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from .model import MASKED_BIAS, ModelConfig, SparseEncoder
from .quantize import BlockQuantized, dequantize_blocks, dequantize_rows


class Graph:
    """Initializers by name, and nodes by operator, of an exported model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.arrays = {t.name: t for t in model.graph.initializer}
        self.nodes = list(model.graph.node)

    def array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.arrays[name]).astype(np.float32)

    def attribute(self, kind: str, name: str, where: int = 0) -> float:
        """An attribute of the node number `where` of a kind."""
        node = [n for n in self.nodes if n.op_type == kind][where]
        return onnx.helper.get_attribute_value(next(a for a in node.attribute if a.name == name))

    def weight(self, name: str, columns: int | None = None, transposed: bool = True) -> np.ndarray:
        """A weight [N, K] at any precision; `columns` is K where codes are padded beyond it."""
        if name in self.arrays:
            value = self.array(name)
            return value.T if transposed else value
        codes, scales = numpy_helper.to_array(self.arrays[name + "_codes"]), self.array(name + "_scales")
        if codes.ndim == 2:
            return dequantize_rows(codes, scales)
        if codes.shape[2] * 2 != int(self.attribute("MatMulNBits", "block_size")):
            raise ValueError(f"{name} is quantized in a way that is not known here")
        width = columns or codes.shape[1] * codes.shape[2] * 2
        return dequantize_blocks(BlockQuantized(codes, scales.reshape(codes.shape[:2])), width)


def reopen(directory: Path) -> tuple[SparseEncoder, str]:
    """The model of a checkpoint directory that this package exported, and its tokenizer's JSON.

    Raises ValueError for a checkpoint of another maker: its graph has other parts.
    """
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    g = Graph(onnx.load(str(directory / "model.onnx")))
    if "embedding_scale" not in g.arrays or manifest["variant"] not in ("bi", "echo"):
        raise ValueError(f"{directory} was not trained by csplade-train: only such checkpoints can be trained further")
    hidden = len(g.array("embedding_mean"))
    layers = sum(name.endswith(".attention_norm.weight") for name in g.arrays)
    heads = int(g.attribute("RotaryEmbedding", "num_heads", 0))
    narrow_heads = int(g.attribute("RotaryEmbedding", "num_heads", 1))
    sines: np.ndarray = g.array("rotary_sin")[1].astype(np.float64)
    head_size = 2 * len(sines)
    # The smallest angle tells the base most exactly; bases are whole numbers.
    theta = float(round(np.arcsin(sines[-1]) ** (-head_size / (head_size - 2))))
    state: dict[str, Tensor] = {}

    def keep(name: str, value: np.ndarray) -> None:
        state[name] = torch.from_numpy(np.ascontiguousarray(value)).clone()

    narrow = narrow_heads * head_size
    intermediate = 0
    for n in range(layers):
        p = f"layers.{n}."
        keep(p + "attention_norm.weight", g.array(p + "attention_norm.weight"))
        keep(p + "mlp_norm.weight", g.array(p + "mlp_norm.weight"))
        q, k, v = np.split(g.weight(p + "qkv", hidden), [hidden, hidden + narrow])
        for name, value in zip("qkv", (q, k, v), strict=True):
            keep(p + f"attention.{name}.weight", value)
        keep(p + "attention.o.weight", g.weight(p + "o", hidden))
        gate, up = np.split(g.weight(p + "gate_up", hidden), 2)
        intermediate = len(gate)
        keep(p + "gate.weight", gate)
        keep(p + "up.weight", up)
        keep(p + "down.weight", g.weight(p + "down", intermediate))
    keep("embedding.weight", g.weight("embedding", hidden, transposed=False))
    for name in ("norm.weight", "frequency_power", "length_power", "offset", "gain"):
        keep(name, g.array(name))
    for name in ("embedding_mean", "embedding_scale"):
        keep(name, g.array(name))
    keep("skip.weight", g.weight("skip"))
    keep("emphasis.weight", g.array("emphasis").T)
    bias = g.array("output_bias")
    allowed = bias > MASKED_BIAS / 2
    keep("bias", np.where(allowed, bias, 0.0).astype(np.float32))
    keep("term_mask", allowed)
    config = ModelConfig(
        vocabulary=len(bias),
        hidden=hidden,
        layers=layers,
        heads=heads,
        key_value_heads=narrow_heads,
        intermediate=intermediate,
        rope_theta=theta,
        norm_epsilon=float(f"{g.attribute('SimplifiedLayerNormalization', 'epsilon'):.6g}"),
        variant=manifest["variant"],
    )
    model = SparseEncoder(config)
    model.load_state_dict(state)
    return model, (directory / "tokenizer.json").read_text(encoding="utf-8")
