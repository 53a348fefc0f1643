"""A finished (or interrupted) run on disk, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, file_hash, parse_json
from darumeru.core.row import SampleRow
from darumeru.runs.join import joined_rows, with_metrics
from darumeru.runs.manifest import MANIFEST, PROGRESS, check_schema, read_manifest
from darumeru.runs.results import SCHEMA, Results
from darumeru.runs.score import RESULTS, compute
from darumeru.runs.stored_plan import read_plan

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Run:
    """A run folder: manifest, results, and its samples on demand."""

    path: Path
    manifest: Mapping[str, Any]
    results: Results

    def __repr__(self) -> str:
        value = self.results.micro_avg.value
        micro = "" if value is None else f", Micro-Avg {value:.3f}"
        return f"Run({str(self.path)!r}, {self.name}, {len(self.results.tasks)} tasks{micro})"

    @property
    def name(self) -> str:
        """The model's name as tables show it."""
        return str(self.manifest["model"]["name"])

    def rows(self, task: str) -> Iterator[SampleRow]:
        """The answered samples of a task in the order of the plan, with the value of each metric; none for a task that
        was not run."""
        for stored in read_plan(self.path):
            if stored.name == task:
                yield from (with_metrics(row, stored) for row in joined_rows(self.path, stored))


def load_run(path: str | Path, *, finished: bool = True, check_samples: bool = False) -> Run:
    """Read a run folder.

    finished: refuse a run that was interrupted. check_samples: compare the sample files with the hashes in
    results.json. Raises UserError for a folder that is not a run, of a newer schema, unfinished, or edited by hand.
    """
    run = Path(path).expanduser()
    manifest = read_manifest(run)
    if finished and manifest.get("status") != "finished":
        raise UserError("the run is not finished", str(run), "the same `darumeru run` command goes on")
    file = run / RESULTS
    try:
        document = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("has no results.json yet", str(run), "`darumeru score` computes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"is broken: {error}", str(file), "`darumeru score` computes it again") from error
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise UserError("is not the results of a run: `schema` is missing", str(file))
    check_schema(document["schema"], SCHEMA, file)
    claimed = document.pop("checksum", None)
    if claimed != content_hash(document):
        raise UserError("was edited by hand: its checksum differs", str(file), "`darumeru score` computes it again")
    try:
        results = Results.from_dict(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"is not the results of a run: {error}", str(file), "`darumeru score` computes it") from error
    _check_manifest(run, manifest, results.manifest)
    if check_samples:
        check_files(run, results)
    return Run(run, manifest, results)


def run_so_far(path: str | Path) -> Run:
    """A run that is going on, or was interrupted, scored from the answers that are there: without intervals, and
    nothing is written. UserError for a folder that is not a run, or holds no plan yet."""
    run = Path(path).expanduser()
    manifest = read_manifest(run)
    results, _ = compute(run, {**manifest, "resamples": 0}, {})
    return Run(run, manifest, replace(results, manifest=manifest))


def any_run(path: str | Path) -> Run:
    """A run, finished or not; one that is not, with the scores of what is answered."""
    run = Path(path).expanduser()
    return load_run(run) if read_manifest(run).get("status") == "finished" else run_so_far(run)


def run_folders(path: str | Path) -> list[Path]:
    """The folder itself where it holds a run, else the folders of runs right in it, by name."""
    folder = Path(path).expanduser()
    if (folder / MANIFEST).is_file():
        return [folder]
    return sorted(inner for inner in folder.iterdir() if (inner / MANIFEST).is_file()) if folder.is_dir() else []


def _check_manifest(run: Path, manifest: Mapping[str, Any], scored: Mapping[str, Any]) -> None:
    """manifest.json carries no checksum of its own; the copy in results.json does."""
    for key, value in scored.items():
        if key not in PROGRESS and manifest.get(key) != value:
            raise UserError(
                f"was edited by hand: its {key} differs from the one in results.json",
                str(run / MANIFEST),
                "`darumeru score` computes the results again",
            )


def check_files(run: Path, results: Results) -> None:
    """UserError when a file is not the one that the results were computed from."""
    for name, claimed in results.files.items():
        path = run / name
        if not path.is_file() or file_hash(path) != claimed:
            raise UserError("differs from what results.json was computed from", str(path), "`darumeru score` it again")


def load_runs(paths: Sequence[str | Path] | str | Path) -> pandas.DataFrame:
    """Scores of runs as a pandas DataFrame: one line a run and task, with value, low, high, n, expected and rates."""
    import pandas

    lines = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        run = load_run(path)
        for name, task in run.results.tasks.items():
            lines.append(
                {
                    "run": str(path),
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
            )
    return pandas.DataFrame(lines)
