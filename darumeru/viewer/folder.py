"""What lies in a folder of runs: run folders and learning curves, each with a version that changes when it does."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from darumeru.core.files import content_hash
from darumeru.leaderboard.curve import CURVE
from darumeru.runs.manifest import MANIFEST
from darumeru.runs.score import RESULTS
from darumeru.runs.store import SAMPLES
from darumeru.runs.stored_plan import PLAN

DEPTH = 6
STEPS = "steps"
"""The folder beside a curve in which its points' runs lie."""
_NEVER = {SAMPLES, "questions", "lm_eval", "node_modules", "__pycache__"}


@dataclass(frozen=True)
class FoundRun:
    """A run folder. id: its path below the folder that is viewed, "." for that folder itself. of_curve: it is a point
    of the curve two folders above."""

    id: str
    path: Path
    version: str
    of_curve: bool


@dataclass(frozen=True)
class FoundCurve:
    """The folder of a training, with its curve. name: its path below the folder that is viewed."""

    name: str
    path: Path
    version: str


@dataclass(frozen=True)
class Found:
    """Runs by id and curves by name, in the order of their paths."""

    runs: dict[str, FoundRun]
    curves: dict[str, FoundCurve]

    @property
    def version(self) -> str:
        """Of all of it."""
        return content_hash(
            [[one.version for one in self.runs.values()], [one.version for one in self.curves.values()]]
        )


def scan(root: Path) -> Found:
    """Everything below `root`, at most DEPTH folders deep; links to folders are not followed."""
    runs: dict[str, FoundRun] = {}
    curves: dict[str, FoundCurve] = {}
    for place, folders, files in os.walk(root):
        path = Path(place)
        name = path.relative_to(root).as_posix()
        if MANIFEST in files:
            of_curve = path.parent.name == STEPS and (path.parent.parent / CURVE).is_file()
            runs[name] = FoundRun(name, path, _version(name, _run_files(path)), of_curve)
        if CURVE in files:
            curves[name] = FoundCurve(name, path, _version(name, [path / CURVE]))
        deep = len(path.relative_to(root).parts) >= DEPTH or MANIFEST in files
        folders[:] = [] if deep else sorted(one for one in folders if one not in _NEVER and not one.startswith("."))
    return Found(runs, curves)


def _run_files(path: Path) -> list[Path]:
    samples = path / SAMPLES
    answers = sorted(samples.glob("*.jsonl")) if samples.is_dir() else []
    return [path / MANIFEST, path / RESULTS, path / PLAN, *answers]


def _version(name: str, files: Iterable[Path]) -> str:
    """Of files that may come, grow and go at any moment."""
    seen: list[object] = [name]
    for file in files:
        try:
            at = file.stat()
        except OSError:
            continue
        seen.append([file.name, at.st_size, at.st_mtime_ns])
    return content_hash(seen)
