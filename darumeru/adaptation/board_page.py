"""The board as one self-contained HTML page: table, chains, and the figure inside."""

from __future__ import annotations

import base64
import json

from darumeru.adaptation.board import Board, board_table
from darumeru.leaderboard.table import Cell, Mark, Row, Table

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ table.title }}</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap }
th:nth-child(2), td:nth-child(2) { text-align: left }
.best { font-weight: 700 } .gone { text-decoration: line-through } .failed { color: #b3261e }
small { opacity: .7; display: block } img { max-width: 100%; background: #fff } dt { font-weight: 600 }
details { margin: .3rem 0 } pre { white-space: pre-wrap; margin: .3rem 0 }
</style></head><body>
<h1>{{ table.title }}</h1>
<div class="wide"><table><thead><tr><th>#</th><th>model</th>
{% for column in table.columns %}<th>{{ column.title }}</th>{% endfor %}</tr></thead><tbody>
{% for row in table.rows %}<tr><td>{{ row.rank or "" }}</td>
<td><span{% if row.about.deleted %} class="gone"{% endif %}>{{ row.name }}</span>
<small>{{ row.about["from"] }}</small></td>
{% for column in table.columns %}{% set cell = row.cells[column.key] %}
<td class="{{ mark(cell) }}" title="{{ cell.reason or "" }}">{{ text(cell) }}
{% if loop.first and cell.low is not none %}
<small>{{ "%.3f"|format(cell.low) }} to {{ "%.3f"|format(cell.high) }}</small>
{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% if picture %}<h2>Scores by training step</h2>
<img alt="Scores against training steps" src="data:image/png;base64,{{ picture }}">{% endif %}
<h2>How each model was made</h2>
{% for row in table.rows %}<details><summary>{{ row.name }}</summary><pre>{{ about(row) }}</pre></details>
{% endfor %}
{% for line in table.footer %}<p>{{ line }}</p>{% endfor %}
</body></html>
"""


def board_page(board: Board, picture: bytes | None) -> str:
    """The page. picture: a PNG that goes into it."""
    return render(board_table(board), picture)


def render(table: Table, picture: bytes | None) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    encoded = base64.b64encode(picture).decode() if picture else ""
    return environment.from_string(_PAGE).render(table=table, picture=encoded, mark=_mark, text=_text, about=_about)


def _mark(cell: Cell) -> str:
    return "best" if Mark.BEST in cell.marks else "failed" if Mark.FAILED in cell.marks else ""


def _text(cell: Cell) -> str:
    return f"{cell.value:.3f}" if cell.value is not None else "failed" if _mark(cell) == "failed" else "–"


def _about(row: Row) -> str:
    return json.dumps(dict(row.about), ensure_ascii=False, indent=2)
