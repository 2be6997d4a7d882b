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

import numpy as np
import onnx
from onnx import TensorProto

from .model import EMPHASIS_RANGE, LENGTH_UNIT, SparseEncoder
from .onnx_graph import ANY, Graph, Target, assembled
from .onnx_trunk import angles_at, positions_and_bias, stack


def build(
    model: SparseEncoder, precision: str, positions: int, block: int = 32, target: Target = ANY
) -> onnx.ModelProto:
    """The ONNX model of `model`; `positions` bounds the rotary table (later positions share its last row)."""
    c = model.config
    if precision == "int4" and c.hidden % block:
        raise ValueError(f"hidden size {c.hidden} must be a multiple of the quantization block {block}")
    state = {k: v.detach().float().numpy() for k, v in model.state_dict().items()}
    embedding = state["embedding.weight"]
    g = Graph(precision, block, target)
    ids, mask = "input_ids", "attention_mask"
    if c.variant == "echo":
        ids = g.op("Concat", ids, ids, axis=1)
        mask = g.op("Concat", mask, mask, axis=1)
    position, bias = positions_and_bias(g, ids, mask, positions, causal=c.variant == "echo")
    angles = angles_at(positions, c.frequencies, 1.0, c.other_frequencies, c.other_layers)
    embedded = g.rows(ids, "embedding", embedding)
    x = stack(g, embedded, state.get, c, position, bias, angles)
    own_ids = "input_ids"
    if c.variant == "echo":
        original = g.op("Slice", g.op("Shape", "input_ids"), g.ints(1), g.ints(2), g.ints(0))
        x = g.op("Slice", x, original, g.ints(2**31 - 1), g.ints(1))
        embedded = g.op("Slice", embedded, original, g.ints(2**31 - 1), g.ints(1))
    table, terms = ("embedding", embedding) if c.tied else ("head", state["head.weight"])
    if not c.tied:
        embedded = g.rows(own_ids, table, terms)
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
    pooled = g.max_projection(x, table, terms)
    pooled = g.op("Add", pooled, g.constant("output_bias", model.output_bias().detach().numpy()))
    weights = g.op("Log", g.op("Add", g.op("Relu", pooled), g.floats(1.0)))
    nonempty = g.op("ReduceMax", "attention_mask", axes=[1], keepdims=1)
    weights = g.op("Mul", weights, g.op("Cast", nonempty, to=TensorProto.FLOAT))
    return assembled(g, f"csplade_{c.variant}", weights, c.vocabulary)
