"""What a run is going to ask: tasks, samples and their requests, made and checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from darumeru.core.answer import Answer
from darumeru.core.files import content_hash
from darumeru.engines.request import Request
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec


class Solver(Protocol):
    """How a sample that needs several requests or several turns comes to its answer; a pure function of answers, so
    that a run that was stopped goes on from the stored ones."""

    @property
    def name(self) -> str:
        """Part of the answer's key: a solver that works otherwise needs another name."""
        ...

    @property
    def later(self) -> frozenset[type]:
        """Kinds of requests that come after the planned ones and that those are not of."""
        ...

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        """Yield requests that may be asked together and are given their answers in the same order; return the sample's
        own answer. `requests` are the planned ones, usually yielded first. Later requests need keys
        (Planner.keyed)."""
        ...


@dataclass(frozen=True)
class PlannedSample:
    """A sample and the requests that ask it. shots: examples (or context turns) that fitted. meta: the sample's meta
    with the reference lengths that length metrics need. solver: None for the usual sample, whose one request's answer
    is its own."""

    sample: Sample
    requests: tuple[Request, ...]
    shots: int
    meta: Mapping[str, Any]
    solver: Solver | None = None

    @property
    def request(self) -> Request:
        """The first request, whose prompt stands for the sample."""
        return self.requests[0]

    @property
    def kinds(self) -> frozenset[type]:
        """Of all requests that the sample may take."""
        later: frozenset[type] = self.solver.later if self.solver else frozenset()
        return later | {type(one.kind) for one in self.requests}

    @cached_property
    def key(self) -> str:
        """Key of the sample's own answer in the store."""
        if self.solver is None:
            return self.request.key
        return content_hash([self.solver.name, *(request.key for request in self.requests)])[:32]


@dataclass(frozen=True)
class PlannedTask:
    """A task of the run. too_long: ids of samples whose prompt does not fit even without examples. num_fewshot: shots
    asked for. data: origin, revision and hashes of the records. error: why the task cannot be asked at all.
    source: who plans and scores it (runs/sources.py), "" for Darumeru's own; settings: what that source needs to score
    it again, plain JSON."""

    spec: TaskSpec
    samples: tuple[PlannedSample, ...]
    too_long: tuple[str, ...]
    num_fewshot: int
    data: Mapping[str, Any]
    limited: bool = False
    error: str | None = None
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        """Samples that a complete answer to this task has."""
        return len(self.samples) + len(self.too_long)


@dataclass(frozen=True)
class Plan:
    """All tasks of a run and the total length (prompt and answer) that the engine must hold."""

    tasks: tuple[PlannedTask, ...]
    max_length: int

    @cached_property
    def planned(self) -> tuple[PlannedSample, ...]:
        """All samples of all tasks."""
        return tuple(one for task in self.tasks for one in task.samples)
