"""Who takes part in an arena: runs with their answers, and files with answers of other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import parse_json
from darumeru.core.terminal import one_line
from darumeru.prompts.thoughts import answer_of
from darumeru.runs.join import joined_rows
from darumeru.runs.manifest import read_manifest
from darumeru.runs.run import run_folders
from darumeru.runs.stored_plan import read_plan


@dataclass(frozen=True)
class Contestant:
    """answers: question -> what the model answered, thoughts taken off."""

    name: str
    answers: Mapping[str, str]


def read_contestants(places: Sequence[str], task: str) -> list[Contestant]:
    """Run folders (their answers to `task`), folders of run folders, and JSON files of answers: a list of
    {"instruction", "output", "generator"}, or one such object a line. UserError for anything else, for two models of
    one name and for fewer than two."""
    found = [one for place in places for one in _read(Path(place).expanduser(), task)]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two of them are called `{name}`", "RUNS", "name one of the runs otherwise (--name)")
    if len(found) < 2:
        raise UserError(f"an arena needs at least two models, here {'is one' if found else 'are none'}", "RUNS")
    return found


def _read(place: Path, task: str) -> list[Contestant]:
    if not place.exists():
        raise UserError("no such run folder or file of answers", str(place))
    if place.is_file():
        return _file(place)
    runs = run_folders(place)
    if not runs:
        raise UserError("is neither a run nor a folder of runs", str(place))
    return [_run(run, task) for run in runs]


def _run(run: Path, task: str) -> Contestant:
    name = str(read_manifest(run)["model"]["name"])
    stored = next((one for one in read_plan(run) if one.name == task), None)
    if stored is None:
        raise UserError(f"was not asked `{task}`", str(run), f"darumeru run --tasks {task}, or another --questions")
    rows = joined_rows(run, stored)
    if not rows or any(row.answer.text is None for row in rows):
        raise UserError(f"has no answers in words to `{task}`", str(run))
    return Contestant(name, {_question(row.meta, row.prompt): row.answer.text or "" for row in rows})


def _question(meta: Mapping[str, Any], prompt: str) -> str:
    return str(meta.get("question") or prompt)


def _file(path: Path) -> list[Contestant]:
    """Models of a file in the order in which they come."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = parse_json(text) if text.lstrip().startswith("[") else [parse_json(one) for one in text.splitlines()]
        models: dict[str, dict[str, str]] = {}
        for line in lines:
            question, output, name = line["instruction"], line["output"], line["generator"]
            if not all(isinstance(one, str) for one in (question, output, name)) or not name.strip():
                raise ValueError("`instruction`, `output` and `generator` must be texts")
            models.setdefault(one_line(name), {})[question] = answer_of("", output).answer
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"is no list of answers with `instruction`, `output` and `generator`: {error}"
        raise UserError(what, str(path)) from error
    if not models:
        raise UserError("holds no answers", str(path))
    return [Contestant(name, answers) for name, answers in models.items()]
