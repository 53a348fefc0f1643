"""`darumeru fetch`: data for machines without network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Download the data of tasks into a folder that `darumeru run --data` reads without network.")(
        fetch
    )


def fetch(
    data_dir: Annotated[Path, typer.Option(help="Folder to write to.")],
    tasks: Annotated[str, typer.Option(help="Tasks, groups or globs, separated by commas.")] = "darumeru",
    include: Annotated[
        list[str] | None, typer.Option(help="A YAML file or folder with more tasks; may be repeated.", metavar="PATH")
    ] = None,
) -> None:
    import sys

    from darumeru.core.errors import UserError
    from darumeru.tasks.fetching import fetch_tasks
    from darumeru.tasks.registry import load_registry

    patterns = [part.strip() for part in tasks.split(",") if part.strip()]
    if not patterns:
        raise UserError("no task is named", "--tasks", "see `darumeru tasks list`")
    specs = load_registry(include=include or ()).select(patterns)
    for line in fetch_tasks(specs, data_dir):
        print(line, file=sys.stderr)
    typer.echo(str(data_dir))
