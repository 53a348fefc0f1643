"""Problems of mathematics and physics with one right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.message import Message
from darumeru.tasks.formats.few_shot import record_ids, reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """question, answer: fields of the record. system: the system message. instruction: with {task}."""

    question: str
    answer: str
    system: str
    instruction: str


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a problem, always without examples."""
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        task = record.need_text(spec.options["question"]).strip()
        answer = str(record.need(spec.options["answer"], str, int, float))
        query = (
            Message("system", spec.options["system"]),
            Message("user", spec.options["instruction"].replace("{task}", task)),
        )
        result.append(Sample(spec.name, name, name, reversed_before((), query), 0, answer))
    return result


FORMAT = RecordFormat(samples, Options)
