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

    from darumeru.cli.options import as_flags
    from darumeru.runs.config import TaskConfig
    from darumeru.tasks.fetching import fetch_tasks
    from darumeru.tasks.registry import load_registry

    with as_flags():
        patterns = TaskConfig(tasks=tasks).patterns
    specs = load_registry(include=include or ()).select(patterns)
    for line in fetch_tasks(specs, data_dir):
        print(line, file=sys.stderr)
    typer.echo(str(data_dir))
