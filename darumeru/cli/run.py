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
    export: Annotated[str | None, typer.Option(help='"lm-eval": also write results in lm-eval\'s schema.')] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.core.errors import UserError
    from darumeru.runs import evaluate

    if export not in (None, "lm-eval"):
        raise UserError(f"unknown format `{export}`", "--export", "known: lm-eval")
    progress = make_progress()
    try:
        finished, _ = evaluate.run(config, progress)
    finally:
        progress.stop()
    _show(finished, as_json)
    if export:
        from darumeru.lm_eval_bridge import export_results

        export_results(finished)
    if finished.results.failed:
        raise typer.Exit(1)


def _show(finished: Any, as_json: bool) -> None:
    from darumeru.cli.result_table import result_table
    from darumeru.core.terminal import terminal
    from darumeru.runs.score import RESULTS

    if as_json:
        typer.echo((finished.path / RESULTS).read_text(encoding="utf-8"), nl=False)
        return
    terminal().print(result_table(finished.results))
    print(f"stored in {finished.path}", file=sys.stderr)
