"""Writes an ONNX graph node by node, its weights in any of the four precisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .quantize import dequantize_affine, quantize_affine, quantize_blocks, quantize_rows

PRECISIONS = ("fp32", "fp16", "int8", "int4")
PROVIDERS = ("cpu", "cuda")
COLUMNS_AT_ONCE = 8192
"""Vocabulary rows that a graph for CUDA multiplies at once: 8,192 tokens' scores take 128 MiB, not 2 GiB."""
COLUMNS_NOTE = "csplade.projection_columns"
"""Key of the model's metadata with the number of rows multiplied at once; csplade doctor reads it."""
MICROSOFT = "com.microsoft"
OURS = "csplade"
UNPACK = "UnpackRows"
LARGEST_FILE = 2_000_000_000
"""Bytes of weights above which they go to a file beside the model: one protobuf message holds less than 2 GiB."""


@dataclass(frozen=True)
class Target:
    """Whom a graph is for.  On CUDA products run in half precision; norms and sums stay in single."""

    provider: str = "cpu"
    columns: int | None = None
    """Vocabulary rows multiplied at once; all of them without it, on CUDA COLUMNS_AT_ONCE."""

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider must be one of {PROVIDERS}")
        if self.columns is not None and self.columns < 1:
            raise ValueError("at least one column must be multiplied at once")


ANY = Target()


