"""The runs of a board: their names, the tasks that they share, and what keeps them from being compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.core.numbers import listed
from darumeru.leaderboard.aggregate import BENCHMARK_TASKS
from darumeru.leaderboard.manifests import differences
from darumeru.leaderboard.measures import otherwise
from darumeru.runs.results import TaskScore
from darumeru.runs.run import Run
from darumeru.tasks.registry import LEADERBOARD_GROUPS


@dataclass(frozen=True)
class Contender:
    """One run on a board. name: unique there. missing: tasks of the board that it lacks or did not complete.
    differs: what sets it apart from most of the runs."""

    run: Run
    name: str
    missing: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing

    def task(self, name: str) -> TaskScore | None:
        """The run's score of a task, None where it was not run."""
        return self.run.results.tasks.get(name)


def make_contenders(
    runs: Sequence[Run], tasks: Mapping[str, str], allow_partial: bool, allow_different: bool
) -> list[Contender]:
    """The runs on a board over `tasks`; UserError for what the flags do not allow."""
    missing = [_missing(run, tasks) for run in runs]
    for run, lacks in zip(runs, missing, strict=True):
        if lacks and not allow_partial:
            raise UserError(f"lacks {listed(lacks)}", str(run.path), "--allow-partial shows it unranked")
    differs = _differing(runs)
    if any(differs) and not allow_different:
        place = next(place for place, lines in enumerate(differs) if lines)
        raise UserError(
            f"differs in what changes numbers: {'; '.join(differs[place])}",
            str(runs[place].path),
            "--allow-different marks it",
        )
    named = zip(runs, unique_names(runs), missing, differs, strict=True)
    return [Contender(run, name, lacks, differ) for run, name, lacks, differ in named]


def board_tasks(runs: Sequence[Run]) -> dict[str, str]:
    """Task -> group: the 17 of the benchmark when one of the runs has them all, else all tasks of the runs.

    Raises UserError when two runs have no task in common.
    """
    if len(runs) > 1 and not set.intersection(*(set(run.results.tasks) for run in runs)):
        raise UserError("these runs have no common tasks", ", ".join(str(run.path) for run in runs[:5]))
    for run in runs:
        whole = {
            name: task.group
            for name, task in run.results.tasks.items()
            if task.leaderboard and task.group in LEADERBOARD_GROUPS
        }
        if len(whole) == BENCHMARK_TASKS:
            return whole
    return {name: task.group for run in runs for name, task in run.results.tasks.items()}


def unique_names(runs: Sequence[Run]) -> list[str]:
    """The models' names; runs of one name get the shortest end of their folder's path that tells them apart."""
    counts = Counter(run.name for run in runs)
    names = []
    for run in runs:
        if counts[run.name] == 1:
            names.append(run.name)
            continue
        others = [other.path.resolve() for other in runs if other.name == run.name and other is not run]
        names.append(f"{run.name} ({_ending(run.path.resolve(), others)})")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError("two runs have this name and folder", twice[0])
    return names


def _ending(path: Path, others: Sequence[Path]) -> str:
    for length in range(1, len(path.parts) + 1):
        ending = path.parts[-length:]
        if all(other.parts[-length:] != ending for other in others):
            return "/".join(ending)
    return str(path)


def _missing(run: Run, tasks: Mapping[str, str]) -> tuple[str, ...]:
    found = run.results.tasks
    return tuple(
        name for name in tasks if name not in found or not found[name].complete or found[name].score.value is None
    )


def _differing(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """For each run how it differs from the largest set of equal ones (the earliest of the largest)."""
    leaders: list[int] = []
    of: list[int] = []
    for place, run in enumerate(runs):
        leader = next((one for one in leaders if not _apart(runs[one], run)), place)
        if leader == place:
            leaders.append(place)
        of.append(leader)
    if len(leaders) < 2:
        return [()] * len(runs)
    base = max(leaders, key=lambda leader: (of.count(leader), -leader))
    apart = {leader: _apart(runs[base], runs[leader]) for leader in leaders if leader != base}
    return [apart.get(leader, ()) for leader in of]


def _apart(a: Run, b: Run) -> tuple[str, ...]:
    """What sets two runs apart: their settings, and the tasks that they score otherwise."""
    reasons: dict[str, list[str]] = {}
    for name, task in a.results.tasks.items():
        reason = otherwise(task, b.results.tasks[name]) if name in b.results.tasks else None
        if reason:
            reasons.setdefault(reason, []).append(name)
    tasks = tuple(f"{listed(names)}: {reason}" for reason, names in reasons.items())
    return differences([a.manifest, b.manifest]) + tasks
