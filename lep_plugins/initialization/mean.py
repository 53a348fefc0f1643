"""The default: a new row is the mean of the rows of its sub-tokens, E_new = T E_old (arXiv:2412.21140)."""

from __future__ import annotations

import numpy as np
import torch

from lep_plugins.initialization.rows import Fresh, Ids, OldRows
from lep_plugins.initialization.task import Task


def mean(task: Task) -> dict[str, Fresh]:
    """Means for each matrix; a sub-token that occurs twice counts twice."""
    return {old.name: _mean(task, old) for old in task.matrices}


def _mean(task: Task, old: OldRows) -> Fresh:
    """Sums in float32, where those of a few 16-bit rows lose nothing, divided once. Weights of 1/K would round each
    product, and some rows would end one 16-bit step beside the mean."""
    conversion = task.conversion

    def fresh(ids: Ids) -> torch.Tensor:
        parts = [conversion.indices[conversion.indptr[row] : conversion.indptr[row + 1]] for row in ids]
        lengths = np.array([len(part) for part in parts])
        unique, places = np.unique(np.concatenate(parts), return_inverse=True)
        starts = torch.from_numpy(np.cumsum(lengths) - lengths)
        sums = torch.nn.functional.embedding_bag(
            torch.from_numpy(places.astype(np.int64)), old.gather(unique).float(), starts, mode="sum"
        )
        return sums / torch.from_numpy(lengths).unsqueeze(1)

    return fresh
