"""ONNX export: ids and mask in, top-k term indices and weights out.

The graph is written node by node instead of being traced, so that every shape
stays dynamic and the tied embedding is stored once.  It uses ONNX opset 17 and
these contributed operators of ONNX Runtime: SimplifiedLayerNormalization,
RotaryEmbedding, MultiHeadAttention; MatMulIntegerToFloat for int8; MatMulNBits
and GatherBlockQuantized for int4.

Inputs: input_ids, attention_mask int64 [batch, seq] (right padded), k int64 [1].
Outputs: indices int32 [batch, k], weights float32 [batch, k], heaviest first.

Padding never needs a mask over [batch, seq, vocabulary]: padded positions are
given the state of position 0, which leaves the maximum as it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .model import EMPHASIS_RANGE, LENGTH_UNIT, SparseEncoder
from .quantize import quantize_blocks, quantize_rows

PRECISIONS = ("fp32", "fp16", "int8", "int4")
MICROSOFT = "com.microsoft"


class Graph:
    """Collects nodes and initializers; every method returns the name of its result."""

    def __init__(self, precision: str, block: int) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}")
        self.precision = precision
        self.block = block
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()
        self._count = 0

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self._names:
            self._names.add(name)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant("i_" + "_".join(map(str, values)).replace("-", "m"), np.array(values, dtype=np.int64))

    def floats(self, value: float) -> str:
        return self.constant(f"f_{value}", np.array(value, dtype=np.float32))

    def op(
        self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", name: str | None = None, **attributes: object
    ) -> str:
        return self.many(kind, *inputs, outputs=outputs, domain=domain, name=name, **attributes)[0]

    def many(
        self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", name: str | None = None, **attributes: object
    ) -> list[str]:
        self._count += 1
        base = name or f"{kind}_{self._count}"
        results = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), results, name=base, domain=domain, **attributes))
        return results

    def weight(self, name: str, value: np.ndarray) -> str:
        """A float weight, stored in half precision and widened when loaded if so asked."""
        if self.precision != "fp16":
            return self.constant(name, value.astype(np.float32))
        if name + "_wide" not in self._names:
            self._names.add(name + "_wide")
            half = self.constant(name, value.astype(np.float16))
            self.op("Cast", half, to=TensorProto.FLOAT, name=name + "_wide")
        return name + "_wide"

    def _blocks(self, name: str, weight: np.ndarray) -> tuple[str, str]:
        codes, scales = name + "_codes", name + "_scales"
        if codes not in self._names:
            q = quantize_blocks(weight, self.block)
            self.constant(codes, q.codes)
            self.constant(scales, q.scales)
        return codes, scales

    def _rows(self, name: str, weight: np.ndarray) -> tuple[str, str]:
        codes, scales = name + "_codes", name + "_scales"
        if codes not in self._names:
            values = quantize_rows(weight)
            self.constant(codes, values[0])
            self.constant(scales, values[1])
        return codes, scales

    def _integers(self, x: str, axes: tuple[int, ...]) -> tuple[str, str]:
        """x [B, S, K] as uint8 around 128, with one positive scale for what shares the other axes."""
        largest = self.op("ReduceMax", self.op("Abs", x), axes=list(axes), keepdims=1)
        scale = self.op("Div", self.op("Max", largest, self.floats(1e-6)), self.floats(127.0))
        shifted = self.op("Add", self.op("Round", self.op("Div", x, scale)), self.floats(128.0))
        return self.op("Cast", shifted, to=TensorProto.UINT8), scale

    def _integer_product(self, codes: str, weight: str, scales: str) -> str:
        """(codes - 128) @ weight [K, N] times the scale of each column."""
        one = self.constant("scale_one", np.array(1.0, dtype=np.float32))
        middle = self.constant("middle", np.array(128, dtype=np.uint8))
        return self.op("MatMulIntegerToFloat", codes, weight, one, scales, middle, domain=MICROSOFT)

    def linear(self, x: str, name: str, weight: np.ndarray) -> str:
        """x @ weight.T for weight [N, K]."""
        n, k = weight.shape
        if self.precision == "int8":
            codes, scales = self._rows(name, weight.astype(np.float32))
            values, scale = self._integers(x, (2,))
            turned = self.op("Transpose", codes, perm=[1, 0])
            return self.op("Mul", self._integer_product(values, turned, scales), scale)
        if self.precision == "int4":
            codes, scales = self._blocks(name, weight)
            return self.op(
                "MatMulNBits",
                x,
                codes,
                scales,
                domain=MICROSOFT,
                K=k,
                N=n,
                bits=4,
                block_size=self.block,
                accuracy_level=4,
            )
        return self.op("MatMul", x, self.weight(name, weight.T))

    def max_projection(self, x: str, name: str, weight: np.ndarray) -> str:
        """max over S of x [B, S, H] @ weight.T, from the initializer that `rows` reads: [B, V]."""
        if self.precision == "int8":
            # One scale per text: the maximum can be taken before it is applied.
            codes, scales = self._rows(name, weight)
            values, scale = self._integers(x, (1, 2))
            logits = self._integer_product(values, self.op("Transpose", codes, perm=[1, 0]), scales)
            best = self.op("ReduceMax", logits, axes=[1], keepdims=0)
            return self.op("Mul", best, self.op("Squeeze", scale, self.ints(2)))
        if self.precision == "int4":
            logits = self.linear(x, name, weight)
        else:
            logits = self.op("MatMul", x, self.op("Transpose", self.weight(name, weight), perm=[1, 0]))
        return self.op("ReduceMax", logits, axes=[1], keepdims=0)

    def rows(self, ids: str, name: str, weight: np.ndarray) -> str:
        """weight[ids], from the initializer that max_projection uses."""
        if self.precision == "int8":
            codes, scales = self._rows(name, weight)
            values = self.op("Cast", self.op("Gather", codes, ids, axis=0), to=TensorProto.FLOAT)
            return self.op("Mul", values, self.op("Unsqueeze", self.op("Gather", scales, ids, axis=0), self.ints(2)))
        if self.precision == "int4":
            codes, scales = self._blocks(name, weight)
            flat = self.op("Reshape", codes, self.ints(weight.shape[0], weight.shape[1] // 2))
            return self.op(
                "GatherBlockQuantized", flat, ids, scales, domain=MICROSOFT, bits=4, block_size=self.block,
                gather_axis=0, quantize_axis=1,
            )  # fmt: skip
        return self.op("Gather", self.weight(name, weight), ids, axis=0)


def build(model: SparseEncoder, precision: str, positions: int, block: int = 32) -> onnx.ModelProto:
    """The ONNX model of `model`; `positions` bounds the rotary table (later positions share its last row)."""
    c = model.config
    if precision == "int4" and c.hidden % block:
        raise ValueError(f"hidden size {c.hidden} must be a multiple of the quantization block {block}")
    state = {k: v.detach().float().numpy() for k, v in model.state_dict().items()}
    embedding = state["embedding.weight"]
    g = Graph(precision, block)
    ids, mask = "input_ids", "attention_mask"
    if c.variant == "echo":
        ids = g.op("Concat", ids, ids, axis=1)
        mask = g.op("Concat", mask, mask, axis=1)
    running = g.op("CumSum", mask, g.constant("axis_one", np.array(1, dtype=np.int64)))
    position = g.op("Sub", running, g.ints(1))
    position = g.op("Min", g.op("Max", position, g.ints(0)), g.ints(positions - 1))
    # Additive attention bias [B, 1, S, S]: 0 where allowed, -10000 where not.
    key = g.op("Unsqueeze", g.op("Cast", mask, to=TensorProto.FLOAT), g.ints(1, 2))
    bias = g.op("Mul", g.op("Sub", key, g.floats(1.0)), g.floats(1.0e4))
    length = g.op("Slice", g.op("Shape", ids), g.ints(1), g.ints(2), g.ints(0))
    square = g.op("Concat", length, length, axis=0)
    zeros = g.op("ConstantOfShape", square, value=numpy_helper.from_array(np.zeros(1, dtype=np.float32)))
    if c.variant == "echo":
        ones = g.op("ConstantOfShape", square, value=numpy_helper.from_array(np.full(1, -1.0e4, dtype=np.float32)))
        zeros = g.op("Trilu", ones, g.constant("above", np.array(1, dtype=np.int64)), upper=1)
        bias = g.op("Max", g.op("Add", bias, zeros), g.floats(-1.0e4))
    else:
        bias = g.op("Add", bias, zeros)
    inverse = 1.0 / (c.rope_theta ** (np.arange(0, c.head_size, 2, dtype=np.float64) / c.head_size))
    angles = np.arange(positions)[:, None] * inverse
    cos = g.constant("rotary_cos", np.cos(angles).astype(np.float32))
    sin = g.constant("rotary_sin", np.sin(angles).astype(np.float32))

    def norm(x: str, name: str) -> str:
        weight = g.constant(name, state[name])
        return g.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=c.norm_epsilon)

    def rotary(x: str, heads: int) -> str:
        return g.op("RotaryEmbedding", x, position, cos, sin, domain=MICROSOFT, num_heads=heads, interleaved=0)

    def repeat(x: str) -> str:
        if c.heads == c.key_value_heads:
            return x
        x = g.op("Reshape", x, g.ints(0, 0, c.key_value_heads, 1, c.head_size))
        x = g.op("Expand", x, g.ints(1, 1, 1, c.heads // c.key_value_heads, 1))
        return g.op("Reshape", x, g.ints(0, 0, c.hidden))

    embedded = g.rows(ids, "embedding", embedding)
    x = embedded
    narrow = c.key_value_heads * c.head_size
    for n in range(c.layers):
        p = f"layers.{n}."
        h = norm(x, p + "attention_norm.weight")
        joined = np.concatenate([state[p + f"attention.{m}.weight"] for m in "qkv"])
        q, k, v = g.many(
            "Split",
            g.linear(h, p + "qkv", joined),
            g.ints(c.hidden, narrow, narrow),
            outputs=3,
            axis=-1,
            name=p + "split",
        )
        q, k = rotary(q, c.heads), rotary(k, c.key_value_heads)
        a = g.op("MultiHeadAttention", q, repeat(k), repeat(v), "", "", bias, domain=MICROSOFT, num_heads=c.heads)
        x = g.op("Add", x, g.linear(a, p + "o", state[p + "attention.o.weight"]))
        h = norm(x, p + "mlp_norm.weight")
        joined = np.concatenate([state[p + "gate.weight"], state[p + "up.weight"]])
        gate, up = g.many(
            "Split", g.linear(h, p + "gate_up", joined), g.ints(c.intermediate, c.intermediate), outputs=2, axis=-1
        )
        h = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        x = g.op("Add", x, g.linear(h, p + "down", state[p + "down.weight"]))
    own_ids = "input_ids"
    if c.variant == "echo":
        original = g.op("Slice", g.op("Shape", "input_ids"), g.ints(1), g.ints(2), g.ints(0))
        x = g.op("Slice", x, original, g.ints(2**31 - 1), g.ints(1))
        embedded = g.op("Slice", embedded, original, g.ints(2**31 - 1), g.ints(1))
    unit = g.constant("unit_norm", np.ones(c.hidden, dtype=np.float32))
    trunk = g.op("SimplifiedLayerNormalization", x, unit, axis=-1, epsilon=c.norm_epsilon)
    # Emphasis [B, S]: from the state, the token's frequency in the text and the text's length.
    mask_float = g.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    same = g.op("Equal", g.op("Unsqueeze", own_ids, g.ints(2)), g.op("Unsqueeze", own_ids, g.ints(1)))
    same = g.op("Mul", g.op("Cast", same, to=TensorProto.FLOAT), g.op("Unsqueeze", mask_float, g.ints(1)))
    one = g.floats(1.0)
    frequency = g.op("Log", g.op("Max", g.op("ReduceSum", same, g.ints(2), keepdims=0), one))
    length = g.op("Max", g.op("ReduceSum", mask_float, g.ints(1), keepdims=1), one)
    length = g.op("Log", g.op("Div", length, g.floats(LENGTH_UNIT)))
    context = g.op("Squeeze", g.op("MatMul", trunk, g.constant("emphasis", state["emphasis.weight"].T)), g.ints(2))
    logarithm = g.op("Add", context, g.op("Mul", frequency, g.constant("frequency_power", state["frequency_power"])))
    logarithm = g.op("Add", logarithm, g.op("Mul", length, g.constant("length_power", state["length_power"])))
    emphasis = g.op("Exp", g.op("Clip", logarithm, g.floats(EMPHASIS_RANGE[0]), g.floats(EMPHASIS_RANGE[1])))
    gain = g.op("Gather", g.constant("gain", state["gain"]), own_ids, axis=0)
    scale = g.op("Gather", g.constant("embedding_scale", state["embedding_scale"]), own_ids, axis=0)
    height = g.op("Add", g.op("Mul", gain, emphasis), g.constant("offset", state["offset"]))
    height = g.op("Unsqueeze", g.op("Mul", height, scale), g.ints(2))
    centred = g.op("Sub", embedded, g.constant("embedding_mean", state["embedding_mean"]))
    # The skip decides which own terms are active: its small matrix stays in floating point.
    own = g.op("Mul", g.op("MatMul", centred, g.weight("skip", state["skip.weight"].T)), height)
    x = g.op("Add", g.op("Mul", trunk, g.constant("norm.weight", state["norm.weight"])), own)
    first = g.op("Slice", x, g.ints(0), g.ints(1), g.ints(1))
    real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=TensorProto.BOOL), g.ints(2))
    x = g.op("Where", real, x, first)
    pooled = g.max_projection(x, "embedding", embedding)
    pooled = g.op("Add", pooled, g.constant("output_bias", model.output_bias().detach().numpy()))
    weights = g.op("Log", g.op("Add", g.op("Relu", pooled), g.floats(1.0)))
    nonempty = g.op("ReduceMax", "attention_mask", axes=[1], keepdims=1)
    weights = g.op("Mul", weights, g.op("Cast", nonempty, to=TensorProto.FLOAT))
    k = g.op("Min", "k", g.ints(c.vocabulary))
    g.nodes.append(helper.make_node("TopK", [weights, k], ["weights", "wide_indices"], axis=-1, largest=1, sorted=1))
    g.nodes.append(helper.make_node("Cast", ["wide_indices"], ["indices"], to=TensorProto.INT32))

    def info(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        g.nodes,
        f"csplade_{c.variant}",
        [
            info("input_ids", TensorProto.INT64, "batch", "seq"),
            info("attention_mask", TensorProto.INT64, "batch", "seq"),
            info("k", TensorProto.INT64, 1),
        ],
        [info("indices", TensorProto.INT32, "batch", "k_out"), info("weights", TensorProto.FLOAT, "batch", "k_out")],
        g.initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="csplade_train")


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the model; weights go to a file beside it only if they exceed 2 GB."""
    large = sum(len(t.raw_data) for t in model.graph.initializer) > 2_000_000_000
    onnx.save_model(model, str(path), save_as_external_data=large, location=path.name + "_data")
