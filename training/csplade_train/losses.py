"""Losses: in-batch contrast, distillation, sparsity.

Shapes: B queries, D passages, V terms.  Scores are dot products of weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _Activation(torch.autograd.Function):
    """log(1 + ReLU(z)) whose backward pass also lets just-inactive terms rise."""

    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, margin: float, leak: float) -> Tensor:
        ctx.save_for_backward(z)
        ctx.margin, ctx.leak = margin, leak
        return torch.log1p(torch.relu(z))

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        active = grad / (1.0 + z.clamp_min(0.0))
        rising = torch.where((grad < 0) & (z > -ctx.margin), ctx.leak * grad, torch.zeros_like(grad))
        return torch.where(z > 0, active, rising), None, None


def activation(z: Tensor, margin: float = 0.0, leak: float = 0.0) -> Tensor:
    """Weights from pooled logits [B, V].

    With leak > 0, a term within `margin` below zero receives that fraction of a
    gradient which asks it to rise.  A plain ReLU would never learn an expansion
    that is not active already.  The value is exact in any case.
    """
    return _Activation.apply(z, margin, leak)


def contrast(scores: Tensor, same_document: Tensor) -> Tensor:
    """InfoNCE [scalar] over scores [B, D], positives on the diagonal; other passages of their documents left out."""
    diagonal = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    masked = scores.masked_fill(same_document & ~diagonal, float("-inf"))
    return F.cross_entropy(masked, torch.arange(len(scores), device=scores.device))


def distillation(scores: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) over rows of score matrices [B, D]."""
    return F.kl_div(F.log_softmax(scores, -1), F.log_softmax(teacher, -1), log_target=True, reduction="batchmean")


def margin_mse(scores: Tensor, teacher: Tensor, usable: Tensor) -> Tensor:
    """Squared error [scalar] of the student's margins, positive minus other, against the teacher's.

    scores, teacher [B, D] with the positive of row i in column i; usable [B, D]
    says which other passages count.  (Hofstatter et al. 2020)
    """
    student = scores.diagonal()[:, None] - scores
    wanted = teacher.diagonal()[:, None] - teacher
    others = usable & ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    return (student - wanted)[others].pow(2).mean() if others.any() else scores.sum() * 0.0


def listwise(scores: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) [scalar] over lists [B, L]; entries of -inf in `teacher` do not exist."""
    there = torch.isfinite(teacher)
    student = F.log_softmax(scores.masked_fill(~there, float("-inf")), -1)
    wanted = F.log_softmax(teacher, -1)
    terms = torch.where(there, wanted.exp() * (wanted - student), torch.zeros_like(scores))
    return terms.sum(-1).mean()


def idf_penalties(idf: Tensor, power: float) -> Tensor:
    """Factors [V] of an IDF-aware FLOPS: (mean idf / idf)^power, so that common terms cost more (2411.04403)."""
    safe = idf.clamp(0.02, 9.0)
    return (safe.mean() / safe).pow(power)


def flops(weights: Tensor, penalties: Tensor | None = None) -> Tensor:
    """Sum over terms of the squared mean weight [scalar] (Paria et al. 2020), times each term's penalty [V]."""
    squares = weights.mean(0).pow(2)
    return (squares if penalties is None else squares * penalties).sum()


def l1(weights: Tensor) -> Tensor:
    """Mean total weight of a text [scalar]."""
    return weights.sum(1).mean()


def ramp(step: int, until: int) -> float:
    """Quadratic growth from 0 to 1 over the first `until` steps."""
    return min(1.0, (step / until) ** 2) if until > 0 else 1.0
