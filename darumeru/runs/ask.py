"""The stream: all requests of all tasks to the engine, every answer to the store as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.answer import Answer, fault
from darumeru.core.row import StoredAnswer
from darumeru.engines.protocol import Engine, EngineDied
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.runs.planned import Plan, PlannedSample
from darumeru.runs.progress import Progress
from darumeru.runs.store import SampleStore

CAPABILITY = {MultipleChoice: "multiple_choice", Generate: "generate", LogLikelihood: "loglikelihood"}


@dataclass(frozen=True)
class Failures:
    """What the stream could not do. tasks: task -> error line; died: why the engine stopped, if it did."""

    tasks: Mapping[str, str] = field(default_factory=dict)
    died: str | None = None


@dataclass
class Pending:
    """A sample without a stored answer. parts: request key -> answer, for those of its requests that have one."""

    planned: PlannedSample
    parts: dict[str, Answer] = field(default_factory=dict)
    _solving: Generator[Sequence[Request], Sequence[Answer], Answer] | None = None
    _asked: Sequence[Request] = ()
    _numbers: dict[str, int] = field(default_factory=dict)

    def begin(self) -> Iterator[StoredAnswer | Request]:
        """The sample's first requests; its own answer where the stored parts give it already."""
        if self.planned.solver is None:
            yield self.planned.request
            return
        self._solving = self.planned.solver.solve(self.planned.requests)
        yield from self._go_on(self._solving, next(self._solving))

    def take(self, request: Request, answer: Answer) -> Iterator[StoredAnswer | Request]:
        """What an answer leads to: lines for the store, and further requests."""
        if self._solving is None:
            yield self._row(request, answer, request.key)
            return
        self.parts[request.key] = answer
        part = self._row(request, answer, request.key, self._numbers[request.key])
        if not all(one.key in self.parts for one in self._asked):
            yield part
            return
        after = list(self._go_on(self._solving, self._asked))
        # A sample whose one request says it all is stored once, under its own key.
        if len(self._numbers) > 1 or not (isinstance(after[0], StoredAnswer) and after[0].answer is answer):
            yield part
        yield from after

    def _go_on(
        self, solving: Generator[Sequence[Request], Sequence[Answer], Answer], asked: Sequence[Request]
    ) -> Iterator[StoredAnswer | Request]:
        while True:
            for one in asked:
                self._numbers.setdefault(one.key, len(self._numbers))
            missing = {one.key: one for one in asked if one.key not in self.parts}
            if missing:
                break
            try:
                asked = solving.send([self.parts[one.key] for one in asked])
            except StopIteration as done:
                yield self._row(self.planned.request, done.value, self.planned.key)
                return
        self._asked = asked
        yield from missing.values()

    def _row(self, request: Request, answer: Answer, key: str, part: int | None = None) -> StoredAnswer:
        sample = self.planned.sample
        return StoredAnswer(
            sample.task, sample.id, key, request.text, len(request.prompt), self.planned.shots, answer, part
        )


def pending_samples(plan: Plan, store: SampleStore) -> list[Pending]:
    """The samples that the store does not hold an answer of yet."""
    pending: list[Pending] = []
    for task in plan.tasks:
        stored: set[tuple[str, str]] = set()
        parts: dict[str, dict[str, Answer]] = {}
        for row in store.rows(task.spec.name):
            if row.part is None:
                stored.add((row.id, row.key))
            else:
                parts.setdefault(row.id, {})[row.key] = row.answer
        pending += [
            Pending(one, parts.get(one.sample.id, {})) for one in task.samples if (one.sample.id, one.key) not in stored
        ]
    return pending


def stream(
    engine: Engine,
    pending: Sequence[Pending],
    keep: Callable[[StoredAnswer], None],
    progress: Progress,
    finish: Callable[[Answer], Answer] = lambda answer: answer,
) -> Failures:
    """Ask everything that is pending; `keep` gets every answer at once. finish: applied to every answer of the engine.

    A request that the engine cannot answer (its answer carries an error, or the engine lacks the capability) fails its
    task, not the others. Requests that depend on answers go together in a next round.
    """
    failures: dict[str, str] = {}
    errors: dict[str, set[str]] = {}
    asked: list[tuple[Pending, Request]] = []
    further: list[tuple[Pending, Request]] = []

    def sort(one: Pending, found: Iterator[StoredAnswer | Request]) -> None:
        for each in found:
            if isinstance(each, Request):
                further.append((one, each))
            else:
                keep(each)
                if each.part is None:
                    progress.advance(each.task)

    for one in pending:
        lacking = {CAPABILITY[kind] for kind in one.planned.kinds} - engine.capabilities
        if lacking:
            kind = min(lacking)
            failures[one.planned.sample.task] = f"the {engine.name} engine cannot do requests of the kind `{kind}` here"
        else:
            sort(one, one.begin())
    try:
        while further:
            asked, further = further, []
            with closing(_answers(engine, [request for _, request in asked])) as answers:
                for index, answer in answers:
                    one, request = asked[index]
                    sample = one.planned.sample
                    error = answer.error
                    if error is None and (wrong := fault(answer)):
                        error = f"the {engine.name} engine gave no answer: {wrong}"
                    if error is None:
                        sort(one, one.take(request, finish(answer)))
                        continue
                    failures.setdefault(sample.task, error)
                    failed = errors.setdefault(sample.task, set())
                    if sample.id not in failed:
                        failed.add(sample.id)
                        progress.advance(sample.task)
    except EngineDied as death:
        return Failures(_counted(failures, errors), str(death))
    return Failures(_counted(failures, errors))


def _answers(engine: Engine, requests: Sequence[Request]) -> Any:
    return engine.answer(requests)


def _counted(failures: Mapping[str, str], errors: Mapping[str, set[str]]) -> dict[str, str]:
    return {
        task: f"{_samples(len(errors[task]))} failed: {text}" if task in errors else text
        for task, text in failures.items()
    }


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"
