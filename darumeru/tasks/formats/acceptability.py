"""RuCoLA: is a sentence acceptable Russian?"""

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
from darumeru.tasks.template import fill


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """instruction: with {sentence}. answer: opens the assistant message."""

    instruction: str
    answer: str


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a sentence."""
    examples = [_messages(spec, record, record_label(record)) for record in chosen_shots(spec, shots, wanted)]
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        conversation = reversed_before(examples, _messages(spec, record, None))
        meta = {key: record.values.get(key) for key in ("error_type", "detailed_source")}
        result.append(Sample(spec.name, name, name, conversation, len(examples), record_label(record), meta))
    return result


def record_label(record: Record) -> str:
    """The label as "0" or "1"."""
    label = str(record.need("label", int, str))
    if label not in ("0", "1"):
        raise UserError(f"field `label` is {label!r}, not 0 or 1", record.where)
    return label


def _messages(spec: TaskSpec, record: Record, label: str | None) -> Conversation:
    text = fill(spec.options["instruction"], {"sentence": record.need("sentence", str)}, record.where)
    answer: str = spec.options["answer"]
    completed = answer if label is None else f"{answer.rstrip()} {label}"
    return (Message("user", text), Message("assistant", completed))


FORMAT = RecordFormat(samples, Options)
