"""Two runs, task by task: the difference, its paired interval, and which records flipped."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.core.html_table import html_table
from darumeru.core.numbers import count, interval, number, p_value
from darumeru.leaderboard.manifests import differences
from darumeru.leaderboard.measures import main_family, metric_measure, otherwise, score_label
from darumeru.leaderboard.significance import (
    bootstrap_p,
    common_clusters,
    holm,
    interval_of,
    mcnemar_p,
    paired_scores,
)
from darumeru.leaderboard.statistics import RunStatistics, run_statistics
from darumeru.metrics.measure import SCORE, Measure, combined
from darumeru.metrics.statistic import FloatArray, Statistic
from darumeru.runs.run import Run, load_run

SCHEMA = 1
LEVEL = 0.95
NOTHING = 1e-12
"""A resampled difference below this is the rounding of equal scores."""


@dataclass(frozen=True)
class Difference:
    """b minus a with the 95 % paired interval and two-sided bootstrap p; reason: why these are None. measure: what the
    numbers are."""

    a: float
    b: float
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str | None = None
    measure: Measure = SCORE

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """A, B, B - A and the interval as texts."""
        digits = self.measure.digits
        between = interval(self.low, self.high, digits, signed=True)
        return number(self.a, digits), number(self.b, digits), number(self.difference, digits, signed=True), between


@dataclass(frozen=True)
class TaskDifference(Difference):
    """metric: what is compared, "acc" or "mean of acc and f1_macro". n: records compared. holm: p corrected over the
    tasks. mcnemar: exact p of the right and wrong answers, where each record has one (None elsewhere); then gained and
    lost are the records that only b, or only a, has right. warning: what is odd."""

    task: str = ""
    group: str = ""
    metric: str = ""
    n: int = 0
    holm: float | None = None
    mcnemar: float | None = None
    gained: tuple[str, ...] | None = None
    lost: tuple[str, ...] | None = None
    warning: str | None = None

    @property
    def significant(self) -> bool:
        """At the 95 % level, with Holm's correction."""
        return self.holm is not None and self.holm < 1 - LEVEL


