"""The scores of a run as values; results.json is their JSON form (docs/run-format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.numbers import with_interval

SCHEMA = 2


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval; low and high are None where no interval can be computed (fewer than two
    clusters). value None: there is no such number, and `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """ "0.423 (0.391–0.455)", or why there is none."""
        if self.value is None:
            return f"none: {self.reason or 'no reason is stored'}"
        return with_interval(self.value, self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        return values | ({"reason": self.reason} if self.reason else {})

    @staticmethod
    def from_dict(values: Mapping[str, Any] | None) -> Score:
        if values is None:
            return Score(None)
        return Score(values.get("value"), values.get("low"), values.get("high"), values.get("reason"))


@dataclass(frozen=True)
class TaskScore:
    """A task's scores. n: samples answered; expected: samples of the task (of its limit). rates, in [0, 1]: answers
    that could not be read, were empty or were cut at the token budget (of n), prompts that did not fit (of expected).
    num_fewshot: shots asked for; shots_used: mean that fitted. error: why the task failed or is incomplete.
    definition: sha256 of what is asked and how it is scored; score_metrics: those whose mean is the score. judge:
    which judge found what the answers are worth, "" where none did."""

    name: str
    group: str
    score: Score
    metrics: Mapping[str, Score]
    n: int
    expected: int
    rates: Mapping[str, float]
    num_fewshot: int
    shots_used: float
    error: str | None = None
    limited: bool = False
    leaderboard: bool = True
    definition: str = ""
    score_metrics: tuple[str, ...] = ()
    judge: str = ""

    @property
    def complete(self) -> bool:
        """Whether every expected sample is answered."""
        return self.error is None and self.n == self.expected and self.n > 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "score": self.score.to_dict(),
            "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
            "n": self.n,
            "expected": self.expected,
            "rates": dict(self.rates),
            "num_fewshot": self.num_fewshot,
            "shots_used": self.shots_used,
            "limited": self.limited,
            "leaderboard": self.leaderboard,
            "definition": self.definition,
            "score_metrics": list(self.score_metrics),
            "error": self.error,
        } | ({"judge": self.judge} if self.judge else {})

    @staticmethod
    def from_dict(name: str, values: Mapping[str, Any]) -> TaskScore:
        return TaskScore(
            name=name,
            group=values["group"],
            score=Score.from_dict(values["score"]),
            metrics={metric: Score.from_dict(score) for metric, score in values["metrics"].items()},
            n=values["n"],
            expected=values["expected"],
            rates=values["rates"],
            num_fewshot=values["num_fewshot"],
            shots_used=values.get("shots_used", values["num_fewshot"]),
            error=values["error"],
            limited=values.get("limited", False),
            leaderboard=values.get("leaderboard", True),
            definition=values.get("definition", ""),
            score_metrics=tuple(values.get("score_metrics", ())),
            judge=values.get("judge", ""),
        )


@dataclass(frozen=True)
class Results:
    """All scores of a run. token_efficiency: language -> symbols_per_token and tokens_per_word of the texts of the
    copying tasks. files: sha256 of the files that the scores were computed from. sources: what other sources of tasks
    (lm-eval) say of theirs, by source."""

    tasks: Mapping[str, TaskScore]
    groups: Mapping[str, Score]
    micro_avg: Score
    token_efficiency: Mapping[str, Mapping[str, float]]
    manifest: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Results({len(self.tasks)} tasks, Micro-Avg {self.micro_avg})"

    @property
    def failed(self) -> dict[str, str]:
        """Task -> why it failed or is incomplete."""
        return {name: task.error for name, task in self.tasks.items() if task.error}

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "micro_avg": None if self.micro_avg.value is None else self.micro_avg.to_dict(),
            "micro_avg_reason": self.micro_avg.reason,
            "groups": {name: score.to_dict() for name, score in self.groups.items()},
            "tasks": {name: task.to_dict() for name, task in self.tasks.items()},
            "token_efficiency": {name: dict(values) for name, values in self.token_efficiency.items()},
            "files": dict(self.files),
            "manifest": dict(self.manifest),
        } | ({"sources": dict(self.sources)} if self.sources else {})

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Results:
        micro = values["micro_avg"]
        return Results(
            tasks={name: TaskScore.from_dict(name, task) for name, task in values["tasks"].items()},
            groups={name: Score.from_dict(score) for name, score in values["groups"].items()},
            micro_avg=Score.from_dict(micro) if micro else Score(None, reason=values.get("micro_avg_reason")),
            token_efficiency=values["token_efficiency"],
            manifest=values["manifest"],
            files=values.get("files", {}),
            sources=values.get("sources", {}),
        )
