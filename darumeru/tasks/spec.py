"""A task as data: what is asked, of which records, and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from darumeru.core.errors import UserError, near_names

METHODS = ("multiple_choice", "generate", "loglikelihood")


@dataclass(frozen=True)
class Source:
    """Where the records are: a Hub data set, or the same path below a local folder.

    test, shots: names of the splits (shots None = the task has no few-shot records). revision: pinned commit.
    """

    repository: str
    config: str | None = None
    test: str = "test"
    shots: str | None = "prompt"
    revision: str | None = None


@dataclass(frozen=True)
class TaskSpec:
    """One task of the benchmark, complete and with its profile already applied.

    method: how the model is asked ("multiple_choice": next-token probabilities; "generate": greedy text;
    "loglikelihood": log-probabilities of a given answer). format: which record format reads the data
    (darumeru/tasks/formats). choices: the closed set of answers. max_new_tokens: part of the token budget that is kept
    for the answer.
    first_shot: index of the first few-shot record. metrics: all that are reported; score: those whose unweighted
    mean is the task's score. leaderboard: one of the 17 of Micro-Avg. most_records: cap of the published protocol.
    max_length: total tokens when the task needs more than the run's default. options: settings of the format.
    differs: sentences on where this task departs from its published program.
    """

    name: str
    group: str
    description: str
    method: str
    format: str
    source: Source
    metrics: tuple[str, ...]
    score: tuple[str, ...]
    choices: tuple[str, ...] = ()
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    first_shot: int = 0
    few_shot: bool = True
    leaderboard: bool = True
    language: str = "ru"
    most_records: int | None = None
    max_length: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    differs: tuple[str, ...] = ()

    def asking(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "stop": self.stop,
            "choices": self.choices,
            "max_new_tokens": self.max_new_tokens,
        }

    def scoring(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "score": self.score, "group": self.group}


def parse_spec(document: Mapping[str, Any], profile: str, where: str) -> TaskSpec:
    """A TaskSpec from one YAML document; `profiles: {name: overrides}` is applied for `profile`.

    Raises UserError naming `where` and the field for anything missing, unknown or of the wrong type.
    """
    if not isinstance(document, Mapping):
        raise UserError("a task must be a mapping of fields", where)
    known = {f.name for f in fields(TaskSpec)}
    values = dict(document)
    overrides = values.pop("profiles", None) or {}
    if not isinstance(overrides, Mapping):
        raise UserError("`profiles` must map profile names to fields", where)
    values.update(overrides.get(profile) or {})
    for name in values:
        if name not in known:
            raise UserError(f"unknown field `{name}`", where, near=near_names(name, known))
    for name in ("name", "group", "description", "method", "format", "source", "metrics", "score"):
        if name not in values:
            raise UserError(f"field `{name}` is missing", where)
    if values["method"] not in METHODS:
        raise UserError(f"method `{values['method']}` is not one of {', '.join(METHODS)}", where)
    _check_types(values, where)
    source = values.pop("source")
    unknown = set(source) - {f.name for f in fields(Source)}
    if unknown or "repository" not in source:
        raise UserError(
            f"source: {'unknown field ' + sorted(unknown)[0] if unknown else '`repository` is missing'}", where
        )
    sequences: dict[str, Any] = {name: tuple(map(str, values.pop(name))) for name in _LISTS if name in values}
    spec = TaskSpec(source=Source(**source), **sequences, **values)
    if spec.method == "multiple_choice" and len(spec.choices) < 2:
        raise UserError("a choice task needs at least two `choices`", where)
    missing = [name for name in spec.score if name not in spec.metrics]
    if missing:
        raise UserError(f"score names `{missing[0]}`, which is not among `metrics`", where)
    return spec


_LISTS = ("metrics", "score", "choices", "stop", "differs")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "group": str,
    "description": str,
    "format": str,
    "source": Mapping,
    "options": Mapping,
    "max_new_tokens": int,
    "first_shot": int,
    "few_shot": bool,
    "leaderboard": bool,
    "language": str,
    "most_records": (int, type(None)),
    "max_length": (int, type(None)),
    **dict.fromkeys(_LISTS, (list, tuple)),
}


def _check_types(values: Mapping[str, Any], where: str) -> None:
    for name, kind in _TYPES.items():
        if name in values and (not isinstance(values[name], kind) or (kind is int and isinstance(values[name], bool))):
            wanted = kind.__name__ if isinstance(kind, type) else kind[0].__name__
            raise UserError(f"field `{name}` must be of type {wanted.lower()}", where)
