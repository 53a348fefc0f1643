"""What renderers share: signs of the marks and their legend, texts of details."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table

MISSING = Cell(None, reason="not run")
# BEST is shown by weight, not by a sign.
SIGNS = {
    Mark.TIED: "≈",
    Mark.PARTIAL: "*",
    Mark.LIMITED: "~",
    Mark.PUBLISHED: "†",
    Mark.DIFFERS: "!",
    Mark.DELETED: "×",
}
MEANING = {
    Mark.BEST: "best of its column",
    Mark.TIED: "not distinguishable from the best",
    Mark.PARTIAL: "partial, not ranked",
    Mark.LIMITED: "a subset was asked (--limit)",
    Mark.PUBLISHED: "published, not computed from stored answers",
    Mark.DIFFERS: "made under other settings, or scored otherwise",
    Mark.DELETED: "deleted, its folder was given up (keep)",
}


def cell_of(row: Row, column: Column) -> Cell:
    return row.cells.get(column.key, MISSING)


def details(row: Row, table: Table) -> list[str]:
    """The row's texts for the table's columns of details."""
    return [about_text(row.about.get(key, "")) for key in table.details]


def about_text(value: Any) -> str:
    """A value of Row.about as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> its last part, the whole name where two share that part."""
    names = list(dict.fromkeys(names))
    parts = [name.rsplit("/", 1)[-1] for name in names]
    return {name: part if parts.count(part) == 1 else name for name, part in zip(names, parts, strict=True)}


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
