"""The one value behind every board: cells with numbers, intervals and marks. Renderers turn it into text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from darumeru.core.numbers import interval, number
from darumeru.leaderboard.note import Note
from darumeru.metrics.measure import SCORE, Measure


class Mark(Enum):
    """What a reader has to know of a cell or a row beside its number.

    BEST: best of the ranked rows of its column. TIED: not distinguishable from the best (paired interval of the
    difference holds 0). PARTIAL: not every expected sample is answered, or not every task is there. LIMITED: a subset
    was asked (--limit). FAILED: no number, the reason says why. PUBLISHED: taken from a publication, not computed from
    stored answers. DIFFERS: made under other settings, or scored otherwise, than the rest of the board. DELETED: the
    model is not there any more.
    """

    BEST = "best"
    TIED = "tied"
    PARTIAL = "partial"
    LIMITED = "limited"
    FAILED = "failed"
    PUBLISHED = "published"
    DIFFERS = "differs"
    DELETED = "deleted"


@dataclass(frozen=True)
class Cell:
    """A number with its 95 % interval, as its column's measure says; value None where there is none, `reason` says why.
    n of expected samples were answered; both 0 where that is not known (published rows, means over tasks)."""

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
    what the number is (n, shots, metric, chance level). measure: how it is read and written."""

    key: str
    title: str
    kind: str
    about: str = ""
    measure: Measure = SCORE

    @property
    def heading(self) -> str:
        """The title, with an arrow where the lower number is better."""
        return self.title if self.measure.sign > 0 else f"{self.title} ↓"

    def text(self, cell: Cell) -> str:
        """The cell's number as all renderers show it."""
        return number(cell.value, self.measure.digits)

    def interval(self, cell: Cell) -> str:
        """The cell's interval, "" where it has none."""
        return interval(cell.low, cell.high, self.measure.digits)

    def best(self, values: Iterable[float | None]) -> float | None:
        """The best of these values."""
        known = [value for value in values if value is not None]
        return max(known, key=lambda value: self.measure.sign * value, default=None)


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
    """A board. rows: as sorted. footer: lines on the formula of the aggregate, counts, shots, profile, versions.
    details: keys of Row.about that text formats show as columns of their own."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sorted_by: str
    footer: tuple[Note, ...] = ()
    details: tuple[str, ...] = ()
