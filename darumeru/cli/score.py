"""`darumeru score`: metrics again from the stored answers, no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Compute a run's scores again from its stored answers; no model is loaded.")(score)


def score(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    from darumeru.cli.result_table import result_table
    from darumeru.core.terminal import terminal
    from darumeru.runs.rescore import rescore
    from darumeru.runs.score import RESULTS

    results, notes = rescore(run)
    for note in notes:
        typer.echo(note, err=True)
    if as_json:
        typer.echo((run / RESULTS).read_text(encoding="utf-8"), nl=False)
    else:
        terminal().print(result_table(results))
    if results.failed:
        raise typer.Exit(1)
