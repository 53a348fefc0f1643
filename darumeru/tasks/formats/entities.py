"""Named entities: a text, the instruction that asks for its entities, and the right answer in one of three forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.tasks.formats.entity_records import LAYOUTS, Marked, Span, joined
from darumeru.tasks.formats.few_shot import reversed_before
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec

_WITH_TOKENS = ("patient_queries", "collection3", "personal_data")


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """layout: of the records. form: of the answer, "lines" (CLASS: [a, b]), "json" (lists of class and text) or "marks"
    (the text with <CLASS>..</CLASS>). classes: all that are scored. instruction: with {text}. mended: whether answers
    are read without the known defects of the published program."""

    layout: Literal["nerel", "nerel_bio", "patient_queries", "collection3", "personal_data"]
    form: Literal["lines", "json", "marks"]
    classes: tuple[str, ...]
    instruction: str
    mended: bool = False


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a text; a record of several lines holds several."""
    examples = [
        (*_query(spec, marked), Message("assistant", right_answer(spec, marked)))
        for record in (shots if spec.few_shot and wanted else ())
        for marked in _marked(spec, record)
    ][spec.first_shot : spec.first_shot + wanted]
    result = []
    for position, record in enumerate(test):
        for number, marked in enumerate(_marked(spec, record)):
            name = f"{position}-{number}"
            conversation = reversed_before(examples, _query(spec, marked))
            target = _target(spec, marked)
            result.append(Sample(spec.name, name, str(position), conversation, len(examples), target))
    if not result:
        raise UserError("no record holds a text with entities", test[0].where if test else spec.name)
    return result


def _marked(spec: TaskSpec, record: Record) -> list[Marked]:
    return list(LAYOUTS[spec.options["layout"]](record, spec.options.get("mended", False)))


def _query(spec: TaskSpec, marked: Marked) -> Conversation:
    return (Message("user", spec.options["instruction"].replace("{text}", marked.text)),)


def _target(spec: TaskSpec, marked: Marked) -> dict[str, Any]:
    classes = list(spec.options["classes"])
    return {
        "form": spec.options["form"],
        "classes": classes,
        "mended": spec.options.get("mended", False),
        "nested": spec.options["layout"] not in _WITH_TOKENS,
        "text": marked.text,
        "tokens": list(marked.tokens),
        "entities": [[span.name, span.text] for span in marked.spans if span.name in classes],
    }


def right_answer(spec: TaskSpec, marked: Marked) -> str:
    """The right answer of an example."""
    classes = spec.options["classes"]
    spans = [span for span in marked.spans if span.name in classes]
    if spec.options["form"] == "json":
        items = json.dumps([[span.name, span.text] for span in spans], ensure_ascii=False, indent=4)
        return f"```json\n{items}\n```"
    if spec.options["form"] == "lines":
        texts = {name: ", ".join(span.text for span in spans if span.name == name) for name in classes}
        return "".join(f"{name}: [{text}]\n" for name, text in texts.items())
    if marked.tokens:
        return _marked_tokens(spans, marked.tokens)
    # The published program forgets what follows the last entity.
    text = marked.text if spec.options.get("mended") else marked.text[: max((one.end for one in spans), default=0)]
    return _marked_text(spans, text)


def _marked_tokens(spans: Sequence[Span], tokens: Sequence[str]) -> str:
    """Tokens joined as a text, each entity between its marks."""
    units: list[str] = []
    shown: dict[str, str] = {}
    place = 0
    starts = {span.begin: span for span in spans}
    while place < len(tokens):
        span = starts.get(place)
        if span is None:
            units.append(tokens[place])
            place += 1
            continue
        # A stand-in that is spaced as any word, since marks are signs themselves.
        stand_in = f"\0{len(shown)}\0"
        shown[stand_in] = f"<{span.name}>{span.text}</{span.name}>"
        units.append(stand_in)
        place = span.end
    text = joined(units)
    for stand_in, marks in shown.items():
        text = text.replace(stand_in, marks)
    return text


def _marked_text(spans: Sequence[Span], text: str) -> str:
    """The text with a mark before and after each entity, inner ones within outer ones where spans do not cross."""
    opening: dict[int, list[str]] = {}
    closing: dict[int, list[str]] = {}
    for span in spans:
        opening.setdefault(span.begin, []).append(f"<{span.name}>")
        closing.setdefault(span.end, []).insert(0, f"</{span.name}>")
    parts = []
    for place in range(len(text) + 1):
        parts += closing.get(place, [])
        parts += opening.get(place, [])
        parts.append(text[place : place + 1])
    return "".join(parts)


FORMAT = RecordFormat(samples, Options)
