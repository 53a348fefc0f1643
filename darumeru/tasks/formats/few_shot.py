"""What all record formats share: roles, rendered few-shot examples, unique ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.template import fill

ROLES = {"user": "user", "bot": "assistant", "assistant": "assistant", "system": "system"}


def rendered_messages(record: Record) -> Conversation:
    """The record's messages with its inputs filled in; "bot" becomes "assistant"."""
    inputs = record.need("inputs", dict)
    messages = []
    for number, message in enumerate(record.need("messages", list)):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise UserError(f"field `messages[{number}].content` is missing", record.where)
        role = message.get("role")
        if role not in ROLES:
            raise UserError(f"field `messages[{number}].role` is {role!r}, not one of {', '.join(ROLES)}", record.where)
        messages.append(Message(ROLES[role], fill(message["content"], inputs, record.where)))
    if not messages:
        raise UserError("field `messages` is empty", record.where)
    return tuple(messages)


def chosen_shots(spec: TaskSpec, shots: Sequence[Record], wanted: int) -> list[Record]:
    """The few-shot records [first_shot : first_shot + k], k = min(wanted, all there are)."""
    if not spec.few_shot:
        return []
    start = spec.first_shot if spec.first_shot < len(shots) else 0
    return list(shots[start : start + min(wanted, len(shots))])


def reversed_before(shots: Sequence[Conversation], query: Conversation) -> Callable[[int], Conversation]:
    """conversation(k): shot k-1 first, shot 0 directly before the query (the order of the published program)."""

    def conversation(k: int) -> Conversation:
        return tuple(message for shot in reversed(shots[:k]) for message in shot) + query

    return conversation


def record_ids(records: Sequence[Record]) -> list[str]:
    """meta.id (or id) of every record when they are all there and differ, otherwise the position."""
    found: list[Any] = []
    for record in records:
        meta = record.values.get("meta")
        found.append(meta.get("id") if isinstance(meta, dict) else record.values.get("id"))
    names = [str(value) for value in found]
    if None in found or len(set(names)) != len(names):
        return [str(position) for position in range(len(records))]
    return names
