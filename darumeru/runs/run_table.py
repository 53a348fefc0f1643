"""Scores of several runs as one tidy pandas DataFrame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darumeru.core.errors import UserError
from darumeru.runs.run import Run, any_run, load_run, run_folders

if TYPE_CHECKING:
    import pandas


def load_runs(
    paths: Sequence[str | Path] | str | Path, *, strict: bool = False, partial: bool = False
) -> pandas.DataFrame:
    """Scores of runs as a tidy DataFrame: one line a run and task, with run, model, profile, task, group, value, low
    and high (95 %), n, expected, num_fewshot, limited and the failure rates.

    paths: run folders, or folders of runs. What is no finished run there is left out with a warning; strict: it is a
    UserError. partial: unfinished runs count with what is answered. UserError where nothing can be read.

    Example::

        frame = darumeru.load_runs("runs")
        frame.pivot(index="task", columns="model", values="value")
    """
    runs: list[Run] = []
    left_out: list[UserError] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        for folder in run_folders(path) or [Path(path).expanduser()]:
            try:
                runs.append(any_run(folder) if partial else load_run(folder))
            except UserError as error:
                left_out.append(error)
    if left_out and (strict or not runs):
        raise left_out[0]
    for one in left_out:
        warnings.warn(f"left out: {one.line()}", stacklevel=2)
    return _frame(runs)


def _frame(runs: Sequence[Run]) -> pandas.DataFrame:
    """One line a run and task."""
    import pandas

    return pandas.DataFrame([line for run in runs for line in _scores(run)])


def _scores(run: Run) -> Iterator[dict[str, Any]]:
    for name, task in run.results.tasks.items():
        yield {
            "run": str(run.path),
            "model": run.name,
            "profile": run.manifest["profile"],
            "task": name,
            "group": task.group,
            "value": task.score.value,
            "low": task.score.low,
            "high": task.score.high,
            "n": task.n,
            "expected": task.expected,
            "num_fewshot": task.num_fewshot,
            "limited": task.limited,
            **{f"rate_{rate}": value for rate, value in task.rates.items()},
        }
