"""Padding, and batches whose passages resemble each other so that in-batch negatives are hard."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """ids and mask [B, S], right padded with 0."""
    width = max(1, max(len(r) for r in rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[n, : len(row)] = 1
    return ids, mask


def order_of_epoch(vectors: np.ndarray, batch: int, cluster: int, seed: int, pool: int = 4096) -> list[list[int]]:
    """All batches of one epoch: each made of groups of `cluster` neighbours in `vectors` [N, d].

    Deterministic in `seed`, so a resumed run sees the same order.
    """
    rng = random.Random(seed)
    shuffled = list(range(len(vectors)))
    rng.shuffle(shuffled)
    clusters: list[list[int]] = []
    for start in range(0, len(shuffled), pool):
        members = np.array(shuffled[start : start + pool])
        v = vectors[members].astype(np.float32)
        similarity = v @ v.T
        free: np.ndarray = np.ones(len(members), dtype=bool)
        for n in range(len(members)):
            if not free[n]:
                continue
            free[n] = False
            scores = np.where(free, similarity[n], -2.0)
            take = min(cluster - 1, int(free.sum()))
            nearest = np.argpartition(-scores, take)[:take] if take else np.array([], dtype=int)
            free[nearest] = False
            clusters.append([int(members[n]), *(int(members[m]) for m in nearest)])
    rng.shuffle(clusters)
    flat = [i for c in clusters for i in c]
    return [flat[i : i + batch] for i in range(0, len(flat) - batch + 1, batch)]
