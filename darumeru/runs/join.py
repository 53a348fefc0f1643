"""Stored answers joined with the targets and meta of the run's current plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from darumeru.core.row import SampleRow, StoredAnswer
from darumeru.metrics import metric as metric_named
from darumeru.metrics.verdicts import VERDICT, verdict_of
from darumeru.runs.annotate import annotated
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import StoredQuestion, StoredTask, read_questions
from darumeru.runs.verdicts import about, chosen_judge, judged_task


def joined_rows(run: Path, task: StoredTask) -> list[SampleRow]:
    """The answered samples of a task in the order of the plan, annotated, without values of metrics. An answer counts
    only for the question that it was asked for."""
    questions = {(one.id, one.key): one for one in read_questions(run, task)}
    found: dict[tuple[str, str], StoredAnswer] = {}
    for row in SampleStore(run).rows(task.name):
        if row.part is None and (row.id, row.key) in questions:
            found[row.id, row.key] = row
    rows = [_joined(questions[place], found[place], task) for place in questions if place in found]
    return _with_verdicts(run, task, rows) if task.judge else rows


def _with_verdicts(run: Path, task: StoredTask, rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The rows with the verdicts of the judge that counts in their meta; those that have none stay as they are."""
    folder = chosen_judge(run)
    judged = folder and judged_task(folder, task.name)
    if not folder or not judged:
        return list(rows)
    found = verdicts(folder, judged)
    return [
        replace(row, meta={**row.meta, VERDICT: found[key]}) if (key := about(row)) in found else row for row in rows
    ]


def verdicts(folder: Path, judged: StoredTask) -> dict[str, float | None]:
    """about() of an answer -> what the judge's verdict on it is worth, None where that cannot be read."""
    return {str(row.meta["about"]): verdict_of(row) for row in joined_rows(folder, judged)}


def _joined(question: StoredQuestion, stored: StoredAnswer, task: StoredTask) -> SampleRow:
    annotation = annotated(stored.prompt, stored.answer, task.annotators, task.asking.get("stop", ()))
    return SampleRow(
        task=stored.task,
        id=stored.id,
        cluster=question.cluster,
        key=stored.key,
        prompt=stored.prompt,
        prompt_tokens=stored.prompt_tokens,
        target=question.target,
        answer=annotation.answer,
        meta=question.meta,
        num_fewshot=stored.num_fewshot,
        raw=stored.answer,
        notes=annotation.notes,
    )


def with_metrics(row: SampleRow, task: StoredTask) -> SampleRow:
    """The row with the value of each of the task's metrics on it alone."""
    values: dict[str, float] = {}
    for name in task.row_metrics:
        values.update(metric_named(name).values(row))
    return replace(row, metrics=values)
