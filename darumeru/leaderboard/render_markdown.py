"""The board as a GitHub table."""

from __future__ import annotations

import re

from darumeru.leaderboard.cell_text import cell_of, cell_signs, details, legend, signs
from darumeru.leaderboard.table import Mark, Row, Table

ACTIVE = re.compile(r"([\\`*_{}\[\]<>|~#!$@])")


def render(table: Table) -> str:
    """GFM text that ends in a newline; names cannot open tags, links or columns."""
    head = ["#", "Model", *(escape(column.heading) for column in table.columns), *table.details]
    lines = [
        f"**{escape(table.title)}**",
        "",
        _line(head),
        _line(["--:", ":--", *("--:" for _ in table.columns), *(":--" for _ in table.details)]),
    ]
    lines += [_line(_cells(row, table)) for row in table.rows]
    notes = [escape(note.en) for note in table.footer]
    marks = legend(table, "**bold**")
    if marks:
        notes.insert(0, "; ".join(mark if mark.startswith("**") else escape(mark) for mark in marks) + ".")
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and HTML leave alone, on one line."""
    flat = " ".join(text.split())
    return ACTIVE.sub(lambda hit: _ENTITIES.get(hit[0], "\\" + hit[0]), flat.replace("&", "&amp;"))


_ENTITIES = {"<": "&lt;", ">": "&gt;", "@": "&#64;"}


def _cells(row: Row, table: Table) -> list[str]:
    name = f"~~{escape(row.name)}~~" if Mark.DELETED in row.marks else escape(row.name)
    found = [str(row.rank) if row.rank else "–", f"{name} {escape(signs(row.marks))}".rstrip()]
    for column in table.columns:
        cell = cell_of(row, column)
        text = f"**{column.text(cell)}**" if Mark.BEST in cell.marks else column.text(cell)
        text += escape(cell_signs(row, cell))
        if column.kind == "aggregate" and column.interval(cell):
            text += f" ({column.interval(cell)})"
        found.append(text)
    return found + [escape(text) for text in details(row, table)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
