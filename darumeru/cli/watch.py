"""`darumeru watch`: score checkpoints as a training leaves them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from darumeru.cli.options import command
from darumeru.core.options import plain
from darumeru.training.config import WatchConfig


def register(app: typer.Typer) -> None:
    help = "Score the checkpoints of a training as they appear; also from another machine."
    command(app, "watch", WatchConfig, watch, help)


def watch(
    config: WatchConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print each point as a line of JSON on stdout.")] = False,
    log_to: Annotated[
        str | None, typer.Option("--log-to", help="Also log each point to wandb, mlflow, trackio or tensorboard.")
    ] = None,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.publishing.trackers import check_tracker, open_tracker, point_values
    from darumeru.training.watch import Watcher

    check_tracker(log_to)
    progress = make_progress()
    watcher = Watcher(config, progress)
    count = 0
    tracker = None
    try:
        for point in watcher.points():
            if log_to and tracker is None:
                tracker = open_tracker(log_to, config.place.name, plain(config), config.place)
            if tracker is not None:
                tracker.log(point_values(point), point.step)
            count += 1
            _show(point, as_json, progress)
    finally:
        progress.stop()
        if tracker is not None:
            tracker.close()
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
