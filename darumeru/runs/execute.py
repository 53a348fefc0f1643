"""The stream: all requests of all tasks to the engine, every answer to the store as it arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.row import SampleRow
from darumeru.engines.protocol import Engine, EngineDied
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.metrics import metric as metric_named
from darumeru.runs.plan import Plan, PlannedSample
from darumeru.runs.progress import Progress
from darumeru.runs.store import SampleStore

CAPABILITY = {MultipleChoice: "multiple_choice", Generate: "generate", LogLikelihood: "loglikelihood"}


@dataclass(frozen=True)
class Outcome:
    """What the stream ended with. failures: task -> error line; died: why the engine stopped, if it did."""

    failures: Mapping[str, str]
    died: str | None = None


def pending_samples(plan: Plan, store: SampleStore) -> list[tuple[PlannedSample, Sequence[str]]]:
    """The samples that the store does not hold yet, each with its task's metric names."""
    pending: list[tuple[PlannedSample, Sequence[str]]] = []
    for task in plan.tasks:
        stored = {(row.id, row.fingerprint) for row in store.rows(task.spec.name)}
        pending += [
            (one, task.row_metrics) for one in task.samples if (one.sample.id, one.request.fingerprint) not in stored
        ]
    return pending


def stream(
    engine: Engine,
    pending: Sequence[tuple[PlannedSample, Sequence[str]]],
    keep: Callable[[SampleRow], None],
    progress: Progress,
    finish_text: Callable[[Answer], Answer] = lambda answer: answer,
) -> Outcome:
    """Ask everything that is pending; `keep` gets every row at once. finish_text: applied to generated answers.

    A request that the engine cannot answer (its answer carries an error, or the engine lacks the capability) fails
    its task, not the others.
    """
    failures: dict[str, str] = {}
    errors: Counter[str] = Counter()
    asked = []
    for one, metrics in pending:
        capability = CAPABILITY[type(one.request.kind)]
        if capability in engine.capabilities:
            asked.append((one, metrics))
        else:
            failures[one.sample.task] = f"the {engine.name} engine cannot do requests of the kind `{capability}` here"
    try:
        with closing(_answers(engine, [one.request for one, _ in asked])) as answers:
            for index, answer in answers:
                one, metrics = asked[index]
                if answer.error is not None:
                    errors[one.sample.task] += 1
                    failures.setdefault(one.sample.task, answer.error)
                else:
                    keep(row_of(one, finish_text(answer), metrics))
                progress.advance(one.sample.task)
    except EngineDied as death:
        return Outcome(_counted(failures, errors), str(death))
    return Outcome(_counted(failures, errors))


def _answers(engine: Engine, requests: Sequence[Request]) -> Any:
    return engine.answer(requests)


def _counted(failures: Mapping[str, str], errors: Mapping[str, int]) -> dict[str, str]:
    return {
        task: f"{errors[task]} samples failed: {text}" if task in errors else text for task, text in failures.items()
    }


def row_of(one: PlannedSample, answer: Answer, metrics: Iterable[str]) -> SampleRow:
    """The stored row of an answered sample, each metric's value on it included."""
    row = SampleRow(
        task=one.sample.task,
        id=one.sample.id,
        cluster=one.sample.cluster,
        fingerprint=one.request.fingerprint,
        prompt=one.request.text,
        prompt_tokens=len(one.request.prompt),
        target=one.sample.target,
        answer=answer,
        meta=one.meta,
        num_fewshot=one.shots,
    )
    values: dict[str, float] = {}
    for name in metrics:
        values.update(metric_named(name).values(row))
    return replace(row, metrics=values)
