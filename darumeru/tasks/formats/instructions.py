"""IFEval: requests with instructions that a program can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.metrics.instructions.checks import CHECKS
from darumeru.tasks.formats.few_shot import reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """rules: by which the instructions are checked. mended: whether without the known defects of the published Russian
    rules."""

    rules: Literal["ru", "en"]
    mended: bool = False


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a request, always without examples."""
    result = []
    for position, record in enumerate(test):
        conversation = reversed_before((), (Message("user", record.need_text("prompt")),))
        target = {
            "language": spec.options["rules"],
            "mended": spec.options.get("mended", False),
            "instructions": _instructions(record),
        }
        name = f"{position}-{record.need('key', int, str)}"
        result.append(Sample(spec.name, name, name, conversation, 0, target))
    return result


def _instructions(record: Record) -> list[dict[str, Any]]:
    names, values = record.need("instruction_id_list", list), record.need("kwargs", list)
    if not names or len(names) != len(values):
        raise UserError("fields `instruction_id_list` and `kwargs` must be equally long and not empty", record.where)
    for name, given in zip(names, values, strict=True):
        if name not in CHECKS:
            raise UserError(f"field `instruction_id_list` holds an unknown instruction {name!r}", record.where)
        if not isinstance(given, dict):
            raise UserError("field `kwargs` must list objects", record.where)
    return [
        {"id": name, "kwargs": {key: value for key, value in given.items() if value is not None}}
        for name, given in zip(names, values, strict=True)
    ]


FORMAT = RecordFormat(samples, Options)
