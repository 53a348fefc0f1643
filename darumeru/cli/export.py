"""`darumeru export`: a finished run in the format of another tool, or into a tracker of experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Write a finished run for inspect_ai, every-eval-ever or lm-eval, or log it to a tracker.")(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[str | None, typer.Option("--to", help="inspect, every-eval-ever or lm-eval.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder; default RUN/<format>.")] = None,
    log_to: Annotated[str | None, typer.Option("--log-to", help="wandb, mlflow, trackio or tensorboard.")] = None,
) -> None:
    from darumeru.core.errors import UserError
    from darumeru.publishing.exports import check_format
    from darumeru.publishing.exports import export as write
    from darumeru.publishing.trackers import check_tracker, log_run
    from darumeru.runs.run import load_run

    check_format(to, "--to")
    check_tracker(log_to)
    if to is None and log_to is None:
        raise UserError("nothing is asked for", "export", "--to FORMAT or --log-to TRACKER")
    found = load_run(run, check_samples=True)
    for path in write(found, to, output) if to else ():
        typer.echo(str(path))
    if log_to:
        log_run(found, log_to)
