"""`darumeru leaderboard`: runs and published tables as one board."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darumeru.core.errors import UserError, near_names
from darumeru.core.terminal import printable

if TYPE_CHECKING:
    from darumeru.leaderboard.table import Table

FORMATS = ("markdown", "html", "csv", "latex", "json")
SUFFIXES = {".md": "markdown", ".html": "html", ".htm": "html", ".csv": "csv", ".tex": "latex", ".json": "json"}


def register(app: typer.Typer) -> None:
    app.command(help="Compare runs and published results on one board, with intervals and ties.")(leaderboard)


def leaderboard(
    sources: Annotated[list[Path], typer.Argument(help="Run folders, folders of runs, published tables (JSON).")],
    form: Annotated[str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; else by --output.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write into this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also over a file that Darumeru did not write.")] = False,
    sort: Annotated[str | None, typer.Option("--sort", help="Column to sort by, or name.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Columns: groups or tasks.")] = None,
    aggregate: Annotated[str, typer.Option("--aggregate", help="tasks, groups or normalized.")] = "tasks",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Show incomplete and unfinished runs, unranked.")
    ] = False,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Show runs made under other settings, marked.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what is no finished run, instead of leaving it out.")
    ] = False,
    model_card: Annotated[bool, typer.Option("--model-card", help="Print a run's model-index for its card.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    from darumeru.leaderboard.output import check_output

    output = None if output is None else check_output(output, sources, force=force)
    if model_card:
        _write(_model_card(sources), output)
        return
    chosen = _format(form, output, as_json)
    from darumeru.leaderboard.board import BoardOptions, build_board
    from darumeru.leaderboard.board_inputs import load_inputs

    options = BoardOptions(sort, by, aggregate, allow_partial, allow_different)
    runs, published = load_inputs(sources, None if strict else _say, allow_partial)
    table = build_board(runs, published, options)
    if chosen is None:
        from darumeru.core.terminal import terminal
        from darumeru.leaderboard.render_terminal import render

        console = terminal()
        console.print(render(table, console.width))
        return
    _write(rendered(table, chosen), output)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _format(form: str | None, output: Path | None, as_json: bool) -> str | None:
    if form is not None and form not in FORMATS:
        raise UserError(
            f"no format `{form}`, there are {', '.join(FORMATS)}", "--format", near=near_names(form, FORMATS)
        )
    if as_json and form not in (None, "json"):
        raise UserError(f"--json and --format {form} contradict each other")
    if as_json or form is not None:
        return "json" if as_json else form
    if output is None:
        return None
    if output.suffix.lower() not in SUFFIXES:
        raise UserError("the suffix names no format", str(output), f"--format {'|'.join(FORMATS)}")
    return SUFFIXES[output.suffix.lower()]


def rendered(table: Table, form: str) -> str:
    """A board as text in one of FORMATS."""
    from importlib import import_module

    module = "html_board" if form == "html" else f"render_{form}"
    text: str = import_module(f"darumeru.leaderboard.{module}").render(table)
    return text


def _model_card(sources: list[Path]) -> str:
    from darumeru.leaderboard.board_inputs import load_inputs
    from darumeru.leaderboard.render_model_card import render

    runs, published = load_inputs(sources)
    if len(runs) != 1 or published:
        raise UserError(f"a model card is of one run, here are {len(runs) + len(published)} sources", "--model-card")
    return render(runs[0])


def _write(text: str, output: Path | None) -> None:
    text = printable(text)
    if output is None:
        typer.echo(text, nl=False)
        return
    from darumeru.leaderboard.output import write_output

    write_output(output, text)
