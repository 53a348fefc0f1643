"""One line of the store: a sample, what was asked, what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.answer import Answer


@dataclass(frozen=True)
class SampleRow:
    """A stored sample. The field names are those of samples/<task>.jsonl (docs/run-format.md).

    task, id: which sample. cluster: samples of one record share it. fingerprint: key of the request. prompt: rendered
    text; prompt_tokens: its length. target: the right answer, as plain JSON. answer: the engine's answer. meta: what
    the metrics need beside target (record meta, reference lengths). metrics: value of each metric on this sample alone.
    """

    task: str
    id: str
    cluster: str
    fingerprint: str
    prompt: str
    prompt_tokens: int
    target: Any
    answer: Answer
    meta: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_fewshot: int = 0
