"""Blockwise weight quantization in the layout of ONNX Runtime's MatMulNBits.

A weight W [N, K] is cut along K into blocks; each block has one float scale and
a symmetric code around 2^(bits-1).  Activations are quantized by the runtime per
row and block, never per batch, so a text's weights do not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BlockQuantized:
    """codes [N, blocks, block * bits / 8] uint8, scales [N, blocks] float32."""

    codes: np.ndarray
    scales: np.ndarray
    bits: int
    block: int

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])


def quantize(weight: np.ndarray, bits: int, block: int = 32) -> BlockQuantized:
    """Quantize W [N, K]; K is padded with zeros to a multiple of `block`."""
    if bits not in (4, 8):
        raise ValueError("bits must be 4 or 8")
    n, k = weight.shape
    blocks = -(-k // block)
    padded = np.zeros((n, blocks * block), dtype=np.float32)
    padded[:, :k] = weight
    cut = padded.reshape(n, blocks, block)
    zero = 1 << (bits - 1)
    if bits == 8:
        scales = np.abs(cut).max(-1) / (zero - 1)
    else:
        # The code range is -8..7: let the entry of largest magnitude take -8.
        where = np.abs(cut).argmax(-1)
        scales = np.take_along_axis(cut, where[..., None], -1)[..., 0] / -zero
    safe = np.where(scales == 0, 1.0, scales)
    codes = np.clip(np.rint(cut / safe[..., None]) + zero, 0, 2 * zero - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return BlockQuantized(np.ascontiguousarray(codes), scales.astype(np.float32), bits, block)


def dequantize(q: BlockQuantized, k: int) -> np.ndarray:
    """The float weight [N, K] that the codes stand for."""
    codes = q.codes
    if q.bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)
    values = (codes.astype(np.float32) - (1 << (q.bits - 1))) * q.scales[..., None]
    return values.reshape(q.rows, -1)[:, :k]
