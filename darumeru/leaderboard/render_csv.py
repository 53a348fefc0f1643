"""The board as CSV: full precision, one column each for value, low and high."""

from __future__ import annotations

import csv
import io

from darumeru.leaderboard.cell_text import cell_of, details
from darumeru.leaderboard.table import Mark, Row, Table


def render(table: Table) -> str:
    """RFC 4180 with a header; the columns are rank, model, marks, KEY, KEY_low, KEY_high, KEY_marks, details. A mark's
    list is joined by spaces; what is not there is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    head = ["rank", "model", "marks"]
    for column in table.columns:
        head += [column.key, f"{column.key}_low", f"{column.key}_high", f"{column.key}_marks"]
    head += table.details
    writer.writerow(head)
    writer.writerows(_line(row, table) for row in table.rows)
    return out.getvalue()


def _line(row: Row, table: Table) -> list[str]:
    found = ["" if row.rank is None else str(row.rank), row.name, _marks(row.marks)]
    for column in table.columns:
        cell = cell_of(row, column)
        found += ["" if value is None else repr(value) for value in (cell.value, cell.low, cell.high)]
        found.append(_marks(cell.marks))
    return found + details(row, table)


def _marks(marks: frozenset[Mark]) -> str:
    return " ".join(sorted(mark.value for mark in marks))
