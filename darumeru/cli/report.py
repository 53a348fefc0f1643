"""`darumeru report`: one run as one page, with every sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Write a run as one HTML page that works offline: scores, plots, every sample.")(report)


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Option("--output", help="The HTML file to write; an earlier one is replaced.")],
    force: Annotated[bool, typer.Option("--force", help="Also over a file that Darumeru did not write.")] = False,
    curve: Annotated[
        Path | None, typer.Option("--curve", help="Learning curve of a training; default RUN/curve.jsonl.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="Folder or Hub id of the run's tokenizer, to colour tokens; default the folder that was run.",
        ),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Report a run that was interrupted; the page says so.")
    ] = False,
) -> None:
    from darumeru.core.numbers import size
    from darumeru.core.terminal import terminal
    from darumeru.leaderboard.html_report import write_report

    written = write_report(run, output, force=force, curve=curve, tokenizer=tokenizer, unfinished=allow_partial)
    tokens = f", tokens of {written.with_tokens}" if written.with_tokens else ""
    terminal(stderr=True).print(
        f"{written.path}: {written.samples} samples{tokens}, {size(written.size)}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
