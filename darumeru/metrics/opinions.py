"""Opinions of a text: who thinks well or badly of whom, and in which words (RuOpinionNE).

Tuples are compared as sets of whitespace tokens of the text: a predicted tuple counts by how much of it overlaps with a
right one of the same polarity.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import FloatArray, Statistic

Tokens = frozenset[int | str]
Extent = tuple[int, int]
AUTHOR, NULL = "AUTHOR", "NULL"
POLARITIES = ("POS", "NEG")
LONGEST = 20_000
"""Characters of an answer that are read as a Python literal; its parser takes memory in proportion."""


@dataclass(frozen=True)
class Opinion:
    """Source, target and expressions as extents of characters; source AUTHOR or NULL where it is not in the text."""

    source: Extent | str
    target: Extent
    expressions: tuple[Extent, ...]
    polarity: str


@dataclass(frozen=True)
class OpinionTuple:
    """An opinion as tokens of its text."""

    source: Tokens
    target: Tokens
    expression: Tokens
    polarity: str


def parsed(answer: str, mended: bool) -> list[Any]:
    """The list that an answer is, as JSON or as a Python literal; nothing of it is ever run. mended: a fence may have
    any name and spaces around it."""
    text = answer
    if mended:
        text = re.sub(r"^\s*```\w*\s*\n|\n?```\s*$", "", text)
    elif text.startswith("```json") and text.endswith("```"):
        text = text[len("```json") : -len("```")]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text.strip())
    if isinstance(found, dict):
        return [found]
    return found if isinstance(found, list) else []


def _literal(text: str) -> Any:
    if len(text) > LONGEST:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def kept(items: Sequence[Any], text: str, with_expression: bool, mended: bool) -> list[Opinion]:
    """The items that are opinions on this text, in order. Without mending, an item that is no object spoils the
    answer, as it ends the authors' program."""
    if not mended and not all(isinstance(item, dict | str) for item in items):
        return []
    opinions: list[Opinion] = []
    for item in items:
        opinion = _opinion(item, text, with_expression) if isinstance(item, dict) else None
        if opinion and not any(_same(opinion, other) for other in opinions):
            opinions.append(opinion)
    return opinions


def _opinion(item: Mapping[str, Any], text: str, with_expression: bool) -> Opinion | None:
    source, target, polarity = item.get("Source"), item.get("Target"), item.get("Polarity")
    said = item.get("Expression") if with_expression else []
    said = [said] if isinstance(said, str) else said
    if not isinstance(source, str) or not isinstance(target, str) or polarity not in POLARITIES:
        return None
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        return None
    where = source if source in (AUTHOR, NULL) else found(source, text)
    extents = [found(one, text) for one in (target, *said)]
    if where is None or None in extents:
        return None
    first, *others = [extent for extent in extents if extent is not None]
    return Opinion(where, first, tuple(others), str(polarity))


def found(part: str, text: str) -> Extent | None:
    """Where a text is first found in another, letter for letter or else whatever the case."""
    place = text.find(part)
    if place < 0:
        place = text.lower().find(part.lower())
    return (place, place + len(part)) if place >= 0 else None


def _same(one: Opinion, other: Opinion) -> bool:
    """Whether both say the same of the same, in words that overlap or are none."""
    if (one.source, one.target, one.polarity) != (other.source, other.target, other.polarity):
        return False
    if one.expressions == other.expressions:
        return True
    return any(a[0] < b[1] and b[0] < a[1] for a in one.expressions for b in other.expressions)


def as_tuple(opinion: Opinion, text: str) -> OpinionTuple:
    """The opinion as tokens; source NULL is the token "_"."""
    source: Tokens
    if isinstance(opinion.source, str):
        source = frozenset(["_" if opinion.source == NULL else AUTHOR])
    else:
        source = _tokens([opinion.source], text)
    expression = _tokens(opinion.expressions, text)
    return OpinionTuple(source, _tokens([opinion.target], text), expression, opinion.polarity)


def _tokens(extents: Sequence[Extent], text: str) -> Tokens:
    return frozenset(
        number
        for number, token in enumerate(re.finditer(r"\S+", text))
        if any(token.start() < end and begin < token.end() for begin, end in extents)
    )


def weight(one: OpinionTuple, others: Sequence[OpinionTuple], with_expression: bool) -> float:
    """How much of a tuple is in the best of the others; 0 when none of its polarity shares a token in every part."""
    parts = [(one.source, "source"), (one.target, "target")]
    if with_expression:
        parts.append((one.expression, "expression"))
    if not any(
        other.polarity == one.polarity and all(own & getattr(other, name) for own, name in parts) for other in others
    ):
        return 0.0
    return max(float(np.mean([len(own & getattr(other, name)) / len(own) for own, name in parts])) for other in others)


@lru_cache(maxsize=4096)
def _sums(answer: str, target: str) -> tuple[float, float, float, float]:
    """(weights of predicted tuples, their number, weights of right ones, their number)."""
    given = json.loads(target)
    text, expression, mended = given["text"], given["expression"], given["mended"]
    said = [as_tuple(one, text) for one in kept(parsed(answer, mended), text, expression, mended)]
    right = [
        as_tuple(
            Opinion(_extent(one["source"]), tuple(one["target"]), _extents(one["expressions"]), one["polarity"]), text
        )
        for one in given["opinions"]
    ]
    if not expression:
        said, right = list(dict.fromkeys(said)), list(dict.fromkeys(right))
    return (
        sum(weight(one, right, expression) for one in said),
        len(said),
        sum(weight(one, said, expression) for one in right),
        len(right),
    )


def _extent(value: Any) -> Extent | str:
    return value if isinstance(value, str) else (int(value[0]), int(value[1]))


def _extents(values: Sequence[Any]) -> tuple[Extent, ...]:
    return tuple((int(begin), int(end)) for begin, end in values)


def sums(row: SampleRow) -> tuple[float, float, float, float]:
    """What F1 is made of for one sample; its target is what formats/opinions.py makes."""
    return _sums(row.answer.text or "", json.dumps(row.target, sort_keys=True))


def f1_of_sums(values: FloatArray) -> FloatArray:
    """F1 of [..., 4] sums: weights and number of predicted tuples, weights and number of right ones; 0 without any."""
    said, predicted, recalled, right = np.moveaxis(np.asarray(values, dtype=np.float64), -1, 0)
    precision = np.where(predicted > 0, said / np.where(predicted > 0, predicted, 1), 0)
    recall = np.where(right > 0, recalled / np.where(right > 0, right, 1), 0)
    total = precision + recall
    result: FloatArray = np.asarray(np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0))
    return result


@dataclass(frozen=True)
class OpinionF1:
    """A sample's value is the F1 of its own tuples; where it has none, 1 for an answer that has none either."""

    name: str = "opinion_f1"
    description: str = "F1 of opinion tuples weighted by shared tokens, once for the whole set (RuOpinionNE)"
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        own = sums(row)
        return {self.name: float(f1_of_sums(np.array(own))) if own[1] or own[3] else 1.0}

    def unparsed(self, row: SampleRow) -> bool:
        """Whether nothing is said, not even that there are no opinions."""
        return not parsed(row.answer.text or "", True) and "[]" not in (row.answer.text or "").replace(" ", "")

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        values = np.array([sums(row) for row in clusters.rows], dtype=np.float64).reshape(-1, 4)
        return Statistic(clusters.ids, clusters.sums(values), f1_of_sums)

    def most(self, row: SampleRow) -> float:
        return 1.0


OPINION_F1 = OpinionF1()
