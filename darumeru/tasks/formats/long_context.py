"""LIBRA: a question about a long text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.metrics.long_context import LENGTHS
from darumeru.tasks.formats.few_shot import reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

ASKED = ("4k", "8k", "16k", "32k")


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """template: with {context} and {input}. lengths: of the texts that are asked about."""

    template: str
    lengths: tuple[str, ...] = ASKED


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a record of the lengths that are asked, always without examples. The first ones, that a limit
    takes, come evenly from the whole data set."""
    lengths = spec.options.get("lengths", ASKED)
    asked = [(place, record) for place, record in enumerate(test) if _length(record) in lengths]
    if not asked:
        raise UserError(f"no record has a length of {', '.join(lengths)}", test[0].where)
    result = []
    for place, record in (asked[number] for number in spread(len(asked))):
        answers = record.need("positive_outputs", list)
        if not all(isinstance(answer, str) for answer in answers):
            raise UserError("field `positive_outputs` must list texts", record.where)
        # The input is put in at its own place even where the text holds the mark of it.
        before, mark, after = spec.options["template"].partition("{input}")
        context, question = record.need("context", str), record.need("input", str)
        text = before.replace("{context}", context) + (question if mark else "") + after.replace("{context}", context)
        conversation = reversed_before((), (Message("user", text),))
        target = {"answers": answers, "length": _length(record)}
        result.append(Sample(spec.name, str(place), str(place), conversation, 0, target))
    return result


def spread(n: int) -> list[int]:
    """The numbers below n: every (n + 9) // 10-th from 0, then from 1, and so on."""
    step = max(1, (n + 9) // 10)
    return [number for start in range(step) for number in range(start, n, step)]


def _length(record: Record) -> str:
    length: str = record.need("length", str)
    if length not in LENGTHS:
        raise UserError(f"field `length` is {length!r}, not one of {', '.join(LENGTHS)}", record.where)
    return length


FORMAT = RecordFormat(samples, Options)
