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


class _MaxLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, mask: Tensor, embedding: Tensor, low_precision: bool) -> Tensor:
        b, _, h = states.shape
        dtype = torch.bfloat16 if low_precision else torch.float32
        projection = embedding.detach().to(dtype).t()
        values = torch.empty(b, embedding.shape[0])
        winners = torch.empty(b, embedding.shape[0], dtype=torch.int32)
        lengths = mask.sum(1).tolist()
        for row, length in enumerate(lengths):
            # Right padding: the real positions are the first `length` ones.
            logits = states[row, : max(int(length), 1)].detach().to(dtype) @ projection
            best, where = logits.max(0)
            values[row] = best
            winners[row] = where
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
            grad_states = torch.zeros(b * s, h).index_add_(0, position, g * embedding[term].float())
            grad_states = grad_states.view(b, s, h).to(states.dtype)
        if ctx.needs_input_grad[2]:
            flat = states.reshape(b * s, h).float()
            grad_embedding = torch.zeros_like(embedding).index_add_(0, term, g * flat[position])
        return grad_states, None, grad_embedding, None


def max_logits(states: Tensor, mask: Tensor, embedding: Tensor) -> Tensor:
    """Maximum over real positions of <state, embedding_t>.

    states [B, S, H]; mask [B, S], right padded; embedding [V, H]; result [B, V]
    in float32.  The product runs in bfloat16 under CPU autocast.
    """
    low_precision = torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False):
        return _MaxLogits.apply(states, mask, embedding, low_precision)
