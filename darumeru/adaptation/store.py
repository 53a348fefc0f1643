"""OUT/steps: one folder for each piece of work, with what it made."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.adaptation.protocols import Candidate
from darumeru.core.errors import UserError
from darumeru.core.files import to_json, write_atomically
from darumeru.core.options import to_plain

DONE = "done.json"
YIELDED = "candidates.json"
DELETED = "deleted.json"
WORK = "work"
SCHEMA = 1


@dataclass(frozen=True)
class Made:
    """A candidate in the store. id: what later work is keyed on. label: unique on the board. job: the folder of the
    work that made it, "" for given models. variant, node: who made it. lineage: labels from the first model to it."""

    id: str
    label: str
    candidate: Candidate
    job: str = ""
    variant: str = ""
    node: str = ""
    lineage: tuple[str, ...] = ()
    deleted: bool = False

    @property
    def path(self) -> Path:
        return self.candidate.path


@dataclass(frozen=True)
class StepFolder:
    """The folder of one piece of work: work/ belongs to the step, candidates.json lists what it has yielded so far,
    done.json stands only in a finished one, deleted.json names candidates whose folders were given up."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / WORK

    @property
    def done(self) -> bool:
        return (self.path / DONE).is_file()

    def lost(self) -> bool:
        """Whether the work is done and a model that it made, and that was not given up, is not there any more."""
        gone = self.deleted()
        return self.done and any(
            not one.path.exists() and self.relative(one.path) not in gone for one in self.candidates()
        )

    def reopen(self) -> None:
        """Forget that the work is done."""
        for name in (DONE, DELETED):
            (self.path / name).unlink(missing_ok=True)

    def open(self, resumable: bool) -> Path:
        """The step's folder: as it was left for a resumable step, else empty."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not resumable:
            (self.path / YIELDED).unlink(missing_ok=True)
            if self.work.exists():
                shutil.rmtree(self.work)
        self.work.mkdir(exist_ok=True)
        return self.work

    def candidates(self) -> list[Candidate]:
        """What was yielded so far, in order."""
        file = self.path / (DONE if self.done else YIELDED)
        if not file.is_file():
            return []
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return [self._candidate(one) for one in values["candidates"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"is broken: {error}", str(file), f"delete {self.path} and run again") from error

    def add(self, candidate: Candidate) -> list[Candidate]:
        """Record a candidate, in the place of an earlier one of the same path."""
        found = [one for one in self.candidates() if one.path != candidate.path] + [candidate]
        write_atomically(self.path / YIELDED, to_json(self._json(found)))
        return found

    def finish(self, about: Mapping[str, Any]) -> None:
        """Mark the work as done; about: for people."""
        write_atomically(self.path / DONE, to_json({**self._json(self.candidates()), **about}))
        (self.path / YIELDED).unlink(missing_ok=True)

    def deleted(self) -> dict[str, Any]:
        """Deleted candidates: path within the folder -> why."""
        file = self.path / DELETED
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    def delete(self, candidate: Candidate, why: str) -> None:
        """Record the deletion, then delete the candidate's folder; both again if it was cut short."""
        name = self.relative(candidate.path)
        if Path(name).is_absolute() or name in (".", WORK):
            return
        gone = self.deleted()
        if name not in gone:
            write_atomically(self.path / DELETED, to_json({**gone, name: why}))
        if candidate.path.exists():
            shutil.rmtree(candidate.path)

    def relative(self, path: Path) -> str:
        """A path inside this folder by its relative name, so that the output can be moved."""
        resolved = path.resolve()
        here = self.path.resolve()
        return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)

    def _json(self, candidates: list[Candidate]) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "candidates": [
                {
                    "path": self.relative(one.path),
                    "step": one.step,
                    "parameters": to_plain(one.parameters),
                    "training_step": one.training_step,
                    "label": one.label,
                }
                for one in candidates
            ],
        }

    def _candidate(self, values: Mapping[str, Any]) -> Candidate:
        made = Candidate(
            path=self.path / values["path"],
            step=values["step"],
            parameters=values["parameters"],
            training_step=values["training_step"],
            label=values["label"],
        )
        return replace(made, path=made.path.resolve())


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """The output folder, made if need be, for one pipeline at a time."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        others = [one.name for one in output.iterdir() if not one.name.startswith(".")]
        if others and not (output / "recipe.yaml").is_file() and not (output / "steps").is_dir():
            raise UserError("the output folder holds other files", str(output), "choose an empty or new --output")
        handle = os.open(output / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(output), "choose another --output") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError("another darumeru adapt works here", str(output), "wait for it or stop it") from error
        yield
    finally:
        os.close(handle)
