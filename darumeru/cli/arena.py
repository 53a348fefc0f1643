"""`darumeru arena`: answers of several models against each other before a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darumeru.arena.config import ArenaConfig
from darumeru.cli.leaderboard import SUFFIXES, rendered
from darumeru.cli.options import command
from darumeru.core.errors import UserError

PAGE = "board.html"


def register(app: typer.Typer) -> None:
    command(app, "arena", ArenaConfig, arena, "Rate models by battles of their answers before a judge model.")


def arena(
    config: ArenaConfig,
    force: Annotated[bool, typer.Option("--force", help="Also over a file that Darumeru did not write.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the board as JSON.")] = False,
) -> None:
    from darumeru.arena.arena import hold_arena
    from darumeru.arena.board import arena_board
    from darumeru.cli.progress import make_progress
    from darumeru.core.terminal import terminal
    from darumeru.leaderboard.output import check_output, write_output
    from darumeru.leaderboard.render_terminal import render

    board = None if config.board is None else check_output(Path(config.board), force=force)
    if board is not None and board.suffix.lower() not in SUFFIXES:
        raise UserError("the suffix names no format", str(board), f"one of {', '.join(SUFFIXES)}")
    progress = make_progress()
    try:
        held = hold_arena(config, progress)
    finally:
        progress.stop()
    table = arena_board(held)
    for path in filter(None, (config.folder / PAGE, board)):
        write_output(path, rendered(table, SUFFIXES[path.suffix.lower()]))
    if as_json:
        typer.echo(rendered(table, "json"), nl=False)
    else:
        console = terminal()
        console.print(render(table, console.width))
    for name, why in held.failures.items():
        typer.echo(f"{name}: {why}", err=True)
    if held.failures:
        raise typer.Exit(1)
