"""`darumeru watch`: score checkpoints as a training leaves them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from darumeru.cli.options import command
from darumeru.training.config import WatchConfig


def register(app: typer.Typer) -> None:
    help = "Score the checkpoints of a training as they appear; also from another machine."
    command(app, "watch", WatchConfig, watch, help)


def watch(
    config: WatchConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print each point as a line of JSON on stdout.")] = False,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.training.watch import Watcher

    progress = make_progress()
    watcher = Watcher(config, progress)
    count = 0
    try:
        for point in watcher.points():
            count += 1
            _show(point, as_json, progress)
    finally:
        progress.stop()
    print(
        f"{count} {'checkpoint' if count == 1 else 'checkpoints'} scored; "
        f"curve.jsonl and curve.png are in {config.place}",
        file=sys.stderr,
    )
    if watcher.broken:
        raise typer.Exit(1)


def _show(point: Any, as_json: bool, progress: Any) -> None:
    from darumeru.leaderboard.curve import point_line, point_to_json

    if as_json:
        typer.echo(point_to_json(point))
    else:
        progress.note(point_line(point))
