"""The board of a pipeline: a row for every candidate, with the chain of models that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from darumeru.core.files import to_json, write_atomically
from darumeru.leaderboard import html_board, render_markdown
from darumeru.leaderboard.board import ranked_rows, with_best
from darumeru.leaderboard.curve import MEAN, MICRO_AVG, TITLES
from darumeru.leaderboard.curve_chart import STEPS, Line, png, svg
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.metrics.measure import SCORE, Measure
from darumeru.runs.results import Score

SCHEMA = 1
FOOTER = Note(
    "Each row is one model of the pipeline; `from` is the chain of models it was made from.",
    "Каждая строка — одна модель конвейера; `from` — цепочка моделей, из которых она получена.",
)
MARKDOWN, HTML, JSON, FIGURE = "board.md", "board.html", "board.json", "scores_by_step.png"


@dataclass(frozen=True)
class BoardLine:
    """One candidate. label: unique on the board. lineage: labels from the first model to it. scores: by name; main: the
    one that ranks; measures: what those are that are no plain scores. failed: why there are none. training,
    training_step: of which training it is a checkpoint. facts: what else board.json says of it, as plain JSON. samples:
    answered; part: records a task that a race has asked, where those are not all; race: what the race says of it."""

    label: str
    lineage: tuple[str, ...] = ()
    scores: Mapping[str, Score] = field(default_factory=dict)
    main: str | None = None
    failed: str | None = None
    deleted: bool = False
    training: str = ""
    training_step: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    samples: int = 0
    part: int | None = None
    race: str = ""

    @property
    def value(self) -> float | None:
        """The number that ranks."""
        return self.scores[self.main].value if self.main else None


@dataclass
class CandidateBoard:
    """Lines by label, in the order of the pipeline."""

    name: str
    lines: dict[str, BoardLine] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences under the board."""

    def put(self, line: BoardLine) -> bool:
        """Add or replace a line; whether anything changed."""
        changed = self.lines.get(line.label) != line
        self.lines[line.label] = line
        return changed

    @property
    def columns(self) -> tuple[Column, ...]:
        """All scores: the one that ranks, aggregates, groups, tasks."""
        names = sorted((name for line in self.lines.values() for name in line.scores), key=_rank)
        mains = [line.main for line in self.lines.values() if line.main]
        measures = {name: one for line in self.lines.values() for name, one in line.measures.items()}
        return tuple(
            Column(name, TITLES.get(name, name), _KINDS[_rank(name)], measure=measures.get(name, SCORE))
            for name in dict.fromkeys([*mains, *names])
        )

    def ranked(self) -> list[BoardLine]:
        """Best first, then those that a race has scored in part, those without a score last, otherwise in the order of
        the pipeline."""
        sign = self.columns[0].measure.sign if self.columns else 1

        def place(one: BoardLine) -> tuple[bool, bool, float]:
            return one.value is None, one.part is not None, -sign * (one.value or 0.0)

        return sorted(self.lines.values(), key=place)


_KINDS = ("aggregate", "group", "task")


def _rank(name: str) -> int:
    return 0 if name in (MICRO_AVG, MEAN) else 2 if "/" in name else 1


def board_json(board: CandidateBoard) -> dict[str, Any]:
    """All that the board says, as JSON values."""
    candidates = [
        {
            "label": line.label,
            **line.facts,
            "training_step": line.training_step,
            "lineage": list(line.lineage),
            "deleted": line.deleted,
            "metric": line.main,
            "value": line.value,
            "samples": line.samples,
            "partial": line.part,
            "race": line.race or None,
            "scores": {name: score.to_dict() for name, score in line.scores.items()},
            "failed": line.failed,
        }
        for line in board.ranked()
    ]
    return {"schema": SCHEMA, "recipe": board.name, "notes": list(board.notes), "candidates": candidates}


def candidate_table(board: CandidateBoard) -> Table:
    """The board as the value that every renderer takes."""
    columns, lines = board.columns, board.ranked()
    rows = [Row(line.label, line.label, _cells(line, columns), None, _marks(line), _about(line)) for line in lines]
    whole = [line for line in lines if line.part is None]
    best = {column.key: column.best(line.scores[column.key].value for line in whole if column.key in line.scores)
            for column in columns}  # fmt: skip
    if columns:
        rows = ranked_rows(with_best(rows, best), columns[0])
    failed = [f"{line.label} could not be scored: {line.failed}" for line in lines if line.failed]
    notes = (FOOTER, *map(Note.same, [*board.notes, *failed]))
    shown = (
        ("step", "training step", "samples", "from") if len(whole) < len(lines) else ("step", "training step", "from")
    )
    details = [key for key in shown if any(key in row.about for row in rows)]
    return Table(board.name, columns, tuple(rows), columns[0].key if columns else "", notes, tuple(details))


def _marks(line: BoardLine) -> frozenset[Mark]:
    partial = line.part is not None
    return frozenset([Mark.FAILED] * bool(line.failed) + [Mark.DELETED] * line.deleted + [Mark.PARTIAL] * partial)


def _cells(line: BoardLine, columns: tuple[Column, ...]) -> dict[str, Cell]:
    nothing = Cell(None, marks=frozenset([Mark.FAILED] * bool(line.failed)), reason=line.failed or "not scored")
    cells = {name: Cell(one.value, one.low, one.high) for name, one in line.scores.items() if one.value is not None}
    return {column.key: cells.get(column.key, nothing) for column in columns}


def _about(line: BoardLine) -> dict[str, Any]:
    about = {
        "from": " → ".join(line.lineage or (line.label,)),
        "after": line.lineage[-2] if len(line.lineage) > 1 else None,
        "step": line.facts.get("step"),
        "with": ", ".join(line.facts.get("parents", ())[1:]),
        "training step": line.training_step,
        "parameters": line.facts.get("parameters"),
        "samples": str(line.samples) if line.samples else None,
        "race": line.race,
        "failed": line.failed,
    }
    return {key: value for key, value in about.items() if value not in (None, "", {})}


def training_lines(board: CandidateBoard) -> list[Line]:
    """The score that ranks against training steps, a line for each training. A training starts with its parent's score
    at step 0 where that is known."""
    trainings: dict[str, dict[int, Score | None]] = {}
    for line in board.lines.values():
        if line.training_step is None or line.main is None or line.part is not None:
            continue
        if line.training not in trainings:
            parent = board.lines.get(line.lineage[-2]) if len(line.lineage) > 1 else None
            trainings[line.training] = {}
            if parent and parent.main and parent.part is None:
                trainings[line.training][0] = parent.scores[parent.main]
        trainings[line.training][line.training_step] = line.scores[line.main]
    measure = board.columns[0].measure if board.columns else SCORE
    return [Line(name, sorted(points.items()), True, measure) for name, points in trainings.items()]


def write_board(board: CandidateBoard, folder: Path) -> None:
    """Write all forms of the board and the figure; each file is replaced whole."""
    table = candidate_table(board)
    lines = training_lines(board)
    write_atomically(folder / JSON, to_json(board_json(board)))
    write_atomically(folder / MARKDOWN, render_markdown.render(table))
    drawn = png([(lines, STEPS)], board.name)
    if drawn:
        write_atomically(folder / FIGURE, drawn)
    pictures = [("Scores by training step", svg(lines, "Scores by training step"))] if drawn else []
    write_atomically(folder / HTML, html_board.render(replace(table, details=()), pictures))
