"""The adaptation objective: own tokens at idf-shaped heights, everything else down.

An untouched causal LM read as a sparse encoder is dense, and contrastive
training started on it collapses.  A few dozen steps of this loss leave a sparse
encoder close to idf-weighted word overlap, on which contrast can build.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(
    pooled: Tensor, ids: Tensor, mask: Tensor, targets: Tensor, term_mask: Tensor, others_weight: float
) -> Tensor:
    """pooled logits [B, V]; ids, mask [B, S]; targets [V] pre-activations wanted for a
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
