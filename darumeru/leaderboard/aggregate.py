"""One number for many tasks: three formulas, all linear in the tasks' scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.core.numbers import count
from darumeru.leaderboard.measures import main_family
from darumeru.leaderboard.note import Note
from darumeru.metrics.measure import SCORE, Measure, combined
from darumeru.metrics.statistic import FloatArray
from darumeru.tasks.registry import LEADERBOARD_GROUPS

BENCHMARK_TASKS = 17
KINDS = ("tasks", "groups", "normalized")


@dataclass(frozen=True)
class Aggregate:
    """Sum over tasks of weight x (score - chance) / (top - chance), where a guesser gets `chance` and nothing is better
    than `top` (0 and 1 where they are not given); the weights add up to one. No clipping: a task below chance counts
    below zero. formula: the same in words, without a full stop, for footers."""

    key: str
    title: str
    formula: Note
    weights: Mapping[str, float]
    chance: Mapping[str, float] = field(default_factory=dict)
    top: Mapping[str, float] = field(default_factory=dict)
    measure: Measure = SCORE

    def value(self, scores: Mapping[str, float]) -> float:
        """The aggregate of one model's scores, one for each task of `weights`."""
        return float(sum(weight * (scores[task] - self._level(task)) / self._room(task)
                         for task, weight in self.weights.items()))  # fmt: skip

    def draws(self, scores: Mapping[str, FloatArray]) -> FloatArray:
        """The aggregate of resampled scores: arrays of one shape, task by task."""
        total: FloatArray = np.zeros_like(next(iter(scores.values())))
        for task, weight in self.weights.items():
            total = total + weight * (scores[task] - self._level(task)) / self._room(task)
        return total

    def _level(self, task: str) -> float:
        return self.chance.get(task, 0.0)

    def _room(self, task: str) -> float:
        return self.top.get(task, 1.0) - self._level(task)


def check_kind(kind: str) -> None:
    """UserError for an aggregate that does not exist."""
    if kind not in KINDS:
        raise UserError(
            f"no aggregate `{kind}`, there are {', '.join(KINDS)}", "--aggregate", near=near_names(kind, KINDS)
        )


def is_benchmark(groups: Mapping[str, str]) -> bool:
    """Whether these tasks (task -> group) are the 17 of the leaderboard."""
    return len(groups) == BENCHMARK_TASKS and set(groups.values()) == set(LEADERBOARD_GROUPS)


def make_aggregate(
    kind: str, groups: Mapping[str, str], chance: Mapping[str, float], measures: Mapping[str, Measure] | None = None
) -> Aggregate:
    """groups: task -> group, for all tasks of the board. chance: task -> score of a guesser, for "normalized".
    measures: task -> what its score is; the aggregate is over those of which one mean can be taken."""
    check_kind(kind)
    measures = {task: (measures or {}).get(task, SCORE) for task in groups}
    groups = {task: groups[task] for task in main_family(measures)}
    measure = combined([measures[task] for task in groups])
    number = len(groups)
    even = {task: 1 / number for task in groups}
    if kind == "groups":
        members: dict[str, int] = {}
        for group in groups.values():
            members[group] = members.get(group, 0) + 1
        weights = {task: 1 / (len(members) * members[group]) for task, group in groups.items()}
        title = f"Mean of {count(len(members), 'group')}"
        names = ", ".join(members)
        formula = Note(
            f"{title}: unweighted mean of the means of {names} ({count(number, 'task')})",
            f"{title}: невзвешенное среднее средних по группам {names} (задач: {number})",
        )
        return Aggregate("group_mean", title, formula, weights, measure=measure)
    if kind == "normalized":
        tops = {task: 1.0 if (high := measures[task].high) is None else high for task in groups}
        certain = [task for task in groups if chance.get(task, 0.0) >= tops[task]]
        if certain:
            raise UserError(f"no score lies above chance in {', '.join(certain)}", "--aggregate normalized")
        title = f"Above chance, {count(number, 'task')}"
        formula = Note(
            f"{title}: mean of (score - chance) / (top - chance); below chance is negative, nothing is clipped",
            f"{title}: среднее (оценка - случайная) / (высшая - случайная); ниже случайной — отрицательное, ничего не "
            "обрезается",
        )
        return Aggregate("normalized", title, formula, even, dict(chance), tops, replace(measure, low=None))
    if is_benchmark(groups):
        formula = Note("Micro-Avg: unweighted mean of the 17 tasks", "Micro-Avg: невзвешенное среднее по 17 задачам")
        return Aggregate("micro_avg", "Micro-Avg", formula, even, measure=measure)
    title = f"Mean of {count(number, 'task')}"
    names = ", ".join(groups)
    formula = Note(f"{title}: unweighted mean of {names}", f"{title}: невзвешенное среднее по задачам {names}")
    return Aggregate("mean", title, formula, even, measure=measure)
