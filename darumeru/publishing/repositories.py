"""What is published in each kind of repository, as files: computed here, sent by hub.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from darumeru.core.errors import UserError
from darumeru.core.files import parse_json
from darumeru.core.secrets import redacted
from darumeru.leaderboard import html_board, render_json
from darumeru.leaderboard.board import BoardOptions, build_board
from darumeru.leaderboard.data_sets import HUB, of_task
from darumeru.leaderboard.published import Published
from darumeru.leaderboard.render_model_card import card_results
from darumeru.leaderboard.report_samples import is_private
from darumeru.publishing.eval_results import eval_results
from darumeru.runs.manifest import MANIFEST
from darumeru.runs.run import Run
from darumeru.runs.score import RESULTS
from darumeru.runs.store import SAMPLES, task_file
from darumeru.runs.stored_plan import PLAN, QUESTIONS, read_plan
from darumeru.runs.stored_statistics import STATISTICS

KINDS = ("model", "dataset", "space")
CARD = "README.md"
EVIDENCE = f"darumeru/{RESULTS}"
Reader = Callable[[str], str | None]


@dataclass(frozen=True)
class Contents:
    """files: path in the repository -> its content. said: what a person has to know of them, one line each."""

    files: dict[str, bytes]
    said: tuple[str, ...] = field(default=())


def contents(
    kind: str, runs: Sequence[Run], published: Sequence[Published], repository: str, remote: Reader, source: str | None
) -> Contents:
    """The files for a repository. remote: text of a file that is there already, None where there is none. source:
    address that is named as the numbers' source, default the results beside the card. UserError when these runs cannot
    be published so."""
    if kind == "space":
        return _space(runs, published, repository, remote)
    if len(runs) != 1 or published:
        raise UserError(f"a {kind} is of one run, here are {len(runs) + len(published)} sources", "RUN")
    made = _model(runs[0], repository, remote, source) if kind == "model" else _dataset(runs[0], remote)
    return made


def _model(run: Run, repository: str, remote: Reader, source: str | None) -> Contents:
    entries = eval_results(run, source or f"{HUB}/{repository}/blob/main/{EVIDENCE}")
    card = _model_card(run, repository, remote(CARD))
    files = {CARD: card, **entries.files}
    said = [f"{name} is not in .eval_results: {reason}" for name, reason in entries.left_out.items()]
    of_hub = {name for name in run.results.tasks if of_task(run, name).on_hub}
    if of_hub != set(run.results.tasks):
        said.append("numbers that are not of the Hub's own records say so in their name on the card")
    evidence = {EVIDENCE: _checked(run.path / RESULTS)}
    return Contents({name: text.encode() for name, text in files.items()} | evidence, tuple(said))


def _model_card(run: Run, repository: str, text: str | None) -> str:
    """The card with the run's numbers in its model-index, in the place of earlier ones of the same data and metric."""
    from huggingface_hub import ModelCard

    card = ModelCard(text or f"---\ntags:\n- darumeru\n---\n\n# {repository.rpartition('/')[2]}\n")
    ours = card_results(run)
    taken = {_same(one) for one in ours}
    kept = [one for one in card.data.eval_results or () if _same(one) not in taken]
    card.data.eval_results = [*kept, *ours]
    card.data.model_name = card.data.model_name or repository.rpartition("/")[2]
    return str(card).rstrip("\n") + "\n"


def _same(one: Any) -> tuple[Any, ...]:
    return (*one.unique_identifier[:-1], one.metric_type, one.dataset_name.partition(" (")[0])


def _dataset(run: Run, remote: Reader) -> Contents:
    """The run folder itself, so that others can read, score, compare and view it; without private tasks."""
    plan = read_plan(run.path)
    private = {task.name for task in plan if is_private(task)}
    if private:
        raise UserError(f"{', '.join(sorted(private))}: declared private, so a run with it is not published as answers",
                        str(run.path), "publish a run without it")  # fmt: skip
    names = [MANIFEST, RESULTS, PLAN, STATISTICS]
    names += [f"{folder}/{task_file(task.name)}" for task in plan for folder in (QUESTIONS, SAMPLES)]
    files = {name: _checked(run.path / name) for name in names if (run.path / name).is_file()}
    configs = [
        {"config_name": re.sub(r"[^\w.-]", "_", task.name), "data_files": f"{SAMPLES}/{task_file(task.name)}"}
        for task in plan
        if f"{SAMPLES}/{task_file(task.name)}" in files
    ]
    not_hub = {of_task(run, task.name).said for task in plan if not of_task(run, task.name).on_hub}
    data = ", ".join(sorted(not_hub)) or "data sets of the Hub"
    front = {"tags": ["darumeru"], "configs": configs}
    text = (
        f"Answers of {run.name} to a [Darumeru](https://github.com/RefalMachine/llmtf_open) run, one line a sample. "
        f"Profile {run.manifest['profile']}; {data}.\n\n"
        "`huggingface-cli download` the repository, then `darumeru report`, `compare`, `score` and `view` read it.\n"
    )
    files[CARD] = _front(front, f"# {run.name}: answers\n\n{text}").encode()
    return Contents(files, (f"the data: {data}",))


def _space(runs: Sequence[Run], published: Sequence[Published], repository: str, remote: Reader) -> Contents:
    """A static page with the board."""
    table = build_board(runs, published, BoardOptions())
    front = {
        "title": repository.rpartition("/")[2],
        "emoji": "📊",
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "static",
        "app_file": "index.html",
        "tags": ["leaderboard", "darumeru"],
    }
    card = remote(CARD) or _front(front, "# Leaderboard\n\nMade by `darumeru publish --to space`.\n")
    files = {
        CARD: card.encode(),
        "index.html": html_board.render(table).encode(),
        "board.json": render_json.render(table).encode("utf-8", "replace"),
    }
    others = {of_task(run, name).said for run in runs for name in run.results.tasks} - {""}
    return Contents(files, tuple(f"some numbers are of {said}" for said in sorted(others)))


def _front(values: dict[str, Any], text: str) -> str:
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def _checked(path: Path) -> bytes:
    """A file's bytes; UserError when a key stands in it."""
    content = path.read_bytes()
    if path.suffix == ".json" and redacted(found := parse_json(content)) != found:
        raise UserError("holds a key or a password, so it is not published", str(path), "remove it from the command")
    if path.suffix == ".jsonl":
        for number, line in enumerate(content.splitlines(), 1):
            if redacted(found := json.loads(line)) != found:
                raise UserError("holds what looks like a key, so it is not published", f"{path}:{number}")
    return content
