"""FLORES: one parallel record, one direction a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import ROLES, chosen_shots, record_ids, reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.template import fill

FROM = {"ru": "русского", "en": "английского"}
INTO = {"ru": "русский", "en": "английский"}


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """direction: from which language into which."""

    direction: tuple[Literal["ru", "en"], Literal["ru", "en"]]


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a sentence pair."""
    into = spec.options["direction"][1]
    examples = [_messages(spec, record, complete=True) for record in chosen_shots(spec, shots, wanted)]
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        right = record.need_text(f"inputs.{into}")
        conversation = reversed_before(examples, _messages(spec, record, complete=False))
        result.append(Sample(spec.name, name, name, conversation, len(examples), right))
    return result


def _messages(spec: TaskSpec, record: Record, complete: bool) -> Conversation:
    source, target = spec.options["direction"]
    text, translation = record.need(f"inputs.{source}", str), record.need(f"inputs.{target}", str)
    values = {"input": FROM[source], "output": INTO[target], "input_text": text}
    messages = []
    for message in record.need("messages", list):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise UserError("field `messages` must list objects with role and content", record.where)
        messages.append(Message(ROLES[message["role"]], fill(str(message.get("content", "")), values, record.where)))
    if not complete:
        return tuple(messages)
    if messages[-1].role != "assistant":
        return (*messages, Message("assistant", translation))
    opened = messages[-1].content.rstrip()
    return (*messages[:-1], Message("assistant", f"{opened} {translation}" if opened else translation))


FORMAT = RecordFormat(samples, Options)
