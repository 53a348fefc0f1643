"""A comparison of two runs as a rich table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from darumeru.core.numbers import p_value
from darumeru.leaderboard.cell_text import short_names
from darumeru.leaderboard.comparison import Comparison, Difference

MICRO_AVG = "Micro-Avg"


def comparison_table(comparison: Comparison) -> Group:
    """Groups with their tasks, then Micro-Avg, then what the figures allow to say."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("task", "A", "B", "B - A", "95 %", "Holm p", "flipped"):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=name != "task", overflow="fold")
    short = short_names([one.task for one in comparison.tasks])
    several = {one.task for one in comparison.tasks if sum(one.task == other.task for other in comparison.tasks) > 1}
    means = dict(comparison.groups)
    for group in dict.fromkeys(one.group for one in comparison.tasks):
        _mean(table, group, means.pop(group, None))
        for one in (one for one in comparison.tasks if one.group == group):
            name = short[one.task] + (f" ({one.metric})" if one.task in several else "") + " ↓" * (one.measure.sign < 0)
            flips = "" if one.gained is None or one.lost is None else f"+{len(one.gained)} -{len(one.lost)}"
            style = "bold" if one.significant else ""
            table.add_row(Text(f"  {name}"), *one.cells, p_value(one.holm), flips, style=style)
    table.add_section()
    for name, mean in means.items():
        _mean(table, name, mean)
    lines = [f"A: {comparison.a} ({comparison.paths[0]})", f"B: {comparison.b} ({comparison.paths[1]})"]
    lines += [f"differs: {line}" for line in comparison.settings]
    notes = [f"{task}: left out, {reason}" for task, reason in comparison.skipped.items()]
    notes += [f"{one.task}: {note}" for one in comparison.tasks for note in (one.reason, one.warning) if note]
    notes += [f"{name}: {mean.reason}" for name, mean in comparison.groups.items() if mean.reason]
    foot = (
        f"paired bootstrap of records, {comparison.resamples} resamples, seed {comparison.seed}; groups: p without Holm"
    )
    return Group(
        Text("\n".join(lines), style="bold"),
        table,
        *[Text(line, style="yellow") for line in dict.fromkeys(notes)],
        Text(comparison.conclusion),
        Text(foot, style="dim"),
    )


def _mean(table: Table, name: str, mean: Difference | None) -> None:
    cells = (*mean.cells, p_value(mean.p)) if mean else ("",) * 5
    style = "bold" if name == MICRO_AVG else "bold cyan"
    table.add_row(Text(name, style=style), *(Text(cell, style="bold") for cell in cells), "")
