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
    """A run folder: manifest, results, and its samples on demand.

    Example::

        run = darumeru.load_run("runs/a")
        run.results.tasks["darumeru/parus"].score.value   # 0.61
        run.samples("darumeru/parus").query("acc == 0")   # a DataFrame of the wrong ones
    """

    path: Path
    manifest: Mapping[str, Any]
    results: Results

    def __repr__(self) -> str:
        value = self.results.micro_avg.value
        micro = "" if value is None else f", Micro-Avg {value:.3f}"
        status = "" if self.manifest.get("status") == "finished" else f", {self.manifest.get('status')}"
        return f"Run({str(self.path)!r}, {self.name}, {len(self.results.tasks)} tasks{micro}{status})"

    def _repr_html_(self) -> str:
        from darumeru.runs.frames import run_html

        return run_html(self.name, self.path, self.results)

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

    def samples(self, tasks: str | Sequence[str] | None = None) -> pandas.DataFrame:
        """The answered samples as a tidy DataFrame, a line a sample in the order of the plan.

        tasks: of these tasks, of all where None; UserError for one that the run has not. Columns: task, id, cluster,
        prompt, target, answer (the chosen one, or the text after annotation), probability (of the chosen one), each
        metric of the task by its name, num_fewshot, prompt_tokens, finish_reason, notes, seconds. A target that is no
        text stands there as JSON.

        Example::

            frame = run.samples(["darumeru/parus", "darumeru/rcb"])
            frame.groupby("task")["acc"].mean()
        """
        from darumeru.runs.frames import samples_frame

        return samples_frame(self.path, self.results, self.rows, tasks)


def load_run(path: str | Path, *, finished: bool = True, check_samples: bool = False) -> Run:
    """Read a run folder.

    Example::

        run = darumeru.load_run("runs/a")

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
