"""Adaptation objectives: what a language model learns before any ranking.

An untouched causal LM read as a sparse encoder is dense, and contrastive
training started on it collapses.  The `own` objective leaves, after a few dozen
steps, a sparse encoder close to idf-weighted word overlap, on which contrast can
build; `next_token` is Lion-SP's (arXiv 2502.15526), `saturated` CSPLADE's (arXiv 2504.10816).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .model import SparseEncoder

POSITIONS = 1024
"""Positions whose scores of the vocabulary are in memory at once."""

BLANK = 0
"""The padding token stands for a blanked one: no text contains it."""


def loss(pooled: Tensor, ids: Tensor, mask: Tensor, targets: Tensor, term_mask: Tensor, others_weight: float) -> Tensor:
    """Own-token reconstruction [scalar].

    pooled logits [B, V]; ids, mask [B, S]; targets [V] pre-activations wanted for a
    text's own tokens; term_mask [V] true for tokens that may be terms.
    """
    own = torch.zeros_like(pooled, dtype=torch.bool)
    own.scatter_(1, ids, mask.bool())
    own &= term_mask
    weights = torch.log1p(torch.relu(pooled))
    wanted = torch.log1p(targets).expand_as(pooled)
    # Below the target a hinge on the logit itself, so that inactive own tokens get a gradient.
    shortfall = F.relu(targets.expand_as(pooled) - pooled)[own].mean() / 4.0
    excess = F.relu(weights - wanted)[own].mean()
    others = torch.where(own, torch.zeros_like(weights), weights).sum(1).mean()
    return shortfall + excess + others_weight * others


def blanked(ids: Tensor, mask: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """ids with `share` of the real tokens after the first replaced by BLANK, and which [B, S]."""
    chosen = (torch.rand(ids.shape, generator=generator) < share).to(ids.device) & mask.bool()
    chosen[:, 0] = False
    return ids.masked_fill(chosen, BLANK), chosen


def next_token_loss(
    model: SparseEncoder, ids: Tensor, mask: Tensor, share: float, generator: torch.Generator
) -> Tensor:
    """Cross-entropy [scalar] of each blanked token at the position before it."""
    given, chosen = blanked(ids, mask, share, generator)
    states, _ = model.hidden(given, mask)
    before = states[:, :-1][chosen[:, 1:]]
    if len(before) == 0:
        return states.sum() * 0.0
    logits = before.float() @ model.terms().float().T
    return F.cross_entropy(logits, ids[:, 1:][chosen[:, 1:]])


def saturated_loss(model: SparseEncoder, ids: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy [scalar] of each next token, of its scores plus of log(1 + ReLU(scores)), as a language model.

    What predicts well from weights that are never negative has no terms that ReLU has put out for good.
    """
    states, _ = model.hidden(ids, mask, causal=True)
    follows = mask[:, 1:].bool()
    before, targets = states[:, :-1][follows], ids[:, 1:][follows]
    if len(before) == 0:
        return states.sum() * 0.0
    total = torch.zeros((), device=states.device)
    for start in range(0, len(before), POSITIONS):
        some = slice(start, start + POSITIONS)
        part = checkpoint(_both_entropies, before[some], targets[some], model.terms(), use_reentrant=False)
        total = total + part
    return total / len(before)


def _both_entropies(states: Tensor, targets: Tensor, table: Tensor) -> Tensor:
    """Sums of both cross-entropies over positions: states [N, H], targets [N], table [V, H]."""
    scores = (states.float() @ table.float().T).float()
    saturated = torch.log1p(torch.relu(scores))
    return F.cross_entropy(scores, targets, reduction="sum") + F.cross_entropy(saturated, targets, reduction="sum")
