"""Records of the data sets with named entities, each as texts with entities."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.errors import UserError
from darumeru.metrics.entity_readers import TOKEN
from darumeru.tasks.record import Record

_NEREL = re.compile(r"\S+\s+(\w+)\s+(\d+ \d+(?:;\d+ \d+)*)\s(.*)", re.DOTALL)
_SHORTEST_LINE = 6
_COLLECTION3 = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
_CLOSE = frozenset([".", ",", "!", "?", ":", ";", "»", ")", "..."])
_OPEN = frozenset(["«", "("])


@dataclass(frozen=True)
class Span:
    """An entity: class, text, and where it stands: characters of a text or, where there are tokens, tokens."""

    name: str
    text: str
    begin: int
    end: int


@dataclass(frozen=True)
class Marked:
    """A text with its entities. tokens: of data sets that come as tokens, () for others."""

    text: str
    spans: tuple[Span, ...]
    tokens: tuple[str, ...] = ()


def nerel(record: Record, mended: bool) -> Iterator[Marked]:
    """A text and lines "T1 CLASS begin end[;begin end ..] surface"; one Marked a line of the text."""
    spans = []
    for entity in record.need("entities", list):
        match = _NEREL.fullmatch(entity) if isinstance(entity, str) else None
        if match is None:
            raise UserError(f"field `entities` holds {entity!r}, not `T1 CLASS begin end text`", record.where)
        pairs = [piece.split(" ") for piece in match[2].split(";")]
        spans += [Span(match[1], match[3], int(begin), int(end)) for begin, end in pairs]
    yield from _lines(record.need_text("text"), sorted(spans, key=lambda span: (span.begin, -span.end)))


def nerel_bio(record: Record, mended: bool) -> Iterator[Marked]:
    """A text and four parallel lists; one Marked a line of the text."""
    lists = [record.need(f"span_entity_{name}", list) for name in ("types", "surface", "start_chars", "end_chars")]
    if len({len(each) for each in lists}) > 1:
        raise UserError("the lists `span_entity_..` must be equally long", record.where)
    spans = [Span(str(name), str(text), int(begin), int(end)) for name, text, begin, end in zip(*lists, strict=True)]
    yield from _lines(record.need_text("text"), sorted(spans, key=lambda span: span.begin))


def _lines(text: str, spans: Sequence[Span]) -> Iterator[Marked]:
    """Each line of more than five characters that has an entity; an entity belongs to the line of its begin."""
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        own = [
            Span(one.name, one.text, one.begin - start, one.end - start) for one in spans if start <= one.begin <= end
        ]
        if own and len(line) >= _SHORTEST_LINE:
            yield Marked(line, tuple(own))
        start = end + 1


def patient_queries(record: Record, mended: bool) -> Iterator[Marked]:
    """A query and the tags of its tokens, joined by commas; queries with square brackets are left out. Tokens
    beyond the last tag have none."""
    query = record.need_text("query")
    if "[" in query or "]" in query:
        return
    tokens = TOKEN.findall(query)
    given = [*record.need("merged_ner", str).split(","), *["O"] * len(tokens)][: len(tokens)]
    tags: list[str] = []
    for tag in given:
        kind, _, name = tag.strip().partition("-")
        inside = bool(tags) and tags[-1].partition("-")[2] == name
        tags.append(f"{'I' if inside else 'B'}-{name}" if kind in ("B", "I") else "O")
    yield _tagged(joined(tokens), tokens, tags, mended)


def collection3(record: Record, mended: bool) -> Iterator[Marked]:
    """Tokens and numbers of tags. A record in which an I- does not go on with its class is left out, and square
    brackets are taken out (unless mended, of two in a row one stays, as published)."""
    numbers = record.need("ner_tags", list)
    tokens = [str(token) for token in record.need("tokens", list)]
    if len(numbers) != len(tokens) or not all(type(one) is int and 0 <= one < len(_COLLECTION3) for one in numbers):
        raise UserError("field `ner_tags` must hold a number from 0 to 6 for each of `tokens`", record.where)
    tags = [_COLLECTION3[number] for number in numbers]
    for before, tag in zip(["O", *tags], tags, strict=False):
        if tag[0] == "I" and before[2:] != tag[2:]:
            return
    place = 0
    while place < len(tokens):
        if tokens[place] in "[]":
            del tokens[place], tags[place]
            place -= 1 if mended else 0
        place += 1
    yield _tagged(joined(tokens), tokens, tags, mended)


def personal_data(record: Record, mended: bool) -> Iterator[Marked]:
    """A text with its tokens and tags, both as JSON texts."""
    try:
        tokens, tags = (list(map(str, json.loads(record.need(name, str)))) for name in ("tokens", "ner_tags"))
    except (ValueError, TypeError) as error:
        raise UserError("fields `tokens` and `ner_tags` must be lists as JSON texts", record.where) from error
    if len(tokens) != len(tags):
        raise UserError("fields `tokens` and `ner_tags` must be equally long", record.where)
    yield _tagged(record.need_text("text"), tokens, tags, mended)


LAYOUTS: Mapping[str, Callable[[Record, bool], Iterator[Marked]]] = {
    "nerel": nerel,
    "nerel_bio": nerel_bio,
    "patient_queries": patient_queries,
    "collection3": collection3,
    "personal_data": personal_data,
}


def joined(tokens: Sequence[str]) -> str:
    """Tokens as a text: no space before closing signs and after opening ones."""
    parts: list[str] = []
    for place, token in enumerate(tokens):
        if place and token not in _CLOSE and tokens[place - 1] not in _OPEN:
            parts.append(" ")
        parts.append(token)
    return "".join(parts)


def _tagged(text: str, tokens: Sequence[str], tags: Sequence[str], mended: bool) -> Marked:
    """Entities of B- and I- tags. Their texts are their tokens joined by spaces, as published, or, mended, as they
    stand in the text."""
    spans: list[list[Any]] = []
    for place, tag in enumerate(tags):
        kind, _, name = tag.partition("-")
        if kind == "B":
            spans.append([name, place, place + 1])
        elif kind == "I" and spans and spans[-1][0] == name and spans[-1][2] == place:
            spans[-1][2] = place + 1
    write = joined if mended else " ".join
    made = tuple(Span(name, write(tokens[begin:end]), begin, end) for name, begin, end in spans)
    return Marked(text, made, tuple(tokens))
