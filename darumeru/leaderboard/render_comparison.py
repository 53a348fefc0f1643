"""A comparison of two runs as a rich table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from darumeru.leaderboard.comparison import Comparison, Difference

LEVEL = 0.95


def comparison_table(comparison: Comparison) -> Group:
    """Tasks, then means of groups and Micro-Avg, then what the figures allow to say."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("task", "A", "B", "B - A", "95 %", "Holm p", "flipped"):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    for one in comparison.tasks:
        flips = "" if one.gained is None or one.lost is None else f"+{len(one.gained)} -{len(one.lost)}"
        sure = one.holm is not None and one.holm < 1 - LEVEL
        table.add_row(Text(one.task), *_cells(one), _p(one.holm), flips, style="bold" if sure else "")
    table.add_section()
    for name, mean in comparison.groups.items():
        table.add_row(Text(name), *_cells(mean), _p(mean.p), "", style="bold")
    notes = [(one.task, note) for one in comparison.tasks for note in (one.reason, one.warning) if note]
    notes += [(name, mean.reason) for name, mean in comparison.groups.items() if mean.reason]
    lines = [f"A: {comparison.a} ({comparison.paths[0]})", f"B: {comparison.b} ({comparison.paths[1]})"]
    lines += [f"differs: {line}" for line in comparison.settings]
    skipped = [f"{task}: {reason}" for task, reason in comparison.skipped.items()]
    skipped += [f"{name}: {note}" for name, note in notes]
    foot = (
        f"paired bootstrap of records, {comparison.resamples} resamples, seed {comparison.seed}; groups: p without Holm"
    )
    return Group(
        Text("\n".join(lines), style="bold"),
        table,
        *[Text(line, style="yellow") for line in skipped],
        Text(comparison.conclusion),
        Text(foot, style="dim"),
    )


def _cells(one: Difference) -> tuple[str, str, str, str]:
    interval = "" if one.low is None or one.high is None else f"{one.low:+.3f} {one.high:+.3f}"
    return f"{one.a:.3f}", f"{one.b:.3f}", f"{one.difference:+.3f}", interval


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}"
