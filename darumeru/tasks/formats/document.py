"""Whole texts, scored token by token: how many bits a model needs for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from darumeru.core.errors import UserError
from darumeru.tasks.formats.few_shot import record_ids
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

WINDOW = 2048


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """field: of the record that holds the text. window: most tokens that are scored and seen at once; a longer text is
    scored in windows that overlap by half, each token once. characters: of each text, from its beginning; None for all
    of it."""

    field: str = "text"
    window: int = WINDOW
    characters: int | None = None


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a document, without a conversation around it. target: the text."""
    options = Options(**spec.options)
    if spec.method != "loglikelihood":
        raise UserError("tasks of the format `document` have the method loglikelihood", spec.name)
    if options.window < 16:
        raise UserError(f"`window` must be 16 or more, not {options.window}", spec.name)
    texts = [record.need_text(options.field)[: options.characters] for record in test]
    return [
        Sample(spec.name, name, name, lambda k: (), 0, text, {}, text)
        for name, text in zip(record_ids(test), texts, strict=True)
    ]


FORMAT = RecordFormat(samples, Options)
