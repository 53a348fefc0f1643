"""The one value behind every board: cells with numbers, intervals and marks. Renderers turn it into text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from darumeru.leaderboard.note import Note


class Mark(Enum):
    """What a reader has to know of a cell or a row beside its number.

    BEST: highest of the ranked rows of its column. TIED: not distinguishable from the best (paired interval of the
    difference holds 0). PARTIAL: not every expected sample is answered, or not every task is there. LIMITED: a subset
    was asked (--limit). FAILED: no number, the reason says why. PUBLISHED: taken from a publication, not computed from
    stored answers. DIFFERS: made under other settings than the rest of the board.
    """

    BEST = "best"
    TIED = "tied"
    PARTIAL = "partial"
    LIMITED = "limited"
    FAILED = "failed"
    PUBLISHED = "published"
    DIFFERS = "differs"


@dataclass(frozen=True)
class Cell:
    """A score in [0, 1] with its 95 % interval; value None where there is none, `reason` says why. n of expected
    samples were answered; both 0 where that is not known (published rows, means over tasks)."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    expected: int = 0
    marks: frozenset[Mark] = frozenset()
    reason: str | None = None


@dataclass(frozen=True)
class Column:
    """key: as cells are looked up and as --sort takes it. kind: "aggregate", "group" or "task". about: one line on
    what the number is (n, shots, metric, chance level)."""

    key: str
    title: str
    kind: str
    about: str = ""


@dataclass(frozen=True)
class Row:
    """One model. rank: place among the complete rows, ties share one; None for rows that are not ranked. key: unique
    on the board. about: what the row was made with (profile, shots, template, versions), for footers and details."""

    key: str
    name: str
    cells: Mapping[str, Cell]
    rank: int | None = None
    marks: frozenset[Mark] = frozenset()
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A board. rows: as sorted. footer: lines on the formula of the aggregate, counts, shots, profile, versions."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sorted_by: str
    footer: tuple[Note, ...] = ()
