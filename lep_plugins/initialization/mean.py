"""The default: a new row is the mean of the rows of its sub-tokens, E_new = T E_old (arXiv:2412.21140)."""

from __future__ import annotations

from lep_plugins.initialization.rows import Fresh, OldRows, weighted_rows
from lep_plugins.initialization.task import Task


def mean(task: Task) -> dict[str, Fresh]:
    """Means for each matrix, in float32; a sub-token that occurs twice counts twice."""
    return {old.name: _mean(task, old) for old in task.matrices}


def _mean(task: Task, old: OldRows) -> Fresh:
    return weighted_rows(old, task.conversion.matrix)
