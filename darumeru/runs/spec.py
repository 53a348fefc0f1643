"""RunSpec: the one value that says what a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from darumeru.core.files import content_hash


@dataclass(frozen=True)
class RunSpec:
    """What a run is, by content: names, paths, addresses and times say nothing here. Plain JSON.

    answers: all that an answer depends on beside its own request: the model's weights, tokenizer, adapter and template,
    the engine and its arguments, and the options that shape prompts. scores: what turns answers into scores: which
    records, their targets, the tasks' definitions, the bootstrap. Whatever is in neither may be changed at any time.
    """

    answers: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    # Of `answers`, what does not show in the token ids of a prompt and so goes into each answer's key.
    IDENTITY = ("model", "tokenizer", "adapter", "engine", "dtype", "engine_args")

    @cached_property
    def identity(self) -> str:
        """Hash over what every answer's key carries beside its own request."""
        return content_hash({name: self.answers.get(name) for name in self.IDENTITY})

    @cached_property
    def hash(self) -> str:
        """The run's name: equal hashes are equal scores of the same answers."""
        return content_hash(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        return {"answers": dict(self.answers), "scores": dict(self.scores)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunSpec:
        return RunSpec(values["answers"], values["scores"])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the parts that differ; of a part that is a mapping, the names within ("labels of darumeru/rcb")."""
    found = []
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            inner = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
            found.append(f"{_said(name)} of {_some(inner)}")
        else:
            found.append(_said(name))
    return found


def _said(name: str) -> str:
    return name.replace("_", " ")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
