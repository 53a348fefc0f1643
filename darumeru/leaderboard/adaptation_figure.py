"""Scores against training steps, one line for each training."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from darumeru.core.files import write_atomically
from darumeru.leaderboard.adaptation_board import Board, Entry
from darumeru.leaderboard.curve import TITLES
from darumeru.runs.results import Score


def training_lines(board: Board) -> Mapping[str, list[tuple[int, Score]]]:
    """Variant -> (training step, score that selects), by step. A training starts with its parent's score at step 0
    where that is known."""
    lines: dict[str, list[Entry]] = {}
    for entry in board.entries.values():
        if entry.made.candidate.training_step is not None and entry.value is not None:
            lines.setdefault(entry.made.variant, []).append(entry)
    found = {}
    for variant, entries in lines.items():
        points = {}
        parent = board.entries.get(entries[0].made.lineage[-2]) if len(entries[0].made.lineage) > 1 else None
        if parent and parent.value is not None:
            points[0] = _main(parent)
        points |= {entry.made.candidate.training_step or 0: _main(entry) for entry in entries}
        found[variant] = sorted(points.items())
    return found


def _main(entry: Entry) -> Score:
    assert entry.scored is not None and entry.scored.main is not None
    return entry.scored.scores[entry.scored.main]


def draw_scores(board: Board, path: Path) -> bytes | None:
    """Write the PNG and return it; None, and no file, where no training has a score yet."""
    lines = training_lines(board)
    if not lines:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for variant, points in lines.items():
        steps = [step for step, _ in points]
        values = [score.value or 0.0 for _, score in points]
        line = axes.plot(steps, values, label=variant, linewidth=1.6, marker="o", markersize=3)[0]
        low = [value if score.low is None else score.low for value, (_, score) in zip(values, points, strict=True)]
        high = [value if score.high is None else score.high for value, (_, score) in zip(values, points, strict=True)]
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.1, linewidth=0)
    name = next(one.scored.main for one in board.entries.values() if one.scored and one.scored.main)
    axes.set(xlabel="training step", ylabel=TITLES.get(name, name), title=board.name)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    write_atomically(path, drawn.getvalue())
    return drawn.getvalue()
