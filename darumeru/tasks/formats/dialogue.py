"""ruTiE: a dialogue of questions with two answers each, earlier turns given with their right answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import ROLES
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec
from darumeru.tasks.template import fill


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """both_orders: whether each question is asked with its answers exchanged too."""

    both_orders: bool = True


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """Two samples a question (both orders of its answers). conversation(k) gives the last k turns as context."""
    dialogues: dict[str, list[Record]] = defaultdict(list)
    for record in test:
        dialogues[str(record.need("meta.dialog_id"))].append(record)
    result = []
    for dialogue, records in dialogues.items():
        records.sort(key=lambda record: int(record.need("meta.question_id", int)))
        turns = [_turn(spec, record) for record in records]
        for position, record in enumerate(records):
            name = f"{dialogue}-{record.need('meta.question_id', int)}"
            target = _target(spec, record)
            meta = {**record.need("meta", dict), "order": "given"}
            given = Sample(
                spec.name, name, name, _conversation(record, turns[:position], False), position, target, meta
            )
            result.append(given)
            if spec.options.get("both_orders", True):
                swapped = _conversation(record, turns[:position], True)
                other = spec.choices[1 - spec.choices.index(target)]
                result.append(
                    replace(
                        given,
                        id=f"{name}-swapped",
                        conversation=swapped,
                        target=other,
                        meta={**meta, "order": "swapped"},
                    )
                )
    return result


def _target(spec: TaskSpec, record: Record) -> str:
    target: str = record.need("outputs", str)
    if target not in spec.choices:
        raise UserError(f"field `outputs` is {target!r}, not one of {', '.join(spec.choices)}", record.where)
    return target


def _turn(spec: TaskSpec, record: Record) -> str:
    question, first, second = (record.need(f"inputs.{name}", str) for name in ("question", "choice1", "choice2"))
    return f"{question}\n1. {first}\n2. {second}\nОтвет: {_target(spec, record)}"


def _conversation(record: Record, turns: Sequence[str], swapped: bool) -> Callable[[int], Conversation]:
    inputs = dict(record.need("inputs", dict))
    if swapped:
        inputs["choice1"], inputs["choice2"] = inputs["choice2"], inputs["choice1"]
    messages = record.need("messages", list)

    def conversation(k: int) -> Conversation:
        values = inputs | {"context": "\n".join(turns[len(turns) - k :])}
        return tuple(
            Message(ROLES.get(message["role"], "user"), fill(message["content"], values, record.where))
            for message in messages
        )

    return conversation


FORMAT = RecordFormat(samples, Options)
