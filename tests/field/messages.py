"""Prompts of the authors' functions (parity/messages.jsonl), and the same from a task of ours with their texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from darumeru.core.message import Message
from darumeru.tasks.formats import sample_maker
from darumeru.tasks.published import FOLDER
from darumeru.tasks.record import Record
from darumeru.tasks.registry import load_registry
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec
from tests.shared_data import json_lines, shared


def authors_prompts(task: str) -> list[dict[str, Any]]:
    return [one for one in json_lines(shared("field", "parity", "messages.jsonl")) if one["task"] == task]


def exact(monkeypatch: pytest.MonkeyPatch, name: str) -> TaskSpec:
    """The task in profile llmtf-head with the authors' texts."""
    monkeypatch.setenv(FOLDER, str(shared("field", "prompts")))
    return load_registry("llmtf-head").select([name])[0]


def samples(spec: TaskSpec, test: Sequence[Mapping[str, Any]], shots: Sequence[Mapping[str, Any]] = ()) -> list[Sample]:
    test_records = [Record(one, f"test:{number}") for number, one in enumerate(test)]
    shot_records = [Record(one, f"shots:{number}") for number, one in enumerate(shots)]
    return sample_maker(spec.format)(spec, test_records, shot_records, len(shots))


def said(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False))
