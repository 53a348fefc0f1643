"""What a run would ask, and how long that may take: counted from its plan, before anything is loaded or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.engines.request import Generate, LogLikelihood
from darumeru.runs.ask import pending_samples
from darumeru.runs.manifest import MANIFEST, hardware, read_manifest
from darumeru.runs.planned import PlannedSample, PlannedTask
from darumeru.runs.session import Session
from darumeru.runs.store import SampleStore

COUNTS = ("samples", "pending", "requests", "prompt_tokens", "new_tokens")


@dataclass(frozen=True)
class TaskOutline:
    """One task, counted. pending: samples without a stored answer; requests, prompt_tokens (None where a server makes
    the prompts) and new_tokens (the most that may be generated) are theirs. refused: why it cannot be asked, or how
    many of its prompts do not fit."""

    task: str
    samples: int
    pending: int
    requests: int
    prompt_tokens: int | None
    new_tokens: int
    refused: str | None


@dataclass(frozen=True)
class Speed:
    """What an earlier run of the same model and engine did. tokens_per_second: of prompts and answers, loading
    included; generated: task -> mean tokens of an answer there; run: its folder."""

    tokens_per_second: float
    generated: Mapping[str, float]
    run: Path


@dataclass(frozen=True)
class Outline:
    """A run before it is begun. seconds: estimate for the pending samples, None where no earlier run tells."""

    model: str
    engine: str
    max_length: int
    tasks: tuple[TaskOutline, ...]
    speed: Speed | None = None

    @property
    def totals(self) -> dict[str, int | None]:
        """COUNTS over all tasks; None where one of them cannot be counted."""
        columns = {name: [getattr(one, name) for one in self.tasks] for name in COUNTS}
        return {name: None if None in values else sum(values) for name, values in columns.items()}

    @property
    def seconds(self) -> float | None:
        if self.speed is None or any(one.prompt_tokens is None for one in self.tasks):
            return None
        tokens = sum((one.prompt_tokens or 0) + self._generated(one, self.speed) for one in self.tasks)
        return tokens / self.speed.tokens_per_second

    @staticmethod
    def _generated(one: TaskOutline, speed: Speed) -> float:
        mean = speed.generated.get(one.task)
        return one.new_tokens if mean is None else min(one.new_tokens, one.pending * mean)


def outline(session: Session, folder: Path) -> Outline:
    """The counts of a prepared session whose answers would go to `folder`; its sibling folders are looked at for an
    earlier run that tells the speed."""
    asked: dict[str, list[PlannedSample]] = {}
    for one in pending_samples(session.plan, SampleStore(folder)):
        asked.setdefault(one.planned.sample.task, []).append(one.planned)
    tasks = tuple(
        _task(task, asked.get(task.spec.name, []), session.incomplete.get(task.spec.name))
        for task in session.plan.tasks
    )
    speed = next(_speeds(session, folder), None) if asked else None
    return Outline(session.subject.name, session.subject.engine, session.plan.max_length, tasks, speed)


def _task(task: PlannedTask, pending: list[PlannedSample], refused: str | None) -> TaskOutline:
    requests = [request for one in pending for request in one.requests]
    continued = sum(len(one.kind.continuation) for one in requests if isinstance(one.kind, LogLikelihood))
    return TaskOutline(
        task.spec.name,
        task.expected,
        len(pending),
        len(requests),
        sum(len(one.prompt) for one in requests) + continued if all(one.prompt for one in requests) else None,
        sum(one.kind.max_new_tokens for one in requests if isinstance(one.kind, Generate)),
        refused,
    )


def _speeds(session: Session, folder: Path) -> Iterator[Speed]:
    """Of finished runs beside `folder` on a machine like this one, the latest first."""
    found = []
    for path in folder.parent.glob(f"*/{MANIFEST}"):
        try:
            manifest = read_manifest(path.parent)
        except (UserError, OSError):
            continue  # no run, or a damaged one: not what this command is about
        if _tells(manifest, session):
            found.append((manifest["started"], manifest["seconds"], path.parent))
    for _, seconds, run in sorted(found, reverse=True, key=lambda one: (one[0], str(one[2]))):
        try:
            tokens, generated = _tokens(run)
        except UserError:
            continue
        if tokens and seconds:
            yield Speed(tokens / seconds, generated, run)


def _tells(manifest: Mapping[str, Any], session: Session) -> bool:
    mine = hardware()
    return bool(
        manifest["status"] == "finished"
        and manifest["model"].get("fingerprint") == session.subject.identity["model"]
        and manifest["engine"].get("name") == session.subject.engine
        and all(manifest["hardware"].get(key) == mine[key] for key in ("machine", "cores"))
    )


def _tokens(run: Path) -> tuple[int, dict[str, float]]:
    """Tokens that the run's answers took, and the mean length of each task's generated answers."""
    total, generated, count = 0, Counter[str](), Counter[str]()
    store = SampleStore(run)
    for task in read_manifest(run)["data"]["tasks"]:
        for row in store.rows(task):
            length = len(row.answer.tokens or ())
            total += row.prompt_tokens + length
            generated[task] += length
            count[task] += 1
    return total, {task: generated[task] / count[task] for task in count}
