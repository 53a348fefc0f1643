"""A run's samples as a tidy pandas DataFrame, and its scores as HTML for notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.html_table import html_table
from darumeru.core.numbers import interval, number
from darumeru.core.row import SampleRow
from darumeru.metrics.choice import chosen

if TYPE_CHECKING:
    from pathlib import Path

    import pandas

    from darumeru.runs.results import Results, TaskScore

SAMPLE_COLUMNS = ("task", "id", "cluster", "prompt", "target", "answer", "probability")


def samples_frame(
    path: Path, results: Results, rows: Callable[[str], Iterator[SampleRow]], tasks: str | Sequence[str] | None
) -> pandas.DataFrame:
    """See Run.samples; rows: those of a task."""
    import pandas

    known = list(results.tasks)
    wanted = known if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    for name in wanted:
        if name not in known:
            raise UserError(f"the run has no task `{name}`", str(path), near=near_names(name, known))
    lines = [_sample(row) for name in wanted for row in rows(name)]
    return pandas.DataFrame(lines, columns=None if lines else [*SAMPLE_COLUMNS])


def _sample(row: SampleRow) -> dict[str, Any]:
    probabilities = row.answer.probabilities
    said = chosen(row) if probabilities is not None else row.answer.text
    return {
        "task": row.task,
        "id": row.id,
        "cluster": row.cluster,
        "prompt": row.prompt,
        "target": row.target if isinstance(row.target, str) else json.dumps(row.target, ensure_ascii=False),
        "answer": said,
        "probability": None if probabilities is None else probabilities.get(said or "", 0.0),
        **row.metrics,
        "num_fewshot": row.num_fewshot,
        "prompt_tokens": row.prompt_tokens,
        "finish_reason": row.answer.finish_reason,
        "notes": ", ".join(row.notes),
        "seconds": row.raw.seconds,
    }


def run_html(name: str, path: Path, results: Results) -> str:
    """Scores of a run by group, with intervals and counts."""
    rows: list[Sequence[str]] = []
    for group in dict.fromkeys(task.group for task in results.tasks.values()):
        mean = results.groups.get(group)
        value = f" {number(mean.value)}" if mean is not None and mean.value is not None else ""
        rows.append([f"{group}{value}"])
        rows += [_line(task) for task in results.tasks.values() if task.group == group]
    micro = results.micro_avg
    said = f"Micro-Avg {micro}"
    notes = [said, *(f"{task}: {error}" for task, error in results.failed.items()), str(path)]
    return html_table(
        f"{name}, profile {results.manifest['profile']}", ("task", "score", "95 %", "n", "shots"), rows, notes
    )


def _line(task: TaskScore) -> Sequence[str]:
    n = str(task.n) if task.n == task.expected else f"{task.n} of {task.expected}"
    return (task.name, number(task.score.value), interval(task.score.low, task.score.high), n, str(task.num_fewshot))
