"""Retrieval-augmented answers: a question, what a search found, and all answers that are right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import chosen_shots, record_ids, reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """instruction: with {question} and {segments}. segment: the line over each segment, with {number}. nothing: stands
    for the segments where the search found none."""

    instruction: str
    segment: str
    nothing: str


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a question."""
    examples = [
        (*_query(spec, record), Message("assistant", _answers(record)[0]))
        for record in chosen_shots(spec, shots, wanted)
    ]
    return [
        Sample(
            spec.name, name, name, reversed_before(examples, _query(spec, record)), len(examples), _answers(record),
            {"question": record.need_text("question").strip()},
        )
        for name, record in zip(record_ids(test), test, strict=True)
    ]  # fmt: skip


def _answers(record: Record) -> list[str]:
    answers = record.need("answers", list)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise UserError("field `answers` must list texts", record.where)
    return list(answers)


def _query(spec: TaskSpec, record: Record) -> Conversation:
    found = record.need("context", list)
    if not all(isinstance(one, dict) and isinstance(one.get("chunk"), str) for one in found):
        raise UserError("field `context` must list objects with `chunk`", record.where)
    parts = [
        f"{spec.options['segment'].replace('{number}', str(number))}\n{one['chunk']}"
        for number, one in enumerate(found, 1)
    ]
    values = {
        "question": record.need_text("question").strip(),
        "segments": "\n\n".join(parts).strip() or spec.options["nothing"],
    }
    text = re.sub(r"\{(question|segments)\}", lambda match: values[match[1]], spec.options["instruction"])
    return (Message("user", text),)


FORMAT = RecordFormat(samples, Options)
