"""A comparison of two runs as a rich table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from darumeru.leaderboard.comparison import Comparison, Difference, TaskDifference


def comparison_table(comparison: Comparison) -> Group:
    """Tasks, then means of groups and Micro-Avg, then what the figures allow to say."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("task", "A", "B", "B - A", "95 %", "p", "Holm p", "McNemar p", "flipped", "notes"):
        table.add_column(name, justify="left" if name in ("task", "notes") else "right", no_wrap=name != "notes")
    for one in comparison.tasks:
        flips = "" if one.gained is None or one.lost is None else f"+{len(one.gained)} -{len(one.lost)}"
        tests = _p(one.holm), _p(one.mcnemar)
        table.add_row(Text(one.task), *_cells(one), *tests, flips, Text(_notes(one), style="yellow"))
    table.add_section()
    for name, mean in comparison.groups.items():
        table.add_row(Text(name, style="bold"), *_cells(mean), "", "", "", Text(mean.reason or "", style="yellow"))
    lines = [f"A: {comparison.a} ({comparison.paths[0]})", f"B: {comparison.b} ({comparison.paths[1]})"]
    lines += [f"differs: {line}" for line in comparison.settings]
    skipped = [f"{task}: {reason}" for task, reason in comparison.skipped.items()]
    foot = f"paired bootstrap of records, {comparison.resamples} resamples, seed {comparison.seed}"
    return Group(
        Text("\n".join(lines), style="bold"),
        table,
        *[Text(line, style="yellow") for line in skipped],
        Text(comparison.conclusion),
        Text(foot, style="dim"),
    )


def _cells(one: Difference) -> tuple[str, str, str, str, str]:
    interval = "" if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}"
    return f"{one.a:.3f}", f"{one.b:.3f}", f"{one.difference:+.3f}", interval, _p(one.p)


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}"


def _notes(one: TaskDifference) -> str:
    return "; ".join(note for note in (one.reason, one.warning) if note)
