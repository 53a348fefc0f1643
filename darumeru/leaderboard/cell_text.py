"""What text renderers share: numbers, signs of the marks and their legend."""

from __future__ import annotations

from collections.abc import Iterable

from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table

MISSING = Cell(None, reason="not run")
# BEST is shown by weight, not by a sign.
SIGNS = {
    Mark.TIED: "≈",
    Mark.PARTIAL: "*",
    Mark.LIMITED: "~",
    Mark.PUBLISHED: "†",
    Mark.DIFFERS: "!",
}
MEANING = {
    Mark.BEST: "highest of its column",
    Mark.TIED: "not distinguishable from the best",
    Mark.PARTIAL: "partial, not ranked",
    Mark.LIMITED: "a subset was asked (--limit)",
    Mark.PUBLISHED: "published, not computed from stored answers",
    Mark.DIFFERS: "made under other settings",
}


def cell_of(row: Row, column: Column) -> Cell:
    return row.cells.get(column.key, MISSING)


def number(cell: Cell) -> str:
    """Three digits; a dash where there is none."""
    return "–" if cell.value is None else f"{cell.value:.3f}"


def interval(cell: Cell) -> str:
    """ "0.600–0.650", empty without an interval; "to" keeps negative bounds readable."""
    if cell.low is None or cell.high is None:
        return ""
    between = " to " if cell.low < 0 else "–"
    return f"{cell.low:.3f}{between}{cell.high:.3f}"


def signs(marks: Iterable[Mark]) -> str:
    """The signs of the marks, in one order."""
    marks = set(marks)
    return "".join(sign for mark, sign in SIGNS.items() if mark in marks)


def cell_signs(row: Row, cell: Cell) -> str:
    """Signs of a cell that its row does not carry already."""
    return signs(cell.marks - row.marks)


def legend(table: Table, best: str) -> list[str]:
    """ "sign meaning" of the marks that the table has. best: how the renderer shows the best."""
    found = {mark for row in table.rows for mark in row.marks}
    found |= {mark for row in table.rows for column in table.columns for mark in cell_of(row, column).marks}
    return [f"{best if mark is Mark.BEST else SIGNS[mark]} {text}" for mark, text in MEANING.items() if mark in found]
