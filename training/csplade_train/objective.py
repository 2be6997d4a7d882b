"""The ranking objective: what a batch's pooled logits, negatives and teachers make of one number."""

from __future__ import annotations

import torch
from torch import Tensor

from . import losses
from .data.pairs import Pair
from .negatives import Negatives
from .recipe import Recipe


def same_document(queries: list[Pair], passages: list[Pair]) -> Tensor:
    """[B, D] true where a passage comes from the query's own document."""
    return torch.tensor([[p.group == q.group for p in passages] for q in queries])


def file_scores(mined: list[Negatives | None], passages: list[int], count: int) -> Tensor:
    """Teacher scores [B, D] from a file, NaN where unknown; `passages` are the D pair numbers, positives first."""
    result = torch.full((count, len(passages)), float("nan"))
    for row, entry in enumerate(mined):
        if entry is None or entry.score is None:
            continue
        known = dict(zip(entry.passages, entry.scores, strict=True)) | {entry.pair: entry.score}
        for column, number in enumerate(passages):
            if number in known:
                result[row, column] = known[number]
    return result


def ranking(
    scores: Tensor, same: Tensor, teacher: Tensor | None, from_file: Tensor | None, recipe: Recipe
) -> tuple[Tensor, dict[str, float]]:
    """Loss of student scores [B, D], positives on the diagonal, D >= B.

    teacher [B, D]: scores of an ensemble for all pairs, or None; from_file [B, D]:
    scores of a file with NaN where unknown, or None.
    """
    r, b = recipe, len(scores)
    contrast = losses.contrast(scores, same)
    total = r.contrast_weight * contrast
    report = {"contrast": contrast.item()}
    if teacher is not None:
        cold = teacher / r.teacher_temperature
        distilled = losses.distillation(scores, cold)
        reverse = losses.distillation(scores[:, :b].T, cold[:, :b].T)
        total = total + r.distillation_weight * distilled + r.reverse_weight * reverse
        top1 = cold.argmax(1) == torch.arange(b, device=cold.device)
        report |= {"kl": distilled.item(), "teacher_top1": top1.float().mean().item()}
    if from_file is not None and r.file_weight:
        wanted = (from_file / r.file_temperature).masked_fill(from_file.isnan(), float("-inf"))
        rows = torch.isfinite(wanted).sum(1) > 1
        if rows.any():
            listed = losses.listwise(scores[rows], wanted[rows])
            total = total + r.file_weight * listed
            report["kl_file"] = listed.item()
    if r.margin_weight:
        source = from_file if from_file is not None else teacher
        if source is not None:
            known = torch.isfinite(source) & torch.isfinite(source.diagonal())[:, None]
            margin = losses.margin_mse(scores, r.margin_scale * source.nan_to_num(), known & ~same)
            total = total + r.margin_weight * margin
            report["margin_mse"] = margin.item()
    return total, report


def sparsity(
    query: Tensor, document: Tensor, strength: float, penalties: Tensor | None, recipe: Recipe
) -> tuple[Tensor, dict[str, float]]:
    """FLOPS and L1 of query weights [B, V] and document weights [D, V], times the ramp's strength."""
    r = recipe
    flops_document, flops_query = losses.flops(document, penalties), losses.flops(query, penalties)
    total = strength * (
        r.flops_document * flops_document
        + r.flops_query * flops_query
        + r.l1_query * losses.l1(query)
        + r.l1_document * losses.l1(document)
    )
    return total, {
        "terms_query": float((query > 0).float().sum(1).mean()),
        "terms_document": float((document > 0).float().sum(1).mean()),
        "flops_query": flops_query.item(),
        "flops_document": flops_document.item(),
    }
