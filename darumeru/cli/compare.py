"""`darumeru compare`: two runs, task by task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darumeru.core.files import to_json

if TYPE_CHECKING:
    from darumeru.leaderboard.comparison import Comparison
    from darumeru.runs.run import Run


def register(app: typer.Typer) -> None:
    app.command(help="Compare two runs: differences, paired intervals, and which records flipped.")(compare)


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder A.")],
    run_b: Annotated[Path, typer.Argument(help="Run folder B.")],
    tasks: Annotated[str, typer.Option(help="Only these tasks, separated by commas.")] = "",
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Compare although settings that change numbers differ.")
    ] = False,
    flips: Annotated[str, typer.Option(metavar="TASK", help="List the flipped records of a task.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write a page (.html) with every sample of both runs beside it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also over a file that Darumeru did not write.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    from darumeru.core.terminal import terminal
    from darumeru.leaderboard.comparison import compare as compare_runs
    from darumeru.leaderboard.flips import flipped_samples
    from darumeru.leaderboard.output import check_output
    from darumeru.leaderboard.render_comparison import comparison_table
    from darumeru.runs.run import load_run

    output = None if output is None else check_output(output, (run_a, run_b), force=force)
    a, b = (load_run(path, check_samples=True) for path in (run_a, run_b))
    chosen = [name.strip() for name in tasks.split(",") if name.strip()]
    if flips:
        chosen = [flips]
    comparison = compare_runs(a, b, chosen, resamples, seed, allow_different)
    if output is not None:
        _write_page(output, a, b, comparison)
        return
    if as_json:
        typer.echo(to_json(comparison.to_dict()), nl=False)
        return
    terminal().print(comparison_table(comparison))
    if flips:
        for flip in flipped_samples(a, b, comparison.tasks):
            typer.echo(f"{'+' if flip.gained else '-'} {flip.id}\tA: {flip.a}\tB: {flip.b}")


def _write_page(output: Path, a: Run, b: Run, comparison: Comparison) -> None:
    from darumeru.leaderboard.html_comparison import render
    from darumeru.leaderboard.output import write_output
    from darumeru.leaderboard.report_pairs import read_pairs

    write_output(output, render(comparison, read_pairs(a, b, [one.task for one in comparison.tasks])))
