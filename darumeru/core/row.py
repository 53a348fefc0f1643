"""A sample in the store, and the same sample joined with what it is scored by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.answer import Answer


@dataclass(frozen=True)
class StoredAnswer:
    """One line of samples/<task>.jsonl: what was asked and what came back, raw (docs/run-format.md).

    task, id: which sample. key: hash over all that the answer depends on. prompt: rendered text; prompt_tokens: its
    length. num_fewshot: examples that fitted. part: number of the request, for samples that need several before their
    own answer; None for a sample's own answer.
    """

    task: str
    id: str
    key: str
    prompt: str
    prompt_tokens: int
    num_fewshot: int
    answer: Answer
    part: int | None = None


@dataclass(frozen=True)
class SampleRow:
    """A sample as it is scored: its stored answer joined with the target and meta of the run's current plan.

    task, id, key, prompt, prompt_tokens, num_fewshot: as stored. cluster: samples of one record share it. target: the
    right answer, as plain JSON. answer: what metrics read, after annotation (thoughts taken off, text parsed). raw: the
    engine's answer. meta: what the metrics need beside target. metrics: value of each metric on this sample alone.
    notes: what annotation found ("still_thinking").
    """

    task: str
    id: str
    cluster: str
    key: str
    prompt: str
    prompt_tokens: int
    target: Any
    answer: Answer
    meta: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_fewshot: int = 0
    raw: Answer = field(default_factory=Answer)
    notes: tuple[str, ...] = ()
