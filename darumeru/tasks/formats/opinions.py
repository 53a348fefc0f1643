"""RuOpinionNE: a text and the opinions in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.message import Message
from darumeru.metrics.opinions import AUTHOR, NULL, POLARITIES
from darumeru.tasks.formats.protocol import FormatOptions, RecordFormat
from darumeru.tasks.record import Record
from darumeru.tasks.sample import Conversation, Sample
from darumeru.tasks.spec import TaskSpec

OF_EACH_TYPE = 5


@dataclass(frozen=True, kw_only=True)
class Options(FormatOptions):
    """instruction: with {text}, on the first message. short: with {text}, on those that follow examples. expression:
    whether the words of an opinion are asked for. mended: whether without the published program's defects."""

    instruction: str
    short: str
    expression: bool
    mended: bool = False


def samples(spec: TaskSpec, test: Sequence[Record], shots: Sequence[Record], wanted: int) -> list[Sample]:
    """One sample a record. Examples are the first five records of each type, in turn; they are never asked."""
    taken = _examples(test, spec.options.get("mended", False))
    examples = [
        (_query(spec, test[place], first=not number), Message("assistant", right_answer(spec, test[place])))
        for number, place in enumerate(taken[:wanted] if spec.few_shot else ())
    ]
    asked = sorted(set(range(len(test))) - set(taken))
    if not asked:
        raise UserError("all records are examples: more of them are needed", test[0].where)
    return [
        Sample(
            spec.name, str(place), str(place), _conversation(spec, examples, test[place]), len(examples),
            _target(spec, test[place]),
        )
        for place in asked
    ]  # fmt: skip


def _conversation(
    spec: TaskSpec, examples: Sequence[tuple[Message, Message]], record: Record
) -> Callable[[int], Conversation]:
    def conversation(k: int) -> Conversation:
        # The published program asks with the short text even where no example fits: a request without instruction.
        short = k > 0 or (bool(examples) and not spec.options.get("mended", False))
        return (*(message for shot in examples[:k] for message in shot), _query(spec, record, first=not short))

    return conversation


def _query(spec: TaskSpec, record: Record, first: bool) -> Message:
    text = spec.options["instruction" if first else "short"]
    return Message("user", text.replace("{text}", record.need_text("text")))


def _examples(records: Sequence[Record], mended: bool) -> list[int]:
    """Places of the examples: the first five of each type, one of each type in turn, types in order of appearance."""
    types: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        types.setdefault(_type(opinions(record)), []).append(place)
    firsts = [places[:OF_EACH_TYPE] for places in types.values()]
    return [places[turn] for turn in range(OF_EACH_TYPE) for places in firsts if turn < len(places)]


def _type(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "empty"
    if len(found) > 1:
        return "multi"
    if found[0]["source"] == NULL:
        return "src_null"
    if found[0]["source"] == AUTHOR:
        return "src_author"
    return "multi_expr" if len(found[0]["expressions"]) > 1 else "default"


def opinions(record: Record) -> list[dict[str, Any]]:
    """The opinions of a record: parts as texts and as extents of characters, equal ones once."""
    found: list[dict[str, Any]] = []
    for one in record.need("opinions", list):
        try:
            opinion = _read(one)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError("field `opinions` must list objects as RuOpinionNE has them", record.where) from error
        if opinion not in found:
            found.append(opinion)
    return found


def _read(one: Mapping[str, Any]) -> dict[str, Any]:
    (source,), (where,) = one["Source"]
    (target,), (place,) = one["Target"]
    texts, places = one["Polar_expression"]
    if one["Polarity"] not in POLARITIES:
        raise ValueError
    return {
        "source": source if source in (AUTHOR, NULL) else _extent(where),
        "target": _extent(place),
        "expressions": [_extent(each) for each in places],
        "polarity": one["Polarity"],
        "texts": [source, target, list(texts)],
    }


def _extent(text: str) -> list[int]:
    begin, end = text.split(":")
    return [int(begin), int(end)]


def right_answer(spec: TaskSpec, record: Record) -> str:
    """The right answer of an example: a JSON list."""
    items = []
    for one in opinions(record):
        source, target, texts = one["texts"]
        item = {"Source": source, "Target": target, "Polarity": one["polarity"]}
        items.append({**item, "Expression": texts} if spec.options["expression"] else item)
    return json.dumps(items, ensure_ascii=False, indent=4)


def _target(spec: TaskSpec, record: Record) -> dict[str, Any]:
    return {
        "text": record.need_text("text"),
        "expression": spec.options["expression"],
        "mended": spec.options.get("mended", False),
        "opinions": [{key: value for key, value in one.items() if key != "texts"} for one in opinions(record)],
    }


FORMAT = RecordFormat(samples, Options)
