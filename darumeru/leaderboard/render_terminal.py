"""The board for a terminal of any width: columns that do not fit go into a further block under the same names."""

from __future__ import annotations

import re

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from darumeru.leaderboard.cell_text import cell_of, cell_signs, details, legend, signs
from darumeru.leaderboard.table import Column, Mark, Row, Table

GAP = 2
MOST_NAME = 44
_SEPARATOR = re.compile(r"[-_/. ]+")


def render(table: Table, width: int) -> Group:
    """Rich text at most `width` letters wide (narrower than about 50 it wraps)."""
    names = [_name(row) for row in table.rows]
    ranks = max(len(str(row.rank or "–")) for row in table.rows) if table.rows else 1
    name_width = min(max([5, *(name.cell_len for name in names)]), MOST_NAME, max(width // 3, 16))
    room = width - ranks - name_width - 2 * GAP
    parts: list[Text | RichTable] = [Text(table.title, style="bold")]
    blocks = _blocks(table, room)
    for block in blocks:
        grid = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        grid.add_column("#", justify="right", width=ranks, no_wrap=True)
        grid.add_column("model", width=name_width, overflow="fold")
        for column in block:
            grid.add_column(Text(column.heading), justify="right", no_wrap=True)
        last = block is blocks[-1]
        for key in table.details if last else ():
            grid.add_column(Text(key), overflow="fold")
        for row, name in zip(table.rows, names, strict=True):
            cells = [_text(row, column) for column in block] + (details(row, table) if last else [])
            grid.add_row(str(row.rank or "–"), _folded(name, name_width), *cells, style=None if row.rank else "dim")
        parts += [grid, Text("")]
    marks = legend(table, "bold")
    notes = (["; ".join(marks) + "."] if marks else []) + [note.en for note in table.footer]
    return Group(*parts, *(Text(note, style="dim") for note in notes))


def _blocks(table: Table, room: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    used = 0
    for column in table.columns:
        need = GAP + max([len(column.heading), *(_text(row, column).cell_len for row in table.rows)])
        if blocks[-1] and used + need > room + GAP:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += need
    return blocks


def _name(row: Row) -> Text:
    text = Text(row.name, style="strike" if Mark.DELETED in row.marks else "")
    if signs(row.marks):
        text.append(f" {signs(row.marks)}", style="yellow")
    return text


def _folded(name: Text, width: int) -> Text:
    """A name that is wider than its column, broken after its own separators where it has some."""
    lines, start = Text(), 0
    ends = [found.end() for found in _SEPARATOR.finditer(name.plain)] + [len(name.plain)]
    for place, end in enumerate(ends):
        following = ends[place + 1] if place + 1 < len(ends) else None
        if following is None or name[start:following].cell_len > width:
            lines.append_text(name[start:end]).append("\n" if following is not None else "")
            start = end
    return lines


def _text(row: Row, column: Column) -> Text:
    cell = cell_of(row, column)
    text = Text(column.text(cell), style="bold green" if Mark.BEST in cell.marks else "")
    # One place at least, so that the digits of a column stand under each other.
    text.append(cell_signs(row, cell).ljust(1), style="yellow")
    if column.kind == "aggregate" and column.interval(cell):
        text.append(f" {column.interval(cell)}", style="dim")
    return text
