"""Two answers to a question, one of which people preferred (habr_qa_sbs)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """instruction: with {question} and {answers}. label: with {letter}, over each answer. answer: opens the assistant
    message. first_test: rows before it are examples; in a smaller data set the first quarter of the rows."""

    instruction: str
    label: str
    answer: str
    first_test: int


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a question. The order of its answers follows from the name of the task and the row."""
    first = spec.options["first_test"] if len(test) > spec.options["first_test"] else len(test) // 4
    chosen = range(spec.first_shot, min(spec.first_shot + wanted, first)) if spec.few_shot else range(0)
    examples = [_messages(spec, test[row], row, complete=True) for row in chosen]
    result = []
    for row in range(first, len(test)):
        conversation = reversed_before(examples, _messages(spec, test[row], row, complete=False))
        target = spec.choices[_place_of_best(spec, row)]
        result.append(Sample(spec.name, str(row), str(row), conversation, len(examples), target))
    return result


def _place_of_best(spec: TaskSpec, row: int) -> int:
    return int(np.random.default_rng((zlib.crc32(spec.name.encode()), row)).integers(2))


def _messages(spec: TaskSpec, record: Record, row: int, complete: bool) -> Conversation:
    place = _place_of_best(spec, row)
    texts = [record.need_text("bad"), record.need_text("bad")]
    texts[place] = record.need_text("best")
    labels = [spec.options["label"].replace("{letter}", letter) for letter in spec.choices]
    answers = "\n\n".join(f"{label}\n{text}" for label, text in zip(labels, texts, strict=True))
    before, _, after = spec.options["instruction"].partition("{answers}")
    user = before.replace("{question}", record.need_text("question")) + answers + after
    right = spec.choices[place] if complete else ""
    return (Message("user", user), Message("assistant", spec.options["answer"] + right))


FORMAT = RecordFormat(samples, Options)
