"""Scores of runs and of training curves in trackers of experiments; each package is needed only where it is used."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from darumeru.core.errors import UserError, near_names
from darumeru.core.packages import require
from darumeru.core.secrets import redacted
from darumeru.leaderboard.curve import Point, scores_of
from darumeru.runs.results import Score
from darumeru.runs.run import Run

PROJECT = "darumeru"


class Tracker(Protocol):
    """One run in a tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name at a training step."""
        ...

    def close(self) -> None:
        """All is written when this returns."""
        ...


def check_tracker(name: str | None) -> None:
    """UserError for a tracker that is none, or whose package is not installed; None is no tracker."""
    if name is None:
        return
    if name not in _TRACKERS:
        mend = f"known: {', '.join(_TRACKERS)}"
        raise UserError(f"unknown tracker `{name}`", "--log-to", mend, near_names(name, _TRACKERS))
    require(name, f"--log-to {name}")


def open_tracker(name: str, title: str, config: Mapping[str, Any], folder: Path) -> Tracker:
    """A new run called `title` in the project "darumeru" (DARUMERU_PROJECT). config: what the run is, without keys.
    folder: where trackers that write files put them."""
    check_tracker(name)
    project = os.environ.get("DARUMERU_PROJECT", PROJECT)
    with redirect_stdout(sys.stderr):
        made: Tracker = _TRACKERS[name](project, title, redacted(dict(config)), folder)
    return made


def log_run(run: Run, name: str) -> None:
    """A finished run: its scores, their intervals and all metrics, and what it was made with."""
    tracker = open_tracker(name, run.name, config_of(run), run.path)
    try:
        tracker.log(values_of(run), 0)
    finally:
        tracker.close()


def values_of(run: Run) -> dict[str, float]:
    """Every finite number of a run by name: micro_avg, groups and tasks, with .low, .high and .METRIC (no "/": MLflow's
    files would be folders too)."""
    values: dict[str, float] = {}
    for name, score in scores_of(run.results).items():
        values |= _with_interval(name, score)
    for name, task in run.results.tasks.items():
        values |= {f"{name}.{key}": one.value for key, one in task.metrics.items() if one.value is not None}
    return {f"{PROJECT}/{name.removeprefix('darumeru/')}": value for name, value in values.items()}


def point_values(point: Point) -> dict[str, float]:
    """The same of a point of a learning curve."""
    values: dict[str, float] = {}
    for name, score in point.scores.items():
        values |= _with_interval(name, score)
    return {f"{PROJECT}/{name.removeprefix('darumeru/')}": value for name, value in values.items()}


def _with_interval(name: str, score: Score) -> dict[str, float]:
    found = {name: score.value, f"{name}.low": score.low, f"{name}.high": score.high}
    return {key: float(value) for key, value in found.items() if value is not None}


def config_of(run: Run) -> dict[str, Any]:
    """What a run was made with, as flat values."""
    manifest = run.manifest
    return {
        "model": run.name,
        "profile": manifest["profile"],
        "engine": manifest["engine"]["name"],
        "dtype": manifest["engine"].get("dtype"),
        "data": (manifest.get("data") or {}).get("source"),
        "limit": manifest.get("limit"),
        "seed": manifest["seed"],
        "spec_hash": manifest.get("spec_hash"),
        "darumeru": (manifest.get("versions") or {}).get("darumeru"),
    }


class _Wandb:
    def __init__(self, project: str, title: str, config: Mapping[str, Any], folder: Path) -> None:
        self._run = import_module("wandb").init(project=project, name=title, config=dict(config), dir=str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, project: str, title: str, config: Mapping[str, Any], folder: Path) -> None:
        self._mlflow = import_module("mlflow")
        self._mlflow.set_experiment(project)
        self._mlflow.start_run(run_name=title)
        self._mlflow.log_params(dict(config))

    def log(self, values: Mapping[str, float], step: int) -> None:
        # MLflow takes letters, digits and _-. :/ in names.
        self._mlflow.log_metrics({re.sub(r"[^\w\-. :/]", "_", name): one for name, one in values.items()}, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Trackio:
    def __init__(self, project: str, title: str, config: Mapping[str, Any], folder: Path) -> None:
        self._trackio = import_module("trackio")
        self._trackio.init(project=project, name=title, config=dict(config), embed=False, resume="allow",
                           auto_log_cpu=False, auto_log_gpu=False)  # fmt: skip

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._trackio.finish()


class _Tensorboard:
    def __init__(self, project: str, title: str, config: Mapping[str, Any], folder: Path) -> None:
        self._writer = import_module("tensorboard.summary").Writer(str(folder / "tensorboard"))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


# By the name of the package.
_TRACKERS: dict[str, Any] = {
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
    "tensorboard": _Tensorboard,
}
