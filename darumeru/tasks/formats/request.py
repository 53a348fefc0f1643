"""Free requests, which have no one right answer: a judge scores what is answered."""

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
    """request: field of the record."""

    request: str = "instruction"


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a request, always without examples."""
    result = []
    for name, record in zip(record_ids(test), test, strict=True):
        text = record.need_text(spec.options.get("request", "instruction"))
        query = reversed_before((), (Message("user", text),))
        result.append(Sample(spec.name, name, name, query, 0, None, {"question": text}))
    return result


FORMAT = RecordFormat(samples, Options)
