"""A checkpoint made before its graph gave dense vectors: the vector is there, as a step, and becomes an output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import NodeProto, TensorProto, helper

from .checkpoints import dense_output, sha256_of
from .onnx_graph import DENSE, save


def unit_vector(model: onnx.ModelProto) -> str:
    """Name of the one step that brings vectors to length one (`unit_vectors`).

    Raises ValueError where no step or several do.
    """
    made: dict[str, NodeProto] = {output: node for node in model.graph.node for output in node.output}

    def kind(name: str) -> str:
        return made[name].op_type if name in made else ""

    found = []
    for node in model.graph.node:
        if node.op_type != "Div" or kind(node.input[0]) != "ReduceSum" or kind(node.input[1]) != "Max":
            continue
        length = made[node.input[1]].input[0]
        if kind(length) == "ReduceL2" and made[length].input[0] == node.input[0]:
            found.append(str(node.output[0]))
    if len(found) != 1:
        raise ValueError(f"the graph has {len(found)} vectors of length one, not one: its pooling is no mean")
    return found[0]


def expose(directory: Path) -> dict[str, Any]:
    """Give the graph of a checkpoint directory the output `dense`; returns the manifest.

    Terms, weights and the fingerprint stay as they are: indices of the checkpoint stay valid.  Raises ValueError
    for a graph without such a vector.
    """
    file, described = directory / "model.onnx", directory / "manifest.json"
    manifest: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
    if "dense" in manifest:
        return manifest
    model = onnx.load(str(file))
    vector = unit_vector(model)
    dimension = _last_dimension(model, vector)
    model.graph.node.append(helper.make_node("Identity", [vector], [DENSE]))
    model.graph.output.append(helper.make_tensor_value_info(DENSE, TensorProto.FLOAT, ("batch", dimension)))
    save(model, file)
    manifest["files"]["model.onnx"] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    manifest["dense"] = dense_output(dimension)
    described.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def _last_dimension(model: onnx.ModelProto, vector: str) -> int:
    """Dimensions of the states that `vector` is the mean of: the size of the last layer's norm."""
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    if not norms or norms[-1].input[1] not in sizes:
        raise ValueError(f"the graph has no norm that tells the size of {vector}")
    return int(sizes[norms[-1].input[1]][-1])
