"""Writes an ONNX graph node by node, its weights in any of the four precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .quantize import quantize_blocks, quantize_rows

PRECISIONS = ("fp32", "fp16", "int8", "int4")
MICROSOFT = "com.microsoft"
LARGEST_FILE = 2_000_000_000
"""Bytes of weights above which they go to a file beside the model: one protobuf message holds less than 2 GiB."""


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


def assembled(
    g: Graph, name: str, weights: str, vocabulary: int, term_ids: np.ndarray | None = None
) -> onnx.ModelProto:
    """The model whose outputs are the `k` heaviest of `weights` [B, vocabulary].

    term_ids: the token id of each column, if the columns are a selection of the vocabulary.
    """
    k = g.op("Min", "k", g.ints(vocabulary))
    g.nodes.append(helper.make_node("TopK", [weights, k], ["weights", "wide_indices"], axis=-1, largest=1, sorted=1))
    wide = "wide_indices"
    if term_ids is not None:
        wide = g.op("Gather", g.constant("term_ids", term_ids.astype(np.int64)), wide, axis=0)
    g.nodes.append(helper.make_node("Cast", [wide], ["indices"], to=TensorProto.INT32))

    def info(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        g.nodes,
        name,
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


def save(model: onnx.ModelProto, path: Path, largest: int = LARGEST_FILE) -> None:
    """Write the model; weights go to `<name>_data` beside it only if they exceed `largest` bytes."""
    beside = path.with_name(path.name + "_data")
    beside.unlink(missing_ok=True)  # onnx appends to a file that is there.
    large = sum(len(t.raw_data) for t in model.graph.initializer) > largest
    onnx.save_model(model, str(path), save_as_external_data=large, location=beside.name)
