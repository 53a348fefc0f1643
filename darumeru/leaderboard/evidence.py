"""Resampled scores of all complete runs, paired: what intervals of means and TIED marks are read from."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from darumeru.core.errors import UserError
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.significance import paired_scores
from darumeru.leaderboard.statistics import run_statistics
from darumeru.metrics.statistic import FloatArray, Statistic
from darumeru.runs.run import Run


@dataclass(frozen=True)
class Evidence:
    """draws: task -> scores [runs, resamples] of the same resampled records for every run. chance: task -> score of a
    guesser. unpaired: task -> why it has no draws of its own; a task of one record is held fixed in
    means over tasks."""

    draws: dict[str, FloatArray] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    unpaired: dict[str, Note] = field(default_factory=dict)


def gather(runs: Sequence[Run], tasks: Sequence[str], resamples: int, seed: int) -> Evidence:
    """Read the statistics of the runs and resample them task by task, each task with its own seed."""
    found = [run_statistics(run) for run in runs]
    evidence = Evidence()
    for task in tasks:
        if not all(task in statistics for statistics in found):
            evidence.unpaired[task] = Note("no statistics are stored for it", "для неё не сохранена статистика")
            continue
        of_task = [statistics[task] for statistics in found]
        if of_task:
            evidence.chance[task] = float(np.mean([one.chance for one in of_task[0].values()]))
        reason = _unpaired(of_task)
        if reason:
            evidence.unpaired[task] = reason
            if of_task and all(len(_first(one).clusters) == 1 for one in of_task):
                fixed = np.array([[float(np.mean([part.value for part in one.values()]))] for one in of_task])
                evidence.draws[task] = np.repeat(fixed, resamples, axis=1)
            continue
        try:
            evidence.draws[task] = _draws(of_task, resamples, seed * 1_000_003 + zlib.crc32(task.encode()))
        except UserError as error:
            evidence.unpaired[task] = Note.same(error.what)
    return evidence


def _first(of_run: Mapping[str, Statistic]) -> Statistic:
    return next(iter(of_run.values()))


def _unpaired(of_task: Sequence[Mapping[str, Statistic]]) -> Note | None:
    if not of_task:
        return Note("no run is complete", "нет ни одного полного запуска")
    if len({frozenset(one) for one in of_task}) > 1:
        return Note("the runs score it by different metrics", "запуски оценивают её разными метриками")
    common = set.intersection(*(set(_first(one).clusters) for one in of_task))
    if len(common) < 2:
        count = len(common)
        return Note(
            f"{count} common record{'' if count == 1 else 's'}, two are needed",
            f"общих записей: {count}, нужны хотя бы две",
        )
    return None


def _draws(of_task: Sequence[Mapping[str, Statistic]], resamples: int, seed: int) -> FloatArray:
    """Mean over the task's metrics, resampled together: [runs, resamples]."""
    parts = [paired_scores([one[name] for one in of_task], resamples, seed) for name in of_task[0]]
    mean: FloatArray = np.mean(parts, axis=0)
    return mean
