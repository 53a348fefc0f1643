"""The board as CSV: full precision, one column each for value, low and high."""

from __future__ import annotations

import csv
import io
import re

from darumeru.leaderboard.cell_text import cell_of, details
from darumeru.leaderboard.table import Mark, Row, Table

_FORMULA = frozenset("=+-@\t\r")
_NUMBER = re.compile(r"-?[0-9.]+(e[+-]?[0-9]+)?")


def render(table: Table) -> str:
    """RFC 4180 with a header; the columns are rank, model, marks, KEY, KEY_low, KEY_high, KEY_marks, details. A mark's
    list is joined by spaces; what is not there is empty; a text that begins like a formula has an apostrophe before
    it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    head = ["rank", "model", "marks"]
    for column in table.columns:
        head += [column.key, f"{column.key}_low", f"{column.key}_high", f"{column.key}_marks"]
    head += table.details
    writer.writerow(map(_harmless, head))
    writer.writerows(map(_harmless, _line(row, table)) for row in table.rows)
    return out.getvalue()


def _harmless(cell: str) -> str:
    """The cell with an apostrophe where a spreadsheet would take it for a formula (OWASP, CSV injection); numbers are
    as they are."""
    return f"'{cell}" if cell[:1] in _FORMULA and not _NUMBER.fullmatch(cell) else cell


def _line(row: Row, table: Table) -> list[str]:
    found = ["" if row.rank is None else str(row.rank), row.name, _marks(row.marks)]
    for column in table.columns:
        cell = cell_of(row, column)
        found += ["" if value is None else repr(value) for value in (cell.value, cell.low, cell.high)]
        found.append(_marks(cell.marks))
    return found + details(row, table)


def _marks(marks: frozenset[Mark]) -> str:
    return " ".join(sorted(mark.value for mark in marks))
