"""The cells of a board's rows, and the columns that they stand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from darumeru.core.numbers import listed
from darumeru.leaderboard.aggregate import Aggregate, is_benchmark
from darumeru.leaderboard.cell_text import short_names
from darumeru.leaderboard.contenders import Contender
from darumeru.leaderboard.evidence import Evidence
from darumeru.leaderboard.measures import main_family, score_label, score_names
from darumeru.leaderboard.published import PublishedRow
from darumeru.leaderboard.table import Cell, Column, Mark
from darumeru.metrics.measure import SCORE, Measure, combined
from darumeru.metrics.statistic import FloatArray
from darumeru.runs.results import Score


@dataclass(frozen=True)
class BoardTasks:
    """What a board is over. groups: task -> group (empty on boards of published rows alone). by: the columns beside
    the aggregate. published_groups: group columns of boards without runs. measures: task -> what its score is."""

    groups: Mapping[str, str]
    aggregate: Aggregate
    by: str
    published_groups: tuple[str, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def group_names(self) -> tuple[str, ...]:
        return self.published_groups or tuple(dict.fromkeys(self.groups.values()))

    @property
    def whole(self) -> bool:
        """Whether published group means and Micro-Avg are over the same tasks as this board."""
        return not self.groups or is_benchmark(self.groups)

    def members(self, group: str) -> list[str]:
        """The tasks of a group that its mean is over."""
        return main_family({task: self.measures.get(task, SCORE) for task, of in self.groups.items() if of == group})

    def columns(self, contenders: Sequence[Contender]) -> tuple[Column, ...]:
        """The aggregate, then groups or tasks."""
        whole = self.aggregate
        first = Column(whole.key, whole.title, "aggregate", whole.formula.en, whole.measure)
        if self.by == "groups":
            return (first, *map(self._group_column, self.group_names))
        short = short_names(self.groups)
        return (
            first,
            *(Column(task, short[task], "task", _task_about(task, contenders), self.measures.get(task, SCORE))
              for task in self.groups),
        )  # fmt: skip

    def draws(self, key: str, evidence: Evidence) -> FloatArray | None:
        """Resampled scores [runs, resamples] of a column; None when one of its tasks cannot be paired."""
        if key in evidence.unpaired:
            return None
        names = list(self.aggregate.weights) if key == self.aggregate.key else self.members(key) or [key]
        if not names or any(name not in evidence.draws for name in names):
            return None
        if key == self.aggregate.key:
            return self.aggregate.draws(evidence.draws)
        mean: FloatArray = np.mean([evidence.draws[name] for name in names], axis=0)
        return mean

    def _group_column(self, group: str) -> Column:
        members = self.members(group)
        about = f"mean of {', '.join(members)}" if members else "mean of the group's tasks, as published"
        return Column(group, group, "group", about, combined([self.measures.get(task, SCORE) for task in members]))


def _task_about(task: str, contenders: Sequence[Contender]) -> str:
    found = [score for contender in contenders if (score := contender.task(task)) is not None]
    counts, shots = sorted({score.expected for score in found}), sorted({score.num_fewshot for score in found})
    metrics = list(dict.fromkeys(score_label(score_names(score)) for score in found))
    said = [f"{task}: n {_either(counts)}", f"{_either(shots)} shots", " or ".join(metrics)]
    return ", ".join(said)


def _either(numbers: Sequence[int]) -> str:
    return " or ".join(str(number) for number in numbers)


def own_cells(contender: Contender, place: int | None, tasks: BoardTasks, evidence: Evidence) -> dict[str, Cell]:
    """Column key -> cell, for all columns of any view. place: the run's row in the draws, None when not ranked."""
    cells = {name: _task_cell(contender, name) for name in tasks.groups}
    for group in tasks.group_names:
        cells[group] = _mean_cell(contender, group, tasks.members(group), place, tasks, evidence)
    cells[tasks.aggregate.key] = _mean_cell(
        contender, tasks.aggregate.key, list(tasks.aggregate.weights), place, tasks, evidence
    )
    return cells


def _task_cell(contender: Contender, name: str) -> Cell:
    task = contender.task(name)
    if task is None:
        return Cell(None, reason="not run", marks=frozenset({Mark.FAILED}))
    marks = set()
    if not task.complete:
        marks.add(Mark.PARTIAL)
    if task.limited:
        marks.add(Mark.LIMITED)
    if task.score.value is None:
        marks.add(Mark.FAILED)
    reason = task.error or task.score.reason
    score = task.score
    return Cell(score.value, score.low, score.high, task.n, task.expected, frozenset(marks), reason)


def _mean_cell(
    contender: Contender, key: str, names: Sequence[str], place: int | None, tasks: BoardTasks, evidence: Evidence
) -> Cell:
    """A mean over tasks, with the interval that the run states, else that of the paired draws."""
    lacking = [name for name in names if name in contender.missing]
    if lacking:
        return Cell(None, marks=frozenset({Mark.FAILED}), reason=f"lacks {listed(lacking)}")
    scores = {name: float(contender.run.results.tasks[name].score.value or 0.0) for name in names}
    mean = key != tasks.aggregate.key
    value = float(np.mean(list(scores.values()))) if mean else tasks.aggregate.value(scores)
    stated = _stated(contender, key, value)
    if stated is not None:
        return Cell(stated.value, stated.low, stated.high)
    draws = tasks.draws(key, evidence) if place is not None else None
    if draws is None or place is None:
        return Cell(value)
    finite = draws[place][np.isfinite(draws[place])]
    if not finite.size:
        return Cell(value)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Cell(value, float(low), float(high))


def _stated(contender: Contender, key: str, value: float) -> Score | None:
    """The run's own score of that name, if it is of the same tasks."""
    results = contender.run.results
    score = results.micro_avg if key == "micro_avg" else results.groups.get(key)
    same = score is not None and score.value is not None and abs(score.value - value) < 1e-12
    return score if same else None


def published_cells(row: PublishedRow, tasks: BoardTasks) -> dict[str, Cell]:
    """Cells without intervals; empty, with the reason, where the board's numbers are over other tasks."""
    marks = frozenset({Mark.PUBLISHED})
    cells = {name: Cell(None, marks=marks, reason="published by groups only") for name in tasks.groups}
    if not tasks.whole:
        nothing = Cell(None, marks=marks, reason="published over the 17 tasks, this board is over others")
        return cells | dict.fromkeys([*tasks.group_names, tasks.aggregate.key], nothing)
    for group in tasks.group_names:
        value = row.groups.get(group)
        cells[group] = Cell(value, marks=marks, reason=None if value is not None else "not published")
    key = tasks.aggregate.key
    complete = all(group in row.groups for group in tasks.group_names)
    if key == "micro_avg":
        cells[key] = Cell(row.micro_avg, marks=marks, reason=None if row.micro_avg is not None else "not published")
    elif key == "group_mean" and complete:
        cells[key] = Cell(float(np.mean([row.groups[group] for group in tasks.group_names])), marks=marks)
    else:
        cells[key] = Cell(None, marks=marks, reason="published by groups only")
    return cells
