"""A small table as HTML for notebooks, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """heads: of the columns; the first is of texts, the others of numbers. A row of one text is a heading."""
    parts = [f"<div><b>{escape(title)}</b>", "<table><thead><tr>"]
    parts += [f'<th style="text-align:{_side(place)}">{escape(head)}</th>' for place, head in enumerate(heads)]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        if len(row) == 1:
            parts.append(f'<tr><th colspan="{len(heads)}" style="text-align:left">{escape(row[0])}</th></tr>')
            continue
        cells = (f'<td style="text-align:{_side(place)}">{escape(cell)}</td>' for place, cell in enumerate(row))
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts.append("</tbody></table>")
    parts += [f"<div>{escape(note)}</div>" for note in notes]
    return "".join([*parts, "</div>"])


def _side(place: int) -> str:
    return "left" if place == 0 else "right"
