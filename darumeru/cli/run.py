"""`darumeru run`: score a model."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from darumeru.cli.options import Many, command
from darumeru.runs.config import RunConfig


def register(app: typer.Typer) -> None:
    help = "Score a model, or several (--model A --model B), on the benchmark: all 17 data sets, or those of --tasks."
    command(app, "run", RunConfig, run, help, Many("model", "models", run_models))


def run(
    config: RunConfig,
    export: Annotated[
        str | None, typer.Option(help="Also write the results for lm-eval, inspect or every-eval-ever.")
    ] = None,
    log_to: Annotated[
        str | None, typer.Option("--log-to", help="Also log the scores to wandb, mlflow, trackio or tensorboard.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json (of several models a board) on stdout.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be asked, and stop; --json too.")
    ] = False,
    models: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A model a line, with options of its own: MODEL name=x dtype=float32."),
    ] = None,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.runs import evaluate

    _check_targets(export, log_to)
    progress = make_progress()
    if dry_run:
        _show_outlines([config], progress, as_json)
        return
    try:
        finished, _ = evaluate.run(config, progress)
    finally:
        progress.stop()
    _show(finished, as_json)
    _send(finished, export, log_to)
    if finished.results.failed:
        raise typer.Exit(1)


def run_models(
    configs: list[RunConfig], export: str | None, log_to: str | None, as_json: bool, dry_run: bool, models: str | None
) -> None:
    """Every model, then one board of those that were scored; exit code 1 where one was not."""
    from darumeru.cli.progress import make_progress
    from darumeru.runs.many import placed, run_many
    from darumeru.runs.run import load_run

    _check_targets(export, log_to)
    configs = placed(configs)
    progress = make_progress()
    if dry_run:
        _show_outlines(configs, progress, as_json)
        return
    failed = {}
    scored = []
    try:
        for number, (config, outcome) in enumerate(run_many(configs, progress), 1):
            if outcome.error:
                failed[config.model] = outcome.error
            if outcome.scored:
                scored.append(load_run(outcome.folder))
            said = f"failed: {outcome.error}" if outcome.error else f"stored in {outcome.folder}"
            progress.note(f"{number} of {len(configs)}: {config.model} {said}")
    finally:
        progress.stop()
    if scored:
        _show_board(scored, as_json)
    for run in scored:
        _send(run, export, log_to)
    if failed:
        print(
            f"{len(failed)} of {len(configs)} models have no complete score; the same command tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _check_targets(export: str | None, log_to: str | None) -> None:
    from darumeru.publishing.exports import check_format
    from darumeru.publishing.trackers import check_tracker

    check_format(export, "--export")
    check_tracker(log_to)


def _send(finished: Any, export: str | None, log_to: str | None) -> None:
    from darumeru.publishing.exports import export as write_as
    from darumeru.publishing.trackers import log_run

    if export:
        write_as(finished, export)
    if log_to:
        log_run(finished, log_to)


def _show_outlines(configs: list[RunConfig], progress: Any, as_json: bool) -> None:
    """What would be asked; as JSON one object, of several models a list of them."""
    from darumeru.cli.outline_table import outline_table, outline_values
    from darumeru.core.files import to_json
    from darumeru.core.terminal import terminal
    from darumeru.runs import evaluate
    from darumeru.runs.outline import outline

    found = []
    try:
        for config in configs:
            folder = evaluate.place(config)
            found.append(outline(evaluate.prepare(config, folder, progress), folder))
    finally:
        progress.stop()
    if as_json:
        values = [outline_values(one) for one in found]
        typer.echo(to_json(values if len(values) > 1 else values[0]), nl=False)
        return
    for one in found:
        terminal().print(outline_table(one))


def _show_board(runs: list[Any], as_json: bool) -> None:
    """On stdout, and as board.md and board.html beside the run folders."""
    from darumeru.core.files import write_atomically
    from darumeru.core.terminal import terminal
    from darumeru.leaderboard import html_board, render_json, render_markdown, render_terminal
    from darumeru.leaderboard.board import BoardOptions, build_board

    table = build_board(runs, options=BoardOptions(allow_partial=True, allow_different=True))
    folder = runs[0].path.parent
    write_atomically(folder / "board.md", render_markdown.render(table))
    write_atomically(folder / "board.html", html_board.render(table))
    if as_json:
        typer.echo(render_json.render(table), nl=False)
        return
    console = terminal()
    console.print(render_terminal.render(table, console.width))
    print(f"board.md and board.html are in {folder}", file=sys.stderr)


def _show(finished: Any, as_json: bool) -> None:
    from darumeru.cli.result_table import result_table
    from darumeru.core.terminal import terminal
    from darumeru.runs.score import RESULTS

    if as_json:
        typer.echo((finished.path / RESULTS).read_text(encoding="utf-8"), nl=False)
        return
    terminal().print(result_table(finished.results))
    print(f"stored in {finished.path}", file=sys.stderr)
