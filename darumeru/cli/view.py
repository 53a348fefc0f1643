"""`darumeru view`: the runs of a folder as pages in a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Show all runs of a folder in a browser: board, curves, comparisons, samples; live.")(view)


def view(
    runs: Annotated[Path, typer.Argument(help="Folder of runs, or one run.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
) -> None:
    from darumeru.viewer.server import Viewer

    with Viewer(runs.expanduser(), port) as viewer:
        print(viewer.url, flush=True)
        print(f"shows {runs}, on this machine only and to whoever has the address; Ctrl-C ends it", file=sys.stderr)
        try:
            viewer.serve_forever()
        except SystemExit:  # a signal is how this command ends
            return
