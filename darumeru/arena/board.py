"""The arena as the value behind every board: points with intervals, shares of battles, how answers look."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np

from darumeru.arena.arena import Arena
from darumeru.arena.battles import shares
from darumeru.core.numbers import count, number, percent
from darumeru.leaderboard.board import ranked_rows, with_best
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.significance import interval_of, tied
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.metrics.measure import SHARE, Measure
from darumeru.runs.results import TaskScore

POINTS = Measure("points", digits=0)
ELO, PLAIN, WON, TIED, BATTLES, LENGTH = "elo", "elo_without_style", "won", "tied", "battles", "characters"


def arena_board(arena: Arena) -> Table:
    """Models by points; those that cannot be told from the best are marked."""
    rows = [_row(arena, one.name) for one in arena.contestants]
    if len(arena.draws) > 1:
        rows = _marked(arena, rows)
    columns = _columns(arena)
    rows = ranked_rows(rows, columns[0])
    rows.sort(key=lambda row: (-(row.cells[ELO].value or 0.0), row.name.casefold()))
    return Table(f"Arena: {arena.config.questions}", columns, tuple(rows), ELO, tuple(_footer(arena)))


def _columns(arena: Arena) -> tuple[Column, ...]:
    controlled = arena.config.style != "none"
    found = [Column(ELO, "Elo", "aggregate", f"points, {arena.anchor} has 1000", POINTS)]
    if controlled:
        found.append(Column(PLAIN, "Elo, style not controlled", "task", "the same without control of style", POINTS))
    counts = Measure("count", digits=0, low=0)
    return (
        *found,
        Column(WON, "won", "task", "share of battles won", SHARE),
        Column(TIED, "tied", "task", "share of battles tied", SHARE),
        Column(BATTLES, "battles", "task", "battles judged in both orders", counts),
        Column(LENGTH, "characters", "task", "median length of an answer", Measure("characters", digits=0, low=0)),
    )


def _row(arena: Arena, name: str) -> Row:
    won, lost, draws = shares(arena.fought.battles)[name]
    fights = won + lost + draws
    low, high = interval_of(arena.draws[name]) if name in arena.draws else (None, None)
    answers = next(one.answers for one in arena.contestants if one.name == name)
    cells = {
        ELO: Cell(arena.elo[name], low, high),
        PLAIN: Cell(arena.plain_elo[name]),
        WON: Cell(won / fights),
        TIED: Cell(draws / fights),
        BATTLES: Cell(float(fights)),
        LENGTH: Cell(float(median(map(len, answers.values())))),
    }
    shown = {column.key: cells[column.key] for column in _columns(arena)}
    return Row(name, name, shown, about={"answers": str(len(answers)), "won, lost, tied": f"{won}, {lost}, {draws}"})


def _marked(arena: Arena, rows: list[Row]) -> list[Row]:
    names = [row.name for row in rows]
    values = [arena.elo[name] for name in names]
    ties = tied(np.stack([arena.draws[name] for name in names]), values)
    rows = with_best(rows, {ELO: max(values)})
    return [
        _with_tie(row) if tie and Mark.BEST not in row.cells[ELO].marks else row
        for row, tie in zip(rows, ties, strict=True)
    ]


def _with_tie(row: Row) -> Row:
    cell = row.cells[ELO]
    return replace(row, cells={**row.cells, ELO: replace(cell, marks=cell.marks | {Mark.TIED})})


def _value(task: TaskScore, name: str) -> float | None:
    found = task.metrics.get(name)
    return found.value if found else None


def _footer(arena: Arena) -> list[Note]:
    config, judge, found = arena.config, arena.judge, arena.fought
    (task,) = judge.results.tasks.values()
    same = number(_value(task, "order_consistency"))
    prefers = number(_value(task, "position_bias"), signed=True)
    labels = number(_value(task, "label_probability"))
    unread = percent(found.unread / max(2 * len(found.battles), 1))
    fought = count(len(found.battles), "battle")
    notes = [
        Note(
            f"Judge {judge.name}: {fought} in both orders; the same verdict in both on {same}; prefers the "
            f"first answer by {prefers}; {unread} of the verdicts cannot be read and count as ties; the labels "
            f"have {labels} of the probability",
            f"Судья {judge.name}: боёв {len(found.battles)}, каждый в обоих порядках; в обоих порядках одно и то же: "
            f"{same}; перевес первого ответа {prefers}; не читается вердиктов: {unread}, они считаются ничьими; "
            f"вероятность меток {labels}",
        ),
        Note(
            f"Bradley-Terry, ties {config.ties}, control of style: {config.style}; intervals from "
            f"{count(config.resamples, 'resample')} of questions (seed {config.seed})",
            f"Брэдли — Терри, ничьи: {config.ties}, поправка на стиль: {config.style}; интервалы по "
            f"{config.resamples} перевыборкам вопросов (seed {config.seed})",
        ),
    ]
    if config.active:
        notes.append(
            Note(
                f"Active pairing asked {found.asked} of {arena.total} battles: {arena.saved} saved",
                f"Активный выбор пар: задано боёв {found.asked} из {arena.total}, сбережено {arena.saved}",
            )
        )
    if missing := found.asked - len(found.battles):
        notes.append(Note(f"{count(missing, 'battle')} not judged", f"не оценено боёв: {missing}"))
    return notes
