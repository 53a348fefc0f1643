"""What a run would ask, as a table for the terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from darumeru.core.numbers import number, seconds
from darumeru.runs.outline import COUNTS, Outline

TITLES = ("task", "samples", "to ask", "requests", "prompt tokens", "new tokens ≤")


def outline_table(outline: Outline) -> Group:
    """A row a task, a row of totals, and the line that says how long it may take."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, justify="left" if title == "task" else "right", no_wrap=title == "task")
    for one in outline.tasks:
        table.add_row(Text(one.task), *(number(getattr(one, name), 0) for name in COUNTS))
    table.add_section()
    table.add_row(Text("all", style="bold"), *(number(total, 0) for total in outline.totals.values()))
    notes = [Text(f"{one.task}: {one.refused}", style="yellow") for one in outline.tasks if one.refused]
    heading = f"{outline.model}, engine {outline.engine}, prompt and answer up to {outline.max_length} tokens"
    return Group(Text(heading, style="bold"), table, *notes, Text(_time(outline), style="dim"))


def _time(outline: Outline) -> str:
    if not outline.totals["pending"]:
        return "every answer is stored: nothing would be asked"
    if outline.speed is None or outline.seconds is None:
        return "no earlier run of this model and engine beside this one tells the time; one with --limit 20 would"
    rate = number(outline.speed.tokens_per_second, 0)
    return f"about {seconds(outline.seconds)}, loading included, at the {rate} tokens/s of {outline.speed.run}"


def outline_values(outline: Outline) -> dict[str, Any]:
    """The same as plain JSON; seconds: None where nothing tells."""
    speed = outline.speed and {
        "tokens_per_second": outline.speed.tokens_per_second,
        "run": str(outline.speed.run),
    }
    return {**asdict(outline), "speed": speed, "totals": outline.totals, "seconds": outline.seconds}
