"""The one board of a pipeline: a row for every candidate, with where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darumeru.adaptation.scoring import Scored
from darumeru.adaptation.store import Made
from darumeru.core.files import to_json, write_atomically
from darumeru.core.options import to_plain
from darumeru.leaderboard.curve import MEAN, MICRO_AVG, TITLES
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.runs.results import Score

SCHEMA = 1
FOOTER = Note(
    "Each row is one model of the pipeline; `from` is the chain of models it was made from.",
    "Каждая строка — одна модель конвейера; `from` — цепочка моделей, из которых она получена.",
)
MARKDOWN, HTML, JSON, FIGURE = "board.md", "board.html", "board.json", "scores_by_step.png"


@dataclass(frozen=True)
class Entry:
    """One candidate. scored: None where its step is not scored."""

    made: Made
    scored: Scored | None

    @property
    def value(self) -> float | None:
        return self.scored.value if self.scored else None

    @property
    def failed(self) -> str | None:
        return self.scored.failed if self.scored else None


@dataclass
class Board:
    """Entries by label, in the order of the pipeline."""

    name: str
    entries: dict[str, Entry] = field(default_factory=dict)

    def put(self, made: Made, scored: Scored | None) -> bool:
        """Add or replace an entry; whether anything changed."""
        entry = Entry(made, scored)
        changed = self.entries.get(made.label) != entry
        self.entries[made.label] = entry
        return changed

    def ranked(self) -> list[Entry]:
        """Best first, those without a score last, otherwise in the order of the pipeline."""
        return sorted(self.entries.values(), key=lambda one: (one.value is None, -(one.value or 0.0)))

    def score_names(self) -> list[str]:
        """Names of all scores: the one that selects, aggregates, groups, tasks."""
        names = [name for one in self.entries.values() if one.scored for name in one.scored.scores]
        mains = [one.scored.main for one in self.entries.values() if one.scored and one.scored.main]
        return list(dict.fromkeys([*mains, *sorted(names, key=_kind)]))


def _kind(name: str) -> int:
    return 0 if name in (MICRO_AVG, MEAN) else 2 if "/" in name else 1


def lineage(made: Made) -> str:
    """The chain of a candidate, first model first."""
    return " > ".join(made.lineage or (made.label,))


def board_json(board: Board, folder: Path) -> dict[str, Any]:
    """All that the board says, as JSON values; paths are relative to `folder`."""
    return {"schema": SCHEMA, "recipe": board.name, "candidates": [_entry(one, folder) for one in board.ranked()]}


def _entry(entry: Entry, folder: Path) -> dict[str, Any]:
    made, scored = entry.made, entry.scored
    return {
        "label": made.label,
        "node": made.node or None,
        "variant": made.variant or None,
        "step": made.candidate.step,
        "parameters": to_plain(made.candidate.parameters),
        "training_step": made.candidate.training_step,
        "parents": list(made.candidate.parents),
        "lineage": list(made.lineage),
        "path": _relative(made.path, folder),
        "deleted": made.deleted,
        "metric": scored.main if scored else None,
        "value": entry.value,
        "scores": {name: score.to_dict() for name, score in scored.scores.items()} if scored else {},
        "failed": entry.failed,
        "run": _relative(scored.run, folder) if scored else None,
    }


def _relative(path: Path, folder: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(folder.resolve())) if resolved.is_relative_to(folder.resolve()) else str(resolved)


def board_table(board: Board) -> Table:
    """The board as the value that every renderer takes."""
    names = board.score_names()
    columns = tuple(Column(name, TITLES.get(name, name), _KINDS[_kind(name)]) for name in names)
    best = {name: _best(board, name) for name in names}
    rows, rank, last = [], 0, None
    for number, entry in enumerate(board.ranked(), 1):
        if entry.value is not None and entry.value != last:
            rank, last = number, entry.value
        cells = {name: _cell(entry, name, best[name]) for name in names}
        marks = frozenset({Mark.FAILED}) if entry.failed else frozenset()
        about = _about(entry)
        row_rank = rank if entry.value is not None else None
        rows.append(Row(entry.made.label, entry.made.label, cells, row_rank, marks, about))
    return Table(board.name, columns, tuple(rows), names[0] if names else "", (FOOTER,))


_KINDS = ("aggregate", "group", "task")


def _best(board: Board, name: str) -> float | None:
    values = [
        score.value
        for one in board.entries.values()
        if one.scored and (score := one.scored.scores.get(name)) and score.value is not None
    ]
    return max(values, default=None)


def _cell(entry: Entry, name: str, best: float | None) -> Cell:
    score: Score | None = entry.scored.scores.get(name) if entry.scored else None
    if score is None or score.value is None:
        marks = frozenset({Mark.FAILED}) if entry.failed else frozenset()
        return Cell(None, marks=marks, reason=entry.failed or "not scored")
    marks = frozenset({Mark.BEST}) if score.value == best else frozenset()
    return Cell(score.value, score.low, score.high, marks=marks)


def _about(entry: Entry) -> Mapping[str, Any]:
    made = entry.made
    about: dict[str, Any] = {"from": lineage(made), "step": made.candidate.step}
    if others := made.candidate.parents[1:]:
        about["with"] = ", ".join(others)
    if made.candidate.training_step is not None:
        about["training step"] = made.candidate.training_step
    if made.candidate.parameters:
        about["parameters"] = to_plain(made.candidate.parameters)
    if made.deleted:
        about["deleted"] = "its folder was given up (keep)"
    if entry.failed:
        about["failed"] = entry.failed
    return about


def board_markdown(board: Board) -> str:
    """A Markdown table: rank, model, step, training step, scores with the interval of the first, chain."""
    names = board.score_names()
    heads = ["#", "model", "step", "training step", *(TITLES.get(name, name) for name in names), "from"]
    lines = [f"# {board.name}", "", _line(heads), _line(["---"] * len(heads))]
    table = board_table(board)
    for row, entry in zip(table.rows, board.ranked(), strict=True):
        made = entry.made
        cells = [_text(row.cells[name], interval=number == 0) for number, name in enumerate(names)]
        step = "" if made.candidate.training_step is None else str(made.candidate.training_step)
        name = f"~~{row.name}~~" if made.deleted else row.name
        rank = "" if row.rank is None else str(row.rank)
        lines.append(_line([rank, name, made.candidate.step, step, *cells, lineage(made)]))
    failed = [f"- {one.made.label} could not be scored: {one.failed}" for one in board.ranked() if one.failed]
    gone = any(one.made.deleted for one in board.entries.values())
    notes = [*failed, *(["- Struck out: the model's folder was given up (`keep`)."] if gone else [])]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _text(cell: Cell, interval: bool) -> str:
    if cell.value is None:
        return "failed" if Mark.FAILED in cell.marks else "-"
    text = f"{cell.value:.3f}"
    if interval and cell.low is not None and cell.high is not None:
        text += f" [{cell.low:.3f}, {cell.high:.3f}]"
    return f"**{text}**" if Mark.BEST in cell.marks else text


def write_board(board: Board, folder: Path) -> None:
    """Write all forms of the board and the figure; each file is replaced whole."""
    from darumeru.leaderboard import html_board
    from darumeru.leaderboard.adaptation_figure import draw_scores

    write_atomically(folder / JSON, to_json(board_json(board, folder)))
    write_atomically(folder / MARKDOWN, board_markdown(board))
    picture = draw_scores(board, folder / FIGURE)
    pictures = [("Scores by training step", picture)] if picture else []
    write_atomically(folder / HTML, html_board.render(board_table(board), pictures))
