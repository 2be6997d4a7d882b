"""A shipped checkpoint directory as a trainable model again: the exporter's graph read backwards.

Weights of int8 and int4 checkpoints come back as the numbers their codes stand for,
so training goes on from exactly what was shipped, and no float weights need shipping.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from .base import Base
from .model import MASKED_BIAS, ModelConfig, SparseEncoder
from .quantize import AffineQuantized, BlockQuantized, dequantize_affine, dequantize_blocks, dequantize_rows
from .trunk_shape import LAYER_WEIGHTS

QKV_BIASES = ("attention.q.bias", "attention.k.bias", "attention.v.bias")
NORMS = (
    "attention.q_norm.weight", "attention.k_norm.weight", "attention_out_norm.weight", "mlp_out_norm.weight",
)  # fmt: skip
LAYER = re.compile(r"layers\.(\d+)\.")


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
        if name + "_packed" in self.arrays:
            parts = [numpy_helper.to_array(self.arrays[name + part]) for part in ("_packed", "_scales", "_least")]
            return dequantize_affine(AffineQuantized(*parts)) * self.array(name + "_columns")
        codes, scales = numpy_helper.to_array(self.arrays[name + "_codes"]), self.array(name + "_scales")
        if codes.ndim == 2:
            return dequantize_rows(codes, scales)
        if codes.shape[2] * 2 != int(self.attribute("MatMulNBits", "block_size")):
            raise ValueError(f"{name} is quantized in a way that is not known here")
        width = columns or codes.shape[1] * codes.shape[2] * 2
        return dequantize_blocks(BlockQuantized(codes, scales.reshape(codes.shape[:2])), width)

    @property
    def layers(self) -> int:
        return sum(name.endswith(".attention_norm.weight") for name in self.arrays)

    @property
    def angles(self) -> np.ndarray:
        """Rotary angles at position 1 [head_size / 2] of most layers; none is beyond 1."""
        return np.arcsin(self.array("rotary_sin")[1].astype(np.float64))

    @property
    def other_layers(self) -> list[int]:
        """Layers without rotary positions or with other ones."""
        usual, layer = set(), 0
        for node in self.nodes:
            found = LAYER.search(" ".join([*node.input, node.name]))
            layer = int(found[1]) if found else layer
            if node.op_type == "RotaryEmbedding" and node.input[2].startswith("rotary_cos"):
                usual.add(layer)
        return [n for n in range(self.layers) if n not in usual]

    @property
    def other_frequencies(self) -> list[float]:
        """Their angles at position 1; 0 where they have no positions."""
        if "other_rotary_sin" not in self.arrays:
            return [0.0] * len(self.angles)
        return np.arcsin(self.array("other_rotary_sin")[1].astype(np.float64)).tolist()

    @property
    def frequencies(self) -> list[float] | None:
        """Rotary angles that are scaled, and so are no powers of one base."""
        plain = self.sizes[3] ** (-np.arange(len(self.angles)) / len(self.angles))
        return None if np.allclose(self.angles, plain, rtol=1e-3, atol=0) else self.angles.tolist()

    @property
    def sizes(self) -> tuple[int, int, int, float]:
        """Heads of queries, heads of keys, size of a head, base of the rotary angles."""
        angles = self.angles
        head_size = 2 * len(angles)
        # The smallest angle tells the base most exactly; bases are whole numbers.
        theta = float(round(angles[-1] ** (-head_size / (head_size - 2))))
        heads, narrow = (int(self.attribute("RotaryEmbedding", "num_heads", n)) for n in (0, 1))
        return heads, narrow, head_size, theta

    @property
    def epsilon(self) -> float:
        return float(f"{self.attribute('SimplifiedLayerNormalization', 'epsilon'):.6g}")

    def layer(self, n: int, hidden: int, wide: int, narrow: int) -> dict[str, np.ndarray]:
        """Weights of a layer by our names; wide, narrow: width of queries and of keys."""
        p = f"layers.{n}."
        q, k, v = np.split(self.weight(p + "qkv", hidden), [wide, wide + narrow])
        gate, up = np.split(self.weight(p + "gate_up", hidden), 2)
        more = {name: self.array(p + name) for name in NORMS if p + name in self.arrays}
        if p + "qkv_bias" in self.arrays:
            biases = np.split(self.array(p + "qkv_bias"), [wide, wide + narrow])
            more |= dict(zip(QKV_BIASES, biases, strict=True))
        return more | {
            "attention_norm.weight": self.array(p + "attention_norm.weight"),
            "mlp_norm.weight": self.array(p + "mlp_norm.weight"),
            "attention.q.weight": q,
            "attention.k.weight": k,
            "attention.v.weight": v,
            "attention.o.weight": self.weight(p + "o", wide),
            "gate.weight": gate,
            "up.weight": up,
            "down.weight": self.weight(p + "down", len(gate)),
        }


def reopen(directory: Path) -> tuple[SparseEncoder, str]:
    """The model of a checkpoint directory that this package exported, and its tokenizer's JSON.

    Raises ValueError for a checkpoint of another maker: its graph has other parts.
    """
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    g = Graph(onnx.load(str(directory / "model.onnx")))
    if "embedding_scale" not in g.arrays or manifest["variant"] not in ("bi", "echo"):
        raise ValueError(f"{directory} was not trained by csplade-train: only such checkpoints can be trained further")
    hidden = len(g.array("embedding_mean"))
    heads, narrow_heads, head_size, theta = g.sizes
    others = g.other_layers
    state: dict[str, Tensor] = {}

    def keep(name: str, value: np.ndarray) -> None:
        state[name] = torch.from_numpy(np.ascontiguousarray(value)).clone()

    for n in range(g.layers):
        for name, value in g.layer(n, hidden, heads * head_size, narrow_heads * head_size).items():
            keep(f"layers.{n}.{name}", value)
    keep("embedding.weight", g.weight("embedding", hidden, transposed=False))
    tied = not any(name in g.arrays for name in ("head", "head_codes"))
    if not tied:
        keep("head.weight", g.weight("head", hidden, transposed=False))
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
        layers=g.layers,
        heads=heads,
        key_value_heads=narrow_heads,
        intermediate=len(state["layers.0.gate.weight"]),
        rope_theta=theta,
        norm_epsilon=g.epsilon,
        variant=manifest["variant"],
        own_head_size=None if head_size == hidden // heads else head_size,
        attention_bias="layers.0." + QKV_BIASES[0] in state,
        head_norms="layers.0." + NORMS[0] in state,
        tied=tied,
        rope_frequencies=g.frequencies,
        output_norms="layers.0." + NORMS[-1] in state,
        activation="gelu_tanh" if any(n.op_type == "FastGelu" for n in g.nodes) else "silu",
        embedding_factor=g.array("embedding_factor").item() if "embedding_factor" in g.arrays else 1.0,
        other_layers=others or None,
        other_frequencies=g.other_frequencies if others else None,
    )
    model = SparseEncoder(config)
    model.load_state_dict(state)
    return model, (directory / "tokenizer.json").read_text(encoding="utf-8")


def reopen_prompted(directory: Path) -> tuple[Base, np.ndarray]:
    """The language model of a checkpoint that is read at a prompt, as its graph has it, and the graph's bias [V].

    An int8 graph has the magnitudes of activations in its weights (`prompted.smoothed`): the same function.
    """
    g = Graph(onnx.load(str(directory / "model.onnx")))
    norm = g.array("norm.weight")
    heads, narrow, head_size, theta = g.sizes
    found = {
        "model.embed_tokens.weight": g.weight("embedding", len(norm), transposed=False),
        "model.norm.weight": norm,
    }
    for n in range(g.layers):
        for name, value in g.layer(n, len(norm), heads * head_size, narrow * head_size).items():
            found[f"model.layers.{n}.{LAYER_WEIGHTS[name]}"] = value
    config: dict[str, float | int] = {
        "hidden": len(norm), "heads": heads, "key_value_heads": narrow, "norm_epsilon": g.epsilon, "rope_theta": theta,
        "intermediate": len(found["model.layers.0.mlp.gate_proj.weight"]),
    }  # fmt: skip
    state = {name: torch.from_numpy(np.ascontiguousarray(value)).clone() for name, value in found.items()}
    return Base(state, config, (directory / "tokenizer.json").read_text(encoding="utf-8")), g.array("bias")
