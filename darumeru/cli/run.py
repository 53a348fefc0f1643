"""`darumeru run`: score a model."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from darumeru.cli.options import command
from darumeru.runs.config import RunConfig


def register(app: typer.Typer) -> None:
    command(app, "run", RunConfig, run, "Score a model on the benchmark: all 17 data sets, or those of --tasks.")


def run(
    config: RunConfig,
    export: Annotated[
        str | None, typer.Option(help="Also write the results for lm-eval, inspect or every-eval-ever.")
    ] = None,
    log_to: Annotated[
        str | None, typer.Option("--log-to", help="Also log the scores to wandb, mlflow, trackio or tensorboard.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be asked, and stop; --json too.")
    ] = False,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.publishing.exports import check_format
    from darumeru.publishing.exports import export as write_as
    from darumeru.publishing.trackers import check_tracker, log_run
    from darumeru.runs import evaluate

    check_format(export, "--export")
    check_tracker(log_to)
    progress = make_progress()
    if dry_run:
        _outline(config, progress, as_json)
        return
    try:
        finished, _ = evaluate.run(config, progress)
    finally:
        progress.stop()
    _show(finished, as_json)
    if export:
        write_as(finished, export)
    if log_to:
        log_run(finished, log_to)
    if finished.results.failed:
        raise typer.Exit(1)


def _outline(config: RunConfig, progress: Any, as_json: bool) -> None:
    from darumeru.cli.outline_table import outline_json, outline_table
    from darumeru.core.terminal import terminal
    from darumeru.runs import evaluate
    from darumeru.runs.outline import outline

    folder = evaluate.place(config)
    try:
        found = outline(evaluate.prepare(config, folder, progress), folder)
    finally:
        progress.stop()
    if as_json:
        typer.echo(outline_json(found))
    else:
        terminal().print(outline_table(found))


def _show(finished: Any, as_json: bool) -> None:
    from darumeru.cli.result_table import result_table
    from darumeru.core.terminal import terminal
    from darumeru.runs.score import RESULTS

    if as_json:
        typer.echo((finished.path / RESULTS).read_text(encoding="utf-8"), nl=False)
        return
    terminal().print(result_table(finished.results))
    print(f"stored in {finished.path}", file=sys.stderr)