@dataclass(frozen=True, repr=False)
class Comparison:
    """a, b: the models' names. settings: differences of the manifests. groups hold Micro-Avg too, where both have it.
    skipped: task -> why it could not be compared.

    Example::

        comparison = darumeru.compare("runs/a", "runs/b")
        comparison.conclusion
        [one.task for one in comparison.tasks if one.significant]
    """

    a: str
    b: str
    paths: tuple[str, str]
    resamples: int
    seed: int
    tasks: tuple[TaskDifference, ...]
    groups: Mapping[str, Difference]
    settings: tuple[str, ...]
    skipped: Mapping[str, str]

    @property
    def conclusion(self) -> str:
        """One sentence that says what the figures allow to say."""
        sure = [one for one in self.tasks if one.significant]
        better = [one.task for one in sure if one.measure.sign * one.difference > 0]
        worse = [one.task for one in sure if one.measure.sign * one.difference < 0]
        tests = count(len(self.tasks), "task")
        if not sure:
            text = f"B cannot be told from A in any of {tests}"
        else:
            parts = [f"better in {', '.join(better)}"] if better else []
            parts += [f"worse in {', '.join(worse)}"] if worse else []
            text = f"B is {' and '.join(parts)} ({len(sure)} of {tests})"
        return text + f", 95 % level, Holm's correction over {tests}."

    def __repr__(self) -> str:
        return f"Comparison({self.paths[0]!r}, {self.paths[1]!r}: {self.conclusion})"

    def _repr_html_(self) -> str:
        return _html(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; docs/schemas/comparison.schema.json describes it."""
        return {"schema": SCHEMA, **asdict(self), "conclusion": self.conclusion}


def _html(comparison: Comparison) -> str:
    """The tasks by group for a notebook."""
    rows: list[Sequence[str]] = []
    for group in dict.fromkeys(one.group for one in comparison.tasks):
        rows.append([group])
        rows += [(one.task, *one.cells, p_value(one.holm)) for one in comparison.tasks if one.group == group]
    rows += [(name, *mean.cells, p_value(mean.p)) for name, mean in comparison.groups.items()]
    notes = [comparison.conclusion, *comparison.settings, *(f"{a}: {why}" for a, why in comparison.skipped.items())]
    title = f"A: {comparison.a} ({comparison.paths[0]}), B: {comparison.b} ({comparison.paths[1]})"
    return html_table(title, ("task", "A", "B", "B - A", "95 %", "p"), rows, notes)


def compare(
    run_a: Run | str | Path,
    run_b: Run | str | Path,
    tasks: Sequence[str] = (),
    resamples: int = 10_000,
    seed: int = 0,
    allow_different: bool = False,
) -> Comparison:
    """Compare b with a on the tasks that both have scored, or on `tasks`. run_a, run_b: runs or their folders.

    Example::

        comparison = darumeru.compare("runs/a", "runs/b", resamples=2000)
        comparison.groups["DaruMERA"].difference

    A task that the runs score otherwise is left out; with allow_different it is compared with a warning, metric by
    metric where its score is not of the same ones. Raises UserError for runs whose settings change numbers (unless
    allow_different), without a task that can be compared, or for a task that is not common.
    """
    run_a, run_b = (one if isinstance(one, Run) else load_run(one, check_samples=True) for one in (run_a, run_b))
    settings = differences([run_a.manifest, run_b.manifest])
    where = f"{run_a.path}, {run_b.path}"
    if settings and not allow_different:
        raise UserError(f"differ in what changes numbers: {'; '.join(settings)}", where, "--allow-different compares")
    if resamples < 1:
        raise UserError("at least one resample is needed", "--resamples")
    runs, found = (run_a, run_b), (run_statistics(run_a), run_statistics(run_b))
    compared: list[TaskDifference] = []
    draws: dict[str, FloatArray] = {}
    names = _common(run_a, run_b, found, tasks)
    skipped = {} if tasks else _unjudged(run_a, run_b)
    for name in names:
        reason = _otherwise(name, runs, found)
        pairs = _pairs(name, found, named=reason is None or allow_different)
        if not pairs or _no_common_record(pairs):
            skipped[name] = reason or "the runs asked no record in common"
            continue
        for metrics, pair in pairs.items():
            one, drawn = _task(name, run_b, metrics, pair, resamples, seed)
            compared.append(replace(one, warning="; ".join(filter(None, (reason, one.warning))) or None))
            if metrics == found[1].names(name):
                draws[name] = drawn
    if not compared and any(_otherwise(name, runs, found) for name in names):
        what = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise UserError(what, where, "--allow-different compares the metrics that both have")
    compared = _corrected(compared)
    whole = {one.task: one for one in compared if one.task in draws}
    return Comparison(
        a=run_a.name,
        b=run_b.name,
        paths=(str(run_a.path), str(run_b.path)),
        resamples=resamples,
        seed=seed,
        tasks=tuple(compared),
        groups=_groups(run_a, run_b, whole, draws),
        settings=settings,
        skipped=skipped,
    )


def _corrected(compared: Sequence[TaskDifference]) -> list[TaskDifference]:
    tested = [one.p for one in compared if one.p is not None]
    corrected = iter(holm(tested))
    return [one if one.p is None else replace(one, holm=next(corrected)) for one in compared]


def _common(a: Run, b: Run, found: tuple[RunStatistics, RunStatistics], tasks: Sequence[str]) -> list[str]:
    common = [name for name in found[0] if name in found[1]]
    if not common:
        raise UserError("these runs have no common tasks with scores", f"{a.path}, {b.path}")
    for name in tasks:
        if name not in common:
            raise UserError(f"`{name}` is not scored in both runs", "--tasks", near=near_names(name, common))
    return [name for name in common if name in tasks] if tasks else common


def _unjudged(a: Run, b: Run) -> dict[str, str]:
    """Tasks that both runs asked and one of which waits for its judge -> which, and why."""
    return {
        name: f"{which}: {task.score.reason}"
        for name in a.results.tasks
        if name in b.results.tasks
        for which, task in (("B", b.results.tasks[name]), ("A", a.results.tasks[name]))
        if task.complete and task.score.value is None and task.score.reason
    }


def _otherwise(task: str, runs: tuple[Run, Run], found: tuple[RunStatistics, RunStatistics]) -> str | None:
    """How the runs score the task differently."""
    names = found[0].names(task), found[1].names(task)
    if set(names[0]) != set(names[1]):
        return f"A scores it by {score_label(names[0])}, B by {score_label(names[1])}"
    return otherwise(runs[0].results.tasks[task], runs[1].results.tasks[task])


Pairs = Mapping[tuple[str, ...], Sequence[tuple[Statistic, Statistic]]]


def _pairs(task: str, found: tuple[RunStatistics, RunStatistics], named: bool) -> Pairs:
    """Metrics -> their statistics in both runs: those of the score where both have the same ones, else one by one those
    that both have. named: whether the task may be compared at all."""
    if not named:
        return {}
    a, b = found
    score = b.names(task)
    chosen = [score] if set(score) == set(a.names(task)) else [
        (name,) for name in b.all_names(task) if name in a.all_names(task)
    ]  # fmt: skip
    sides = [(names, a.of(task, names), b.of(task, names)) for names in chosen]
    return {names: [(first[name], second[name]) for name in names] for names, first, second in sides}


def _no_common_record(pairs: Pairs) -> bool:
    first, second = next(iter(pairs.values()))[0]
    return not set(first.clusters) & set(second.clusters)


def _task(
    name: str,
    run: Run,
    metrics: tuple[str, ...],
    pairs: Sequence[tuple[Statistic, Statistic]],
    resamples: int,
    seed: int,
) -> tuple[TaskDifference, FloatArray]:
    aligned = [common_clusters([a, b]) for a, b in pairs]
    task_seed = seed * 1_000_003 + zlib.crc32(name.encode())
    clusters = aligned[0][0].clusters
    a, b = (float(np.mean([one[side].value for one in aligned])) for side in (0, 1))
    if len(clusters) < 2:
        drawn = np.full(resamples, b - a)
        base = Difference(a, b, b - a, reason="one record: no interval can be computed")
    else:
        scores = np.mean([paired_scores(one, resamples, task_seed) for one in aligned], axis=0)
        drawn = scores[1] - scores[0]
        base = _difference(a, b, drawn)
    sizes = len(pairs[0][0].clusters), len(pairs[0][1].clusters)
    fewer = f"{len(clusters)} common records of {sizes[0]} and {sizes[1]}"
    whole = TaskDifference(
        **vars(base) | {"measure": combined([metric_measure(run.results, name, one) for one in metrics])},
        task=name,
        group=run.results.tasks[name].group,
        metric=score_label(metrics),
        n=len(clusters),
        warning=None if sizes == (len(clusters),) * 2 else fewer,
    )
    hits = [(one.binary, other.binary) for one, other in aligned]
    first, second = next(((x, y) for x, y in hits if x is not None and y is not None), (None, None))
    if first is None or second is None:
        return whole, drawn
    gained = tuple(name for name, x, y in zip(clusters, first, second, strict=True) if y > x)
    lost = tuple(name for name, x, y in zip(clusters, first, second, strict=True) if x > y)
    return replace(whole, mcnemar=mcnemar_p(first, second), gained=gained, lost=lost), drawn


def _difference(a: float, b: float, drawn: FloatArray) -> Difference:
    drawn = np.where(np.abs(drawn) < NOTHING, 0.0, drawn)
    if not np.isfinite(drawn).any():
        return Difference(a, b, b - a, reason="no resampled score has a meaning")
    low, high = interval_of(drawn)
    return Difference(a, b, b - a, low, high, bootstrap_p(drawn))


def _groups(
    run_a: Run, run_b: Run, tasks: Mapping[str, TaskDifference], draws: Mapping[str, FloatArray]
) -> dict[str, Difference]:
    """Means over tasks that both runs have; tasks are resampled independently of each other."""
    results = run_a.results, run_b.results
    wholes = {
        group: [name for name, task in results[0].tasks.items() if task.group == group and task.leaderboard]
        for group, score in results[0].groups.items()
        if score.value is not None and group in results[1].groups and results[1].groups[group].value is not None
    }
    if all(one.micro_avg.value is not None for one in results):
        wholes["Micro-Avg"] = [name for names in wholes.values() for name in names]
    found = {}
    for group, names in wholes.items():
        measures = {name: tasks[name].measure for name in names if name in tasks}
        if not names or len(main_family(measures)) < len(names):
            continue
        a, b = (float(np.mean([getattr(tasks[name], side) for name in names])) for side in ("a", "b"))
        if all(tasks[name].low is None for name in names):
            found[group] = Difference(a, b, b - a, reason="no task has an interval")
            continue
        parts = [np.where(np.isfinite(draws[name]), draws[name], tasks[name].difference) for name in names]
        found[group] = _difference(a, b, np.mean(parts, axis=0))
    return found