class Graph:
    """Collects nodes and initializers; every method returns the name of its result."""

    def __init__(
        self, precision: str, block: int, target: Target = ANY, columns_scaled: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """columns_scaled: with it int8 weights of linear layers are stored in four bits; by the layer's name,
        what its weight's columns [K] were multiplied by after it was in four bits."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}")
        cuda = target.provider == "cuda"
        if cuda and precision == "int8":
            raise ValueError("ONNX Runtime's CUDA provider has no such int8 product: export fp16 or int4 for it")
        self.precision = precision
        self.block = block
        self.half = cuda and precision in ("fp16", "int4")
        self.packed = columns_scaled is not None
        self.columns_scaled = columns_scaled or {}
        self.columns = target.columns or (COLUMNS_AT_ONCE if cuda else None)
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

    def within(self, name: str, value: float | list[int]) -> str:
        """A constant as a node, which a function of a model needs."""
        if name not in self._names:
            self._names.add(name)
            kind = np.int64 if isinstance(value, list) else np.float32
            tensor = numpy_helper.from_array(np.array(value, dtype=kind), name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

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

    def narrow(self, x: str) -> str:
        """x in the precision of products."""
        return self._as(x, TensorProto.FLOAT16, "_half") if self.half else x

    def wide(self, x: str) -> str:
        """A product in single precision."""
        return self._as(x, TensorProto.FLOAT, "_single") if self.half else x

    def _as(self, x: str, kind: int, suffix: str) -> str:
        if x + suffix not in self._names:
            self._names.add(x + suffix)
            self.op("Cast", x, to=kind, name=x + suffix)
        return x + suffix

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
            self.constant(scales, q.scales.astype(np.float16) if self.half else q.scales)
        return codes, scales

    def _factor(self, name: str, value: np.ndarray) -> str:
        """A weight as products take it."""
        return self.constant(name, value.astype(np.float16)) if self.half else self.weight(name, value)

    def _rows(self, name: str, weight: np.ndarray) -> tuple[str, str]:
        codes, scales = name + "_codes", name + "_scales"
        if codes not in self._names:
            values = quantize_rows(weight)
            self.constant(codes, values[0])
            self.constant(scales, values[1])
        return codes, scales

    def _unpacked(self, name: str, weight: np.ndarray) -> tuple[str, str]:
        """int8 rows that are stored in four bits with a scale and a least value for each block.

        A node of ours: the encoder unpacks them when it loads the model; any other program computes `unpacking`.
        """
        columns = self.columns_scaled.get(name, np.ones(weight.shape[1], dtype=np.float32)).astype(np.float32)
        q = quantize_affine(weight / columns, self.block)
        scales = self.constant(name + "_row_scales", quantize_rows(dequantize_affine(q) * columns)[1])
        stored = [
            self.constant(name + part, value)
            for part, value in (("_packed", q.codes), ("_scales", q.scales), ("_least", q.least), ("_columns", columns))
        ]
        return self.op(UNPACK, *stored, scales, domain=OURS), scales

    def _integers(self, x: str, axes: tuple[int, ...]) -> tuple[str, str]:
        """x [B, S, K] as uint8 around 128, with one positive scale for what shares the other axes."""
        largest = self.op("ReduceMax", self.op("Abs", x), axes=list(axes), keepdims=1)
        scale = self.op("Div", self.op("Max", largest, self.floats(1e-6)), self.floats(127.0))
        shifted = self.op("Add", self.op("Round", self.op("Div", x, scale)), self.floats(128.0))
        return self.op("Cast", shifted, to=TensorProto.UINT8), scale

    def _remainder(self, x: str) -> str:
        """What `_integers` loses of x [B, S, K]: with it a second product has 16 bits of x."""
        codes, scale = self._integers(x, (2,))
        kept = self.op("Sub", self.op("Cast", codes, to=TensorProto.FLOAT), self.floats(128.0))
        return self.op("Sub", x, self.op("Mul", kept, scale))

    def _integer_product(self, codes: str, weight: str, scales: str) -> str:
        """(codes - 128) @ weight [K, N] times the scale of each column."""
        one = self.constant("scale_one", np.array(1.0, dtype=np.float32))
        middle = self.constant("middle", np.array(128, dtype=np.uint8))
        return self.op("MatMulIntegerToFloat", codes, weight, one, scales, middle, domain=MICROSOFT)

    def linear(self, x: str, name: str, weight: np.ndarray) -> str:
        """x @ weight.T for weight [N, K]."""
        n, k = weight.shape
        if self.precision == "int8":
            rows = self._unpacked if self.packed else self._rows
            codes, scales = rows(name, weight.astype(np.float32))
            values, scale = self._integers(x, (2,))
            turned = self.op("Transpose", codes, perm=[1, 0])
            return self.op("Mul", self._integer_product(values, turned, scales), scale)
        if self.precision == "int4":
            return self._block_product(x, *self._blocks(name, weight), n, k)
        return self.op("MatMul", x, self._factor(name, weight.T))

    def _block_product(self, x: str, codes: str, scales: str, n: int, k: int) -> str:
        # Activations in int8 are a way of the CPU.
        level = 0 if self.half else 4
        return self.op(
            "MatMulNBits", x, codes, scales, domain=MICROSOFT, K=k, N=n, bits=4, block_size=self.block,
            accuracy_level=level,
        )  # fmt: skip

    def max_projection(self, x: str, name: str, weight: np.ndarray) -> str:
        """max over S of x [B, S, H] @ weight.T, from the initializer that `rows` reads: [B, V]."""
        if self.columns is not None and self.columns < len(weight) and self.precision != "int8":
            return self._sliced_max(x, name, weight, self.columns)
        x = self.narrow(x)
        if self.precision == "int8":
            # One scale per text: the maximum can be taken before it is applied.
            codes, scales = self._rows(name, weight)
            values, scale = self._integers(x, (1, 2))
            logits = self._integer_product(values, self.op("Transpose", codes, perm=[1, 0]), scales)
            best = self.op("ReduceMax", logits, axes=[1], keepdims=0)
            return self.op("Mul", best, self.op("Squeeze", scale, self.ints(2)))
        logits = self._product(x, name, weight)
        return self.wide(self.op("ReduceMax", logits, axes=[1], keepdims=0))

    def _product(self, x: str, name: str, weight: np.ndarray) -> str:
        if self.precision == "int4":
            return self.linear(x, name, weight)
        return self.op("MatMul", x, self.op("Transpose", self._factor(name, weight), perm=[1, 0]))

    def _sliced_max(self, x: str, name: str, weight: np.ndarray, columns: int) -> str:
        """The same, so many rows of `weight` at a time: no tensor has the whole vocabulary and the positions.

        Slices are cut while the graph runs, out of the one copy of the weights: at places that depend on an
        input, or else the runtime would compute them beforehand and keep them as a second copy.
        """
        n, k = weight.shape
        shape = self.op("Slice", self.op("Shape", x), self.ints(0), self.ints(2), self.ints(0))
        flat = self.op("Reshape", self.narrow(x), self.ints(-1, k))
        nothing = self.op("Sub", "k", "k")
        tables = self._blocks(name, weight) if self.precision == "int4" else (self._factor(name, weight),)
        best = []
        for start in range(0, n, columns):
            width = min(columns, n - start)
            ends = [self.op("Add", nothing, self.ints(place)) for place in (start, start + width)]
            parts = [self.op("Slice", table, *ends, self.ints(0)) for table in tables]
            if self.precision == "int4":
                scores = self._block_product(flat, parts[0], parts[1], width, k)
            else:
                scores = self.op("Gemm", flat, parts[0], transB=1)
            scores = self.op("Reshape", scores, self.op("Concat", shape, self.ints(width), axis=0))
            best.append(self.op("ReduceMax", scores, axes=[1], keepdims=0))
        return self.wide(self.op("Concat", *best, axis=1))

    def projection(self, x: str, name: str, weight: np.ndarray) -> str:
        """x [B, S, H] @ weight.T, from the initializer that `rows` reads: [B, S, V]."""
        if self.precision == "int8":
            codes, scales = self._rows(name, weight)
            parts = [self._integers(part, (2,)) for part in (x, self._remainder(x))]
            turned = self.op("Transpose", codes, perm=[1, 0])
            return self.op("Add", *(self.op("Mul", self._integer_product(v, turned, scales), by) for v, by in parts))
        return self.wide(self._product(self.narrow(x), name, weight))

    def rows(self, ids: str, name: str, weight: np.ndarray) -> str:
        """weight[ids], from the initializer that the projections use."""
        if self.precision == "int8":
            codes, scales = self._rows(name, weight)
            values = self.op("Cast", self.op("Gather", codes, ids, axis=0), to=TensorProto.FLOAT)
            return self.op("Mul", values, self.op("Unsqueeze", self.op("Gather", scales, ids, axis=0), self.ints(2)))
        if self.precision == "int4":
            codes, scales = self._blocks(name, weight)
            flat = self.op("Reshape", codes, self.ints(weight.shape[0], weight.shape[1] // 2))
            picked = self.op(
                "GatherBlockQuantized", flat, ids, scales, domain=MICROSOFT, bits=4, block_size=self.block,
                gather_axis=0, quantize_axis=1,
            )  # fmt: skip
            return self.wide(picked)
        return self.wide(self.op("Gather", self._factor(name, weight), ids, axis=0))


def unpacking() -> onnx.FunctionProto:
    """What a node UNPACK computes, for programs that do not know it: `_unpacked`'s int8 codes [N, K]."""
    g = Graph("fp32", 32)
    stored = g.op("Cast", "packed", to=TensorProto.FLOAT)
    high = g.op("Floor", g.op("Mul", stored, g.within("sixteenth", 1 / 16)))
    low = g.op("Sub", stored, g.op("Mul", high, g.within("sixteen", 16.0)))
    pairs = g.op("Concat", *(g.op("Unsqueeze", half, g.within("two", [2])) for half in (low, high)), axis=2)
    blocks = g.op("Concat", g.op("Shape", "scales"), g.within("rest", [-1]), axis=0)
    value = g.op("Reshape", pairs, blocks)
    for operator, part in (("Mul", "scales"), ("Add", "least")):
        wide = g.op("Cast", part, to=TensorProto.FLOAT)
        value = g.op(operator, value, g.op("Unsqueeze", wide, g.within("two", [2])))
    value = g.op("Mul", g.op("Reshape", value, g.within("flat", [0, -1])), "columns")
    value = g.op("Div", value, g.op("Unsqueeze", "rows", g.within("one", [1])))
    g.op("Cast", g.op("Round", value), to=TensorProto.INT8, name="codes")
    inputs = ["packed", "scales", "least", "columns", "rows"]
    return helper.make_function(OURS, UNPACK, inputs, ["codes"], g.nodes, [helper.make_opsetid("", 17)])


DENSE = "dense"
"""Name of the output of dense vectors [B, d], each of length one."""


def assembled(
    g: Graph,
    name: str,
    weights: str,
    vocabulary: int,
    term_ids: np.ndarray | None = None,
    ids: str | None = None,
    dense: tuple[str, int] | None = None,
) -> onnx.ModelProto:
    """The model whose outputs are the `k` heaviest of `weights` [B, vocabulary].

    term_ids: the token id of each column, if the columns are a selection of the vocabulary; ids: the name
    of those ids [B, S], if weights are [B, S] with a column for each place of the text; dense: the name of the
    texts' dense vectors and their number of dimensions, if the model gives them too.
    """
    most = g.ints(vocabulary) if ids is None else g.op("Slice", g.op("Shape", ids), g.ints(1), g.ints(2), g.ints(0))
    k = g.op("Min", "k", most)
    g.nodes.append(helper.make_node("TopK", [weights, k], ["weights", "wide_indices"], axis=-1, largest=1, sorted=1))
    wide = "wide_indices"
    if term_ids is not None:
        wide = g.op("Gather", g.constant("term_ids", term_ids.astype(np.int64)), wide, axis=0)
    if ids is not None:
        wide = g.op("GatherElements", ids, wide, axis=1)
    g.nodes.append(helper.make_node("Cast", [wide], ["indices"], to=TensorProto.INT32))

    def info(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    outputs = [
        info("indices", TensorProto.INT32, "batch", "k_out"),
        info("weights", TensorProto.FLOAT, "batch", "k_out"),
    ]
    if dense is not None:
        g.nodes.append(helper.make_node("Identity", [dense[0]], [DENSE]))
        outputs.append(info(DENSE, TensorProto.FLOAT, "batch", dense[1]))

    graph = helper.make_graph(
        g.nodes,
        name,
        [
            info("input_ids", TensorProto.INT64, "batch", "seq"),
            info("attention_mask", TensorProto.INT64, "batch", "seq"),
            info("k", TensorProto.INT64, 1),
        ],
        outputs,
        g.initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    functions = [unpacking()] if g.packed else []
    opsets += [helper.make_opsetid(OURS, 1)] if g.packed else []
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=9, producer_name="csplade_train", functions=functions
    )
    helper.set_model_props(model, {COLUMNS_NOTE: str(min(g.columns or vocabulary, vocabulary))})
    return model


def save(model: onnx.ModelProto, path: Path, largest: int = LARGEST_FILE) -> None:
    """Write the model; weights go to `<name>_data` beside it only if they exceed `largest` bytes."""
    beside = path.with_name(path.name + "_data")
    beside.unlink(missing_ok=True)  # onnx appends to a file that is there.
    large = sum(len(t.raw_data) for t in model.graph.initializer) > largest
    onnx.save_model(model, str(path), save_as_external_data=large, location=beside.name)
