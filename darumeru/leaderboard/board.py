"""From runs and published tables to one Table: cells, marks, ranks and footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.core.numbers import count
from darumeru.leaderboard.aggregate import Aggregate, check_kind, is_benchmark, make_aggregate
from darumeru.leaderboard.board_footer import footer, row_about
from darumeru.leaderboard.board_rows import BoardTasks, own_cells, published_cells
from darumeru.leaderboard.cell_text import cell_of
from darumeru.leaderboard.contenders import Contender, board_tasks, make_contenders
from darumeru.leaderboard.evidence import Evidence, gather
from darumeru.leaderboard.measures import task_measures
from darumeru.leaderboard.note import Note
from darumeru.leaderboard.published import Published
from darumeru.leaderboard.significance import tied
from darumeru.leaderboard.table import Cell, Column, Mark, Row, Table
from darumeru.metrics.measure import Measure
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
    contenders = make_contenders(runs, groups, options.allow_partial, options.allow_different)
    ranked = [contender for contender in contenders if contender.complete]
    evidence = gather([contender.run for contender in ranked], list(groups), options.resamples, options.seed)
    tasks = _tasks(groups, options, evidence, published, contenders)
    columns = tasks.columns(contenders)
    sort = _sort_key(options.sort, columns)
    rows = [_own_row(contender, ranked, tasks, evidence, columns) for contender in contenders]
    rows = _marked(rows, ranked, tasks, evidence, columns)
    rows += _published_rows(published, tasks, columns)
    if not runs and len(rows) > 1:
        rows = _marked_best(rows, columns)
    rows = ranked_rows(rows, columns[0])
    notes = footer(contenders, published, tasks, evidence, options.resamples)
    return Table(_title(runs, published), columns, _sorted(rows, sort, columns), sort, notes)


def _tasks(
    groups: Mapping[str, str],
    options: BoardOptions,
    evidence: Evidence,
    published: Sequence[Published],
    contenders: Sequence[Contender],
) -> BoardTasks:
    if groups:
        measures: dict[str, Measure] = {}
        for contender in contenders:
            measures = task_measures(contender.run.results) | measures
        aggregate = make_aggregate(options.aggregate, groups, evidence.chance, measures)
        by = options.by or ("groups" if is_benchmark(groups) else "tasks")
        return BoardTasks(dict(groups), aggregate, by, measures=measures)
    names = list(dict.fromkeys(name for table in published for row in table.rows for name in row.groups))
    if options.aggregate == "groups":
        title = f"Mean of {count(len(names), 'group')}"
        formula = Note(
            f"{title}: unweighted mean of the published group means",
            f"{title}: невзвешенное среднее опубликованных средних по группам",
        )
        aggregate = Aggregate("group_mean", title, formula, {})
    elif options.aggregate == "tasks":
        formula = Note(
            "Micro-Avg: unweighted mean of the 17 tasks, as published",
            "Micro-Avg: невзвешенное среднее по 17 задачам, как опубликовано",
        )
        aggregate = Aggregate("micro_avg", "Micro-Avg", formula, {})
    else:
        raise UserError("published tables have no single tasks, normalized needs them", "--aggregate normalized")
    return BoardTasks({}, aggregate, "groups", tuple(names))


def _own_row(
    contender: Contender, ranked: Sequence[Contender], tasks: BoardTasks, evidence: Evidence, columns: Sequence[Column]
) -> Row:
    place = ranked.index(contender) if contender in ranked else None
    cells = own_cells(contender, place, tasks, evidence)
    marks = set()
    if contender.missing:
        marks.add(Mark.PARTIAL)
    if contender.differs:
        marks.add(Mark.DIFFERS)
    if any(task.limited for name, task in contender.run.results.tasks.items() if name in tasks.groups):
        marks.add(Mark.LIMITED)
    shown = {column.key: cells[column.key] for column in columns if column.key in cells}
    return Row(contender.name, contender.name, shown, None, frozenset(marks), row_about(contender, tasks))


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
    rows: list[Row], ranked: Sequence[Contender], tasks: BoardTasks, evidence: Evidence, columns: Sequence[Column]
) -> list[Row]:
    """BEST and TIED of each column, among complete runs only. A board of one run has neither."""
    if len(ranked) < 2:
        return rows
    names = [contender.name for contender in ranked]
    of = {row.name: row for row in rows}
    marks: dict[str, dict[str, Mark]] = {name: {} for name in names}
    for column in columns:
        values = [of[name].cells[column.key].value for name in names]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            continue
        draws = tasks.draws(column.key, evidence)
        sign, best = column.measure.sign, column.best(known)
        ties = (False,) * len(known) if draws is None else tied(sign * draws, [sign * value for value in known])
        for name, value, tie in zip(names, known, ties, strict=True):
            if value == best:
                marks[name][column.key] = Mark.BEST
            elif tie:
                marks[name][column.key] = Mark.TIED
    return [
        replace(row, cells={key: _with(cell, marks.get(row.name, {}).get(key)) for key, cell in row.cells.items()})
        for row in rows
    ]


def _marked_best(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    """BEST of each column on a board of published rows alone; without samples nothing can be told to be tied."""
    return with_best(rows, {column.key: column.best(cell_of(row, column).value for row in rows) for column in columns})


def with_best(rows: Sequence[Row], best: Mapping[str, float | None]) -> list[Row]:
    """The rows with BEST where a cell has the best value of its column (key -> value)."""
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


def ranked_rows(rows: Sequence[Row], column: Column) -> list[Row]:
    """Places by a column among rows that may be ranked; equal values share one."""
    own = any(Mark.PUBLISHED not in row.marks for row in rows)
    values: dict[str, float] = {}
    for row in rows:
        value = cell_of(row, column).value
        if value is not None and Mark.PARTIAL not in row.marks and not (own and Mark.PUBLISHED in row.marks):
            values[row.key] = column.measure.sign * value
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


def _sorted(rows: list[Row], sort: str, columns: Sequence[Column]) -> tuple[Row, ...]:
    """Best first, partial rows under all others, rows without the number last; by name: alphabetically."""
    sign = next((column.measure.sign for column in columns if column.key == sort), 1)

    def order(row: Row) -> tuple[bool, float, str]:
        cell = row.cells.get(sort)
        value = cell.value if cell is not None and sort != NAME else None
        return (Mark.PARTIAL in row.marks, np.inf if value is None else -sign * value, row.name.casefold())

    return tuple(sorted(rows, key=order))


def _title(runs: Sequence[Run], published: Sequence[Published]) -> str:
    if not runs and len(published) == 1:
        return f"{published[0].title} ({published[0].source}, Table {published[0].table})"
    return "Published results" if not runs else "Leaderboard"
