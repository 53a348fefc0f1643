"""A few answers of a model in training, as a table for people to read beside its curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

TAG = "darumeru/samples"
# Characters of a prompt (its end) and of an answer (its beginning) that are shown.
MOST = 400


@dataclass(frozen=True)
class ShownAnswer:
    """prompt: its end. answer, target: their beginning."""

    task: str
    id: str
    prompt: str
    answer: str
    target: str


COLUMNS = tuple(field.name for field in fields(ShownAnswer))


def shown_answers(run: Path, tasks: Sequence[str], most: int) -> list[ShownAnswer]:
    """The first `most` generated answers of each task of a run, in the order of the plan."""
    from darumeru.runs.run import load_run

    if not most:
        return []
    found = load_run(run)
    return [
        ShownAnswer(task, row.id, row.prompt[-MOST:], (row.answer.text or "")[:MOST], str(row.target)[:MOST])
        for task in tasks
        for row in islice((row for row in found.rows(task) if row.answer.text is not None), most)
    ]


def markdown(answers: Iterable[ShownAnswer]) -> str:
    """As TensorBoard shows a table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(map(_cell, astuple(one))) + " |" for one in answers]
    return "\n".join(lines)


def _cell(text: str) -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("`", "&#96;")
    return "<br>".join(safe.splitlines())


def log_table(answers: Sequence[ShownAnswer], step: int, callbacks: Iterable[Any]) -> None:
    """Hand the table to those of a Trainer's callbacks that keep texts: TensorBoard's and W&B's."""
    for callback in callbacks if answers else ():
        if getattr(callback, "tb_writer", None) is not None:
            callback.tb_writer.add_text(TAG, markdown(answers), step)
        wandb = getattr(callback, "_wandb", None)
        if wandb is not None and wandb.run is not None:
            table = wandb.Table(columns=list(COLUMNS), data=[list(astuple(one)) for one in answers])
            wandb.log({TAG: table, "train/global_step": step})
