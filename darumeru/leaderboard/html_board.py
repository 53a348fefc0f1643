"""The board as one HTML file that works offline: sorting, filtering, details, bars and radar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.leaderboard.cell_text import about_text, cell_of
from darumeru.leaderboard.charts import Bar, Shape, bar_chart, radar
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.page import render_page
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.leaderboard.words import ABOUT_RU
from darumeru.metrics.measure import SCORE, combined

BARS = 20
SHAPES = 5


@dataclass(frozen=True)
class _Line:
    """A row as the template needs it: cells in the order of the columns; notes: what its details say; link: address of
    its report."""

    row: Row
    cells: tuple[Cell, ...]
    notes: tuple[tuple[Note, str], ...]
    search: str
    published: bool
    partial: bool
    deleted: bool
    link: str


def render(table: Table, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The page's HTML, complete and self-contained. Encode it as UTF-8. pictures: titles and SVGs that stand in it."""
    return render_page("board.html.j2", ["board.js"], **board_values(table, pictures))


def board_values(
    table: Table, pictures: Sequence[tuple[str, str]] = (), links: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What templates/board.html.j2 needs. links: key of a row -> address of its report."""
    lines = [_line(row, table.columns, (links or {}).get(row.key, "")) for row in table.rows]
    plotted = _plotted(table)
    marks = {mark for row in table.rows for mark in row.marks}
    marks |= {mark for line in lines for cell in line.cells for mark in cell.marks}
    return {
        "title": table.title,
        "columns": table.columns,
        "kinds": [kind for kind in ("group", "task") if any(column.kind == kind for column in table.columns)],
        "lines": lines,
        "mixed": len({line.published for line in lines}) == 2,
        "sorted_by": table.sorted_by,
        "footer": table.footer,
        "marks": [mark for mark in Mark if mark in marks],
        "bars": _bars(table, plotted),
        "plotted": plotted,
        "bars_shown": BARS,
        "radar": _radar(table),
        "shapes_shown": SHAPES,
        "pictures": pictures,
    }


def _line(row: Row, columns: Sequence[Column], link: str) -> _Line:
    cells = tuple(cell_of(row, column) for column in columns)
    given = [(column.title, row.cells[column.key]) for column in columns if column.key in row.cells]
    notes = [(Note.same(title), cell.reason) for title, cell in given if cell.reason]
    notes += [(Note.same(title), f"{cell.n} / {cell.expected}") for title, cell in given if cell.n < cell.expected]
    notes += [
        (Note(key, ABOUT_RU.get(key, key)), about_text(value)) for key, value in row.about.items() if value is not None
    ]
    search = " ".join([row.name, row.key, *(mark.value for mark in row.marks), *(text for _, text in notes)])
    published, partial, deleted = (mark in row.marks for mark in (Mark.PUBLISHED, Mark.PARTIAL, Mark.DELETED))
    return _Line(row, cells, tuple(notes), search, published, partial, deleted, link)


def _plotted(table: Table) -> Column | None:
    """The column of the bars: the one that the board is sorted by, else the first aggregate, else the first."""
    columns = table.columns
    return next(
        (column for column in columns if column.key == table.sorted_by),
        next((column for column in columns if column.kind == "aggregate"), columns[0] if columns else None),
    )


def _bars(table: Table, column: Column | None) -> str:
    if column is None or not table.rows:
        return ""
    cells = [cell_of(row, column) for row in table.rows]
    bars = [
        Bar(row.name, cell.value, cell.low, cell.high, str(place))
        for place, (row, cell) in enumerate(zip(table.rows, cells, strict=True))
    ]
    bars.sort(key=lambda bar: bar.value is None)
    known = sum(bar.value is not None for bar in bars)
    alike = [other for other in table.columns if other.measure.family == column.measure.family]
    others = [cell_of(row, other) for row in table.rows for other in alike]
    spread = [end for cell in others for end in (cell.value, cell.low, cell.high)]
    measure = combined([other.measure for other in alike])
    return bar_chart(bars, column.title, shown=min(BARS, known), spread=spread, measure=measure)


def _radar(table: Table) -> str:
    scores = [column for column in table.columns if column.measure.family == SCORE.family]
    axes = [column for column in scores if column.kind == "group"]
    if len(axes) < 3:
        axes = [column for column in scores if column.kind == "task"][:17]
    shapes = [
        Shape(row.name, tuple(cell_of(row, column).value for column in axes), str(place))
        for place, row in sorted(enumerate(table.rows), key=lambda one: Mark.PUBLISHED in one[1].marks)
    ]
    complete = [shape for shape in shapes if None not in shape.values]
    return radar([column.title for column in axes], complete, "", shown=SHAPES) if complete else ""
