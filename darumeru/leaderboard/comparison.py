"""Two runs, task by task: the difference, its paired interval, and which records flipped."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.leaderboard.manifests import differences
from darumeru.leaderboard.significance import (
    bootstrap_p,
    common_clusters,
    holm,
    interval_of,
    mcnemar_p,
    paired_scores,
)
from darumeru.leaderboard.statistics import run_statistics
from darumeru.metrics.statistic import FloatArray, Statistic
from darumeru.runs.run import Run

SCHEMA = 1
NOTHING = 1e-12
"""A resampled difference below this is the rounding of equal scores."""


@dataclass(frozen=True)
class Difference:
    """b minus a with the 95 % paired interval and two-sided bootstrap p; reason: why these are None."""

    a: float
    b: float
    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TaskDifference(Difference):
    """n: records compared. holm: p corrected over the tasks. mcnemar: exact p of the right and wrong answers, where
    each record has one (None elsewhere); then gained and lost are the records that only b, or only a, has right.
    warning: what is odd."""

    task: str = ""
    group: str = ""
    n: int = 0
    holm: float | None = None
    mcnemar: float | None = None
    gained: tuple[str, ...] | None = None
    lost: tuple[str, ...] | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Comparison:
    """a, b: the models' names. settings: differences of the manifests. groups hold Micro-Avg too, where both have it.
    skipped: task -> why it could not be compared."""

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
        better = [one.task for one in self.tasks if _significant(one) and one.difference > 0]
        worse = [one.task for one in self.tasks if _significant(one) and one.difference < 0]
        count = len(self.tasks)
        if not better and not worse:
            text = f"B cannot be told from A in any of {count} task{'' if count == 1 else 's'}"
        else:
            parts = [f"better in {', '.join(better)}"] if better else []
            parts += [f"worse in {', '.join(worse)}"] if worse else []
            text = f"B is {' and '.join(parts)} ({len(better) + len(worse)} of {count} tasks)"
        return text + f", 95 % level, Holm's correction over {count} task{'' if count == 1 else 's'}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; docs/schemas/comparison.schema.json describes it."""
        return {"schema": SCHEMA, **asdict(self), "conclusion": self.conclusion}


def compare(
    run_a: Run,
    run_b: Run,
    tasks: Sequence[str] = (),
    resamples: int = 10_000,
    seed: int = 0,
    allow_different: bool = False,
) -> Comparison:
    """Compare b with a on the tasks that both have scored, or on `tasks`.

    Raises UserError for runs whose settings change numbers (unless allow_different), without common tasks, or for a
    task that is not common.
    """
    settings = differences([run_a.manifest, run_b.manifest])
    if settings and not allow_different:
        where = f"{run_a.path}, {run_b.path}"
        raise UserError(f"differ in what changes numbers: {'; '.join(settings)}", where, "--allow-different compares")
    if resamples < 1:
        raise UserError("at least one resample is needed", "--resamples")
    found = run_statistics(run_a), run_statistics(run_b)
    names = _common(run_a, run_b, found, tasks)
    compared: dict[str, TaskDifference] = {}
    draws: dict[str, FloatArray] = {}
    skipped: dict[str, str] = {}
    for name in names:
        pair = found[0][name], found[1][name]
        reason = _unpaired(pair)
        if reason:
            skipped[name] = reason
            continue
        group = run_b.results.tasks[name].group
        compared[name], draws[name] = _task(name, group, pair, resamples, seed)
    tested = [name for name, one in compared.items() if one.p is not None]
    for name, p in zip(tested, holm([compared[name].p or 0.0 for name in tested]), strict=True):
        compared[name] = replace(compared[name], holm=p)
    return Comparison(
        a=run_a.name,
        b=run_b.name,
        paths=(str(run_a.path), str(run_b.path)),
        resamples=resamples,
        seed=seed,
        tasks=tuple(compared.values()),
        groups=_groups(run_a, run_b, compared, draws),
        settings=settings,
        skipped=skipped,
    )


def _significant(one: TaskDifference) -> bool:
    return one.holm is not None and one.holm < 0.05


def _common(a: Run, b: Run, found: tuple[Mapping[str, Any], Mapping[str, Any]], tasks: Sequence[str]) -> list[str]:
    common = [name for name in found[0] if name in found[1]]
    if not common:
        raise UserError("these runs have no common tasks with scores", f"{a.path}, {b.path}")
    for name in tasks:
        if name not in common:
            raise UserError(f"`{name}` is not scored in both runs", "--tasks", near=near_names(name, common))
    return [name for name in common if name in tasks] if tasks else common


def _unpaired(pair: tuple[Sequence[Statistic], Sequence[Statistic]]) -> str | None:
    if len(pair[0]) != len(pair[1]):
        return "the runs score it by different metrics"
    if not set(pair[0][0].clusters) & set(pair[1][0].clusters):
        return "the runs asked no record in common"
    return None


def _task(
    name: str, group: str, pair: tuple[Sequence[Statistic], Sequence[Statistic]], resamples: int, seed: int
) -> tuple[TaskDifference, FloatArray]:
    aligned = [common_clusters([a, b]) for a, b in zip(*pair, strict=True)]
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
    sizes = len(pair[0][0].clusters), len(pair[1][0].clusters)
    warning = None if sizes == (len(clusters),) * 2 else f"{len(clusters)} common records of {sizes[0]} and {sizes[1]}"
    whole = TaskDifference(**asdict(base), task=name, group=group, n=len(clusters), warning=warning)
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
        if not names or any(name not in tasks for name in names):
            continue
        a, b = (float(np.mean([getattr(tasks[name], side) for name in names])) for side in ("a", "b"))
        if all(tasks[name].low is None for name in names):
            found[group] = Difference(a, b, b - a, reason="no task has an interval")
            continue
        parts = [np.where(np.isfinite(draws[name]), draws[name], tasks[name].difference) for name in names]
        found[group] = _difference(a, b, np.mean(parts, axis=0))
    return found
