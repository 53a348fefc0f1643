"""New rows drawn from the normal distribution fitted to the old rows ("multivariate" of arXiv:2407.05841)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from lep_plugins.initialization.rows import Fresh, Ids, OldRows
from lep_plugins.initialization.task import Task


def multivariate(task: Task) -> dict[str, Fresh]:
    """Draws for each matrix from N(mean, covariance) of its own trained token rows; the same seed gives the same
    rows, whatever the chunks."""
    return {old.name: _normal(old, task.seed, number) for number, old in enumerate(task.matrices)}


def _normal(old: OldRows, seed: int, number: int) -> Fresh:
    normal = cache(lambda: fitted(old))  # fitted when its rows are asked for: one matrix in memory at a time

    def fresh(ids: Ids) -> torch.Tensor:
        mean, factor = normal()
        noise = np.empty((len(ids), old.width), dtype=np.float32)
        for row, token_id in zip(noise, ids, strict=True):
            # One stream a row, so that a row depends on nothing but the seed and its id.
            np.random.default_rng([seed, number, int(token_id)]).standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(noise) @ factor + mean

    return fresh


def fitted(old: OldRows) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, factor) of the trained token rows, float32: covariance = factor^T factor, d x d, also where fewer than
    d rows make it singular."""
    gram = torch.zeros(old.width, old.width, dtype=torch.float64)
    count = 0
    for rows in old.chunks():
        centred = rows - old.mean
        gram += (centred.T @ centred).double()
        count += len(rows)
    covariance = gram / max(1, count - 1)
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return old.mean, lower.T.float()
    values, vectors = torch.linalg.eigh(covariance)
    return old.mean, (vectors * values.clamp(min=0).sqrt()).T.float()
