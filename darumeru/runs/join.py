"""Stored answers joined with the targets and meta of the run's current plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from darumeru.core.row import SampleRow, StoredAnswer
from darumeru.metrics import metric as metric_named
from darumeru.runs.annotate import annotated
from darumeru.runs.store import SampleStore
from darumeru.runs.stored_plan import StoredQuestion, StoredTask, read_questions


def joined_rows(run: Path, task: StoredTask) -> list[SampleRow]:
    """The answered samples of a task in the order of the plan, annotated, without values of metrics. An answer counts
    only for the question that it was asked for."""
    questions = {(one.id, one.key): one for one in read_questions(run, task)}
    found: dict[tuple[str, str], StoredAnswer] = {}
    for row in SampleStore(run).rows(task.name):
        if row.part is None and (row.id, row.key) in questions:
            found[row.id, row.key] = row
    return [_joined(questions[place], found[place], task) for place in questions if place in found]


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
