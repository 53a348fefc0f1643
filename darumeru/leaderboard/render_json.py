"""The board as JSON (docs/schemas/leaderboard.schema.json)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from darumeru.leaderboard.table import Cell, Row, Table

SCHEMA = 1


def render(table: Table) -> str:
    """Indented JSON that ends in a newline."""
    return json.dumps(to_dict(table), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def to_dict(table: Table) -> dict[str, Any]:
    """The document of the schema."""
    return {
        "schema": SCHEMA,
        "title": table.title,
        "sorted_by": table.sorted_by,
        "columns": [asdict(column) for column in table.columns],
        "rows": [_row(row) for row in table.rows],
        "footer": [note.en for note in table.footer],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "name": row.name,
        "rank": row.rank,
        "marks": sorted(mark.value for mark in row.marks),
        "cells": {key: _cell(cell) for key, cell in row.cells.items()},
        "about": dict(row.about),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return asdict(cell) | {"marks": sorted(mark.value for mark in cell.marks)}
