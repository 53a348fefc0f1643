"""One number for many tasks: three formulas, all linear in the tasks' scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.leaderboard.note import Note
from darumeru.metrics.statistic import FloatArray
from darumeru.tasks.registry import LEADERBOARD_GROUPS

BENCHMARK_TASKS = 17
KINDS = ("tasks", "groups", "normalized")


@dataclass(frozen=True)
class Aggregate:
    """Sum over tasks of weight x (score - chance) / (1 - chance); the weights add up to one. No clipping: a task below
    chance counts below zero. formula: the same in words, without a full stop, for footers."""

    key: str
    title: str
    formula: Note
    weights: Mapping[str, float]
    chance: Mapping[str, float]

    def value(self, scores: Mapping[str, float]) -> float:
        """The aggregate of one model's scores, one for each task of `weights`."""
        return float(sum(weight * self._scaled(task, scores[task]) for task, weight in self.weights.items()))

    def draws(self, scores: Mapping[str, FloatArray]) -> FloatArray:
        """The aggregate of resampled scores: arrays of one shape, task by task."""
        total: FloatArray = np.zeros_like(next(iter(scores.values())))
        for task, weight in self.weights.items():
            level = self.chance.get(task, 0.0)
            total = total + weight * (scores[task] - level) / (1 - level)
        return total

    def _scaled(self, task: str, score: float) -> float:
        level = self.chance.get(task, 0.0)
        return (score - level) / (1 - level)


def check_kind(kind: str) -> None:
    """UserError for an aggregate that does not exist."""
    if kind not in KINDS:
        raise UserError(
            f"no aggregate `{kind}`, there are {', '.join(KINDS)}", "--aggregate", near=near_names(kind, KINDS)
        )


def is_benchmark(groups: Mapping[str, str]) -> bool:
    """Whether these tasks (task -> group) are the 17 of the leaderboard."""
    return len(groups) == BENCHMARK_TASKS and set(groups.values()) == set(LEADERBOARD_GROUPS)


def make_aggregate(kind: str, groups: Mapping[str, str], chance: Mapping[str, float]) -> Aggregate:
    """groups: task -> group, for all tasks of the board. chance: task -> score of a guesser, for "normalized"."""
    check_kind(kind)
    count = len(groups)
    even = {task: 1 / count for task in groups}
    if kind == "groups":
        members: dict[str, int] = {}
        for group in groups.values():
            members[group] = members.get(group, 0) + 1
        weights = {task: 1 / (len(members) * members[group]) for task, group in groups.items()}
        plural = "group" if len(members) == 1 else "groups"
        title = f"Mean of {len(members)} {plural}"
        names = ", ".join(members)
        formula = Note(
            f"{title}: unweighted mean of the means of {names} ({_tasks(count)})",
            f"{title}: невзвешенное среднее средних по группам {names} (задач: {count})",
        )
        return Aggregate("group_mean", title, formula, weights, {})
    if kind == "normalized":
        certain = [task for task in groups if chance.get(task, 0.0) >= 1]
        if certain:
            raise UserError(f"chance is 1 in {', '.join(certain)}, no score lies above it", "--aggregate normalized")
        title = f"Above chance, {_tasks(count)}"
        formula = Note(
            f"{title}: mean of (score - chance) / (1 - chance); below chance is negative, nothing is clipped",
            f"{title}: среднее (оценка - случайная) / (1 - случайная); ниже случайной — отрицательное, ничего не "
            "обрезается",
        )
        return Aggregate("normalized", title, formula, even, dict(chance))
    if is_benchmark(groups):
        formula = Note("Micro-Avg: unweighted mean of the 17 tasks", "Micro-Avg: невзвешенное среднее по 17 задачам")
        return Aggregate("micro_avg", "Micro-Avg", formula, even, {})
    title = f"Mean of {_tasks(count)}"
    names = ", ".join(groups)
    formula = Note(f"{title}: unweighted mean of {names}", f"{title}: невзвешенное среднее по задачам {names}")
    return Aggregate("mean", title, formula, even, {})


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
