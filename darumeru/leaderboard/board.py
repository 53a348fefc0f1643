"""From runs and published tables to one Table: cells, marks, ranks and footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.leaderboard.aggregate import Aggregate, check_kind, is_benchmark, make_aggregate
from darumeru.leaderboard.board_footer import footer, row_about
from darumeru.leaderboard.board_rows import BoardTasks, own_cells, published_cells
from darumeru.leaderboard.entries import Entry, board_tasks, make_entries
from darumeru.leaderboard.evidence import Evidence, gather
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.published import Published
from darumeru.leaderboard.significance import tied
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.runs.run import Run

BY = ("groups", "tasks")
NAME = "name"


@dataclass(frozen=True)
class BoardOptions:
    """sort: key of a column or "name", None = the aggregate. by: which columns beside the aggregate, None = groups
    where all runs have the 17 tasks, else tasks. aggregate: tasks, groups or normalized."""

    sort: str | None = None
    by: str | None = None
    aggregate: str = "tasks"
    allow_partial: bool = False
    allow_different: bool = False
    resamples: int = 2000
    seed: int = 0


def build_board(runs: Sequence[Run], published: Sequence[Published] = (), options: BoardOptions | None = None) -> Table:
    """The board of these runs and published tables.

    Complete runs are ranked by the aggregate; published rows only where there are no runs. Raises UserError for runs
    that cannot stand on one board, and for options that name nothing.
    """
    options = options or BoardOptions()
    check_kind(options.aggregate)
    if options.by not in (None, *BY):
        raise UserError(
            f"no columns `{options.by}`, there are {', '.join(BY)}", "--by", near=near_names(options.by, BY)
        )
    if not runs and not published:
        raise UserError("nothing to show: no runs and no published tables")
    groups = board_tasks(runs)
    entries = make_entries(runs, groups, options.allow_partial, options.allow_different)
    ranked = [entry for entry in entries if entry.complete]
    evidence = gather([entry.run for entry in ranked], list(groups), options.resamples, options.seed)
    tasks = _tasks(groups, options, evidence, published)
    columns = tasks.columns(entries)
    sort = _sort_key(options.sort, columns)
    rows = [_own_row(entry, ranked, tasks, evidence, columns) for entry in entries]
    rows = _marked(rows, ranked, tasks, evidence, columns)
    rows += _published_rows(published, tasks, columns)
    if not runs:
        rows = _marked_best(rows, columns)
    rows = _ranked(rows, tasks.aggregate.key)
    notes = footer(entries, published, tasks, evidence, options.resamples)
    return Table(_title(runs, published), columns, _sorted(rows, sort), sort, notes)


def _tasks(
    groups: Mapping[str, str], options: BoardOptions, evidence: Evidence, published: Sequence[Published]
) -> BoardTasks:
    if groups:
        aggregate = make_aggregate(options.aggregate, groups, evidence.chance)
        by = options.by or ("groups" if is_benchmark(groups) else "tasks")
        return BoardTasks(dict(groups), aggregate, by)
    names = list(dict.fromkeys(name for table in published for row in table.rows for name in row.groups))
    if options.aggregate == "groups":
        title = f"Mean of {len(names)} groups"
        formula = Note(
            f"{title}: unweighted mean of the published group means",
            f"{title}: невзвешенное среднее опубликованных средних по группам",
        )
        aggregate = Aggregate("group_mean", title, formula, {}, {})
    elif options.aggregate == "tasks":
        formula = Note(
            "Micro-Avg: unweighted mean of the 17 tasks, as published",
            "Micro-Avg: невзвешенное среднее по 17 задачам, как опубликовано",
        )
        aggregate = Aggregate("micro_avg", "Micro-Avg", formula, {}, {})
    else:
        raise UserError("published tables have no single tasks, normalized needs them", "--aggregate normalized")
    return BoardTasks({}, aggregate, "groups", tuple(names))


def _own_row(
    entry: Entry, ranked: Sequence[Entry], tasks: BoardTasks, evidence: Evidence, columns: Sequence[Column]
) -> Row:
    place = ranked.index(entry) if entry in ranked else None
    cells = own_cells(entry, place, tasks, evidence)
    marks = set()
    if entry.missing:
        marks.add(Mark.PARTIAL)
    if entry.differs:
        marks.add(Mark.DIFFERS)
    if any(task.limited for name, task in entry.run.results.tasks.items() if name in tasks.groups):
        marks.add(Mark.LIMITED)
    shown = {column.key: cells[column.key] for column in columns if column.key in cells}
    return Row(entry.name, entry.name, shown, None, frozenset(marks), row_about(entry, tasks))


def _published_rows(published: Sequence[Published], tasks: BoardTasks, columns: Sequence[Column]) -> list[Row]:
    rows: list[Row] = []
    taken: set[str] = set()
    for table in published:
        for row in table.rows:
            name, key = row.name, f"{table.source}, Table {table.table}: {row.name}"
            count = 1
            while key in taken:
                count += 1
                key = f"{table.source}, Table {table.table}: {row.name} #{count}"
            taken.add(key)
            cells = published_cells(row, tasks)
            about = {"profile": table.profile, "source": f"{table.source}, Table {table.table}", "table": table.title}
            shown = {column.key: cells[column.key] for column in columns if column.key in cells}
            rows.append(Row(key, name, shown, None, frozenset({Mark.PUBLISHED}), about | dict(row.labels)))
    names = [row.name for row in rows]
    tables = len({table.table for table in published})
    return [
        replace(row, name=f"{row.name} ({row.about['source'].rsplit(', ', 1)[-1]})")
        if tables > 1 and names.count(row.name) > 1
        else row
        for row in rows
    ]


def _marked(
    rows: list[Row], ranked: Sequence[Entry], tasks: BoardTasks, evidence: Evidence, columns: Sequence[Column]
) -> list[Row]:
    """BEST and TIED of each column, among complete runs only. A board of one run has neither."""
    if len(ranked) < 2:
        return rows
    names = [entry.name for entry in ranked]
    of = {row.name: row for row in rows}
    marks: dict[str, dict[str, Mark]] = {name: {} for name in names}
    for column in columns:
        values = [of[name].cells[column.key].value for name in names]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            continue
        draws = tasks.draws(column.key, evidence)
        ties = tied(draws, known) if draws is not None else (False,) * len(known)
        for name, value, tie in zip(names, known, ties, strict=True):
            if value == max(known):
                marks[name][column.key] = Mark.BEST
            elif tie:
                marks[name][column.key] = Mark.TIED
    return [
        replace(row, cells={key: _with(cell, marks.get(row.name, {}).get(key)) for key, cell in row.cells.items()})
        for row in rows
    ]


def _marked_best(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """BEST of each column on a board of published rows alone; without samples nothing can be told to be tied."""
    best: dict[str, float] = {}
    for column in columns:
        values = [cell.value for row in rows if (cell := row.cells.get(column.key)) and cell.value is not None]
        if len(values) > 1:
            best[column.key] = max(values)
    return [
        replace(
            row,
            cells={
                key: _with(cell, Mark.BEST if cell.value is not None and cell.value == best.get(key) else None)
                for key, cell in row.cells.items()
            },
        )
        for row in rows
    ]


def _with(cell: Cell, mark: Mark | None) -> Cell:
    return replace(cell, marks=cell.marks | {mark}) if mark else cell


def _ranked(rows: list[Row], key: str) -> list[Row]:
    """Places by the aggregate among rows that may be ranked; equal values share one."""
    own = any(Mark.PUBLISHED not in row.marks for row in rows)
    values: dict[str, float] = {}
    for row in rows:
        value = row.cells[key].value if key in row.cells else None
        if value is not None and Mark.PARTIAL not in row.marks and not (own and Mark.PUBLISHED in row.marks):
            values[row.key] = value
    return [
        replace(row, rank=1 + sum(other > values[row.key] for other in values.values())) if row.key in values else row
        for row in rows
    ]


def _sort_key(sort: str | None, columns: Sequence[Column]) -> str:
    if sort is None:
        return columns[0].key
    keys = [column.key for column in columns]
    known = {key.casefold(): key for key in keys} | {key.rsplit("/", 1)[-1].casefold(): key for key in keys}
    known |= {column.title.casefold(): column.key for column in columns} | {NAME: NAME}
    if sort.casefold() not in known:
        raise UserError(
            f"no column `{sort}`, there are {', '.join([NAME, *keys])}", "--sort", near=near_names(sort, [NAME, *keys])
        )
    return known[sort.casefold()]


def _sorted(rows: list[Row], sort: str) -> tuple[Row, ...]:
    """Highest first, partial rows under all others, rows without the number last; by name: alphabetically."""

    def order(row: Row) -> tuple[bool, float, str]:
        cell = row.cells.get(sort)
        value = cell.value if cell is not None and sort != NAME else None
        return (Mark.PARTIAL in row.marks, np.inf if value is None else -value, row.name.casefold())

    return tuple(sorted(rows, key=order))


def _title(runs: Sequence[Run], published: Sequence[Published]) -> str:
    if not runs and len(published) == 1:
        return f"{published[0].title} ({published[0].source}, Table {published[0].table})"
    return "Published results" if not runs else "Leaderboard"
