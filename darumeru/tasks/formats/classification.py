"""A text and its class, given as a number."""

from __future__ import annotations

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
    """instruction: with {text}. answer: opens the assistant message. text, label: fields of the record; label 0 is the
    first of the task's choices."""

    instruction: str
    answer: str
    text: str = "text"
    label: str = "label"


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a text."""
    examples = [_messages(spec, record, _label(spec, record)) for record in chosen_shots(spec, shots, wanted)]
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        conversation = reversed_before(examples, _messages(spec, record, ""))
        result.append(Sample(spec.name, name, name, conversation, len(examples), _label(spec, record)))
    return result


def _label(spec: TaskSpec, record: Record) -> str:
    name = spec.options.get("label", "label")
    label: int = record.need(name, int)
    if not 0 <= label < len(spec.choices):
        raise UserError(f"field `{name}` is {label}, not 0 to {len(spec.choices) - 1}", record.where)
    return spec.choices[label]


def _messages(spec: TaskSpec, record: Record, label: str) -> Conversation:
    text = record.need_text(spec.options.get("text", "text"))
    user = spec.options["instruction"].replace("{text}", text)
    return (Message("user", user), Message("assistant", spec.options["answer"] + label))


FORMAT = RecordFormat(samples, Options)
