"""Weight quantization: int8 with a scale per output row, int4 in blocks as in ONNX Runtime's MatMulNBits.

int8: W [N, K] has one scale per row n; integer products then run on the processor's
int8 instructions.  int4: W is cut along K into blocks, each with a scale and
symmetric codes around 8.  In both, activations are quantized per position or per
text, never per batch, so a text's weights do not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIDDLE = 8
"""The int4 code that stands for 0."""


@dataclass(frozen=True)
class BlockQuantized:
    """codes [N, blocks, block / 2] uint8, two to a byte, the lower half first; scales [N, blocks] float32."""

    codes: np.ndarray
    scales: np.ndarray


def quantize_blocks(weight: np.ndarray, block: int = 32) -> BlockQuantized:
    """int4 of W [N, K]; K is padded with zeros to a multiple of `block`."""
    n, k = weight.shape
    blocks = -(-k // block)
    padded = np.zeros((n, blocks * block), dtype=np.float32)
    padded[:, :k] = weight
    cut = padded.reshape(n, blocks, block)
    # Codes reach from -8 to 7: let the entry of largest magnitude take -8.
    where = np.abs(cut).argmax(-1)
    scales = np.take_along_axis(cut, where[..., None], -1)[..., 0] / -MIDDLE
    safe = np.where(scales == 0, 1.0, scales)
    codes = np.clip(np.rint(cut / safe[..., None]) + MIDDLE, 0, 2 * MIDDLE - 1).astype(np.uint8)
    pairs = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return BlockQuantized(np.ascontiguousarray(pairs), scales.astype(np.float32))


def dequantize_blocks(q: BlockQuantized, k: int) -> np.ndarray:
    """The float weight [N, K] that the codes stand for."""
    halves = np.stack([q.codes & 15, q.codes >> 4], axis=-1).reshape(*q.codes.shape[:-1], -1)
    values = (halves.astype(np.float32) - MIDDLE) * q.scales[..., None]
    return values.reshape(len(q.codes), -1)[:, :k]


@dataclass(frozen=True)
class AffineQuantized:
    """codes [N, K / 2] uint8, two to a byte, the lower half first; scales and least [N, K / block] float16."""

    codes: np.ndarray
    scales: np.ndarray
    least: np.ndarray


def quantize_affine(weight: np.ndarray, block: int = 32) -> AffineQuantized:
    """int4 of W [N, K], each block from its least to its largest value; K is a multiple of `block`.

    Weights that were stored so before (GGUF's Q4_1) come out as they were.
    """
    n, k = weight.shape
    if k % block:
        raise ValueError(f"{k} inputs are no multiple of the quantization block {block}")
    cut = weight.reshape(n, -1, block)
    least = cut.min(-1).astype(np.float16)
    scales = ((cut.max(-1) - least) / 15).astype(np.float16)
    safe = np.where(scales == 0, 1, scales).astype(np.float32)
    codes = np.clip(np.rint((cut - least[..., None]) / safe[..., None]), 0, 15).astype(np.uint8)
    pairs = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return AffineQuantized(np.ascontiguousarray(pairs.reshape(n, -1)), scales, least)


def dequantize_affine(q: AffineQuantized) -> np.ndarray:
    """The float weight [N, K] that the codes stand for."""
    n = len(q.codes)
    halves = np.stack([q.codes & 15, q.codes >> 4], axis=-1).reshape(n, q.scales.shape[1], -1).astype(np.float32)
    values = halves * q.scales[..., None].astype(np.float32) + q.least[..., None].astype(np.float32)
    return values.reshape(n, -1)


def quantize_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes [N, K] in -127..127 and float32 scales [N] of W [N, K]."""
    scales = (np.abs(weight).max(1) / 127.0).astype(np.float32)
    scales[scales == 0] = 1.0
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def dequantize_rows(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The float weight [N, K] that int8 codes and their rows' scales stand for."""
    return codes.astype(np.float32) * scales[:, None]
