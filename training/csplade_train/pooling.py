"""Maximum over positions of vocabulary logits, with a sparse backward pass.

A full backward pass through [B, S, V] logits costs twice the forward pass and
stores the whole tensor.  After the maximum only one position per term has a
gradient, and after ReLU and the loss most terms have none: the backward pass
here gathers just those (text, term) entries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

VOCABULARY_CHUNK = 1024
"""Vocabulary rows multiplied at a time: small enough for the cache, large enough to be fast."""


class _MaxLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, mask: Tensor, embedding: Tensor, low_precision: bool) -> Tensor:
        b, s, h = states.shape
        wide = torch.float64 if states.dtype == torch.float64 else torch.float32
        dtype = torch.bfloat16 if low_precision else wide
        # Padded positions take the state of position 0: the maximum stays the same.
        real = torch.where(mask.bool()[..., None], states.detach(), states.detach()[:, :1])
        columns = real.to(dtype).reshape(b * s, h).t()
        rows = embedding.detach().to(dtype)
        values = torch.empty(b, len(rows), dtype=wide, device=states.device)
        winners = torch.empty(b, len(rows), dtype=torch.int16, device=states.device)
        for start in range(0, len(rows), VOCABULARY_CHUNK):
            chunk = slice(start, start + VOCABULARY_CHUNK)
            best, where = (rows[chunk] @ columns).view(-1, b, s).max(2)
            values[:, chunk] = best.t().to(wide)
            winners[:, chunk] = where.t().to(torch.int16)
        # A padded copy of position 0 can win by the last bit of a product: its gradient belongs to position 0.
        winners = torch.where(mask.bool().gather(1, winners.long()), winners, torch.zeros_like(winners))
        ctx.save_for_backward(states, winners, embedding)
        return values

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        states, winners, embedding = ctx.saved_tensors
        b, s, h = states.shape
        text, term = grad.nonzero(as_tuple=True)
        g = grad[text, term][:, None]
        position = text * s + winners[text, term].long()
        grad_states = grad_embedding = None
        if ctx.needs_input_grad[0]:
            grad_states = grad.new_zeros(b * s, h).index_add_(0, position, g * embedding[term].to(grad.dtype))
            grad_states = grad_states.view(b, s, h).to(states.dtype)
        if ctx.needs_input_grad[2]:
            flat = states.reshape(b * s, h).to(grad.dtype)
            rows = torch.zeros_like(embedding, dtype=grad.dtype).index_add_(0, term, g * flat[position])
            grad_embedding = rows.to(embedding.dtype)
        return grad_states, None, grad_embedding, None


def max_logits(states: Tensor, mask: Tensor, embedding: Tensor) -> Tensor:
    """Maximum over real positions of <state, embedding_t>.

    states [B, S, H]; mask [B, S], right padded; embedding [V, H]; result [B, V]
    in float32 (float64 for states in float64).  The product runs in bfloat16 under autocast.
    """
    device = states.device.type
    low_precision = torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False):
        return _MaxLogits.apply(states, mask, embedding, low_precision)
