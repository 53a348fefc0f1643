"""`darumeru lep`: give a chat model the Russian vocabulary of a donor made from its base."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    app.command("lep")(lep)


def lep(
    base: Annotated[str, typer.Option(help="Foundation model: folder or Hub id.", show_default=False)],
    target: Annotated[str, typer.Option(help="Its instruct-tuned variant: folder or Hub id.", show_default=False)],
    donor: Annotated[
        str,
        typer.Option(help="The base with a new vocabulary, embeddings trained; or a LoRA adapter.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the result; new or empty.", show_default=False)],
    method: Annotated[str, typer.Option(help="conversion, overlap, swap or chat_vector.")] = "conversion",
    force: Annotated[bool, typer.Option("--force", help="Go on when the donor seems not made from this base.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; cuda where there is one by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Learned Embedding Propagation: the target with the donor's vocabulary and propagated embeddings.

    Needs no GPU and no whole model in memory. The report is printed and kept in OUTPUT/lep/report.json.
    """
    from darumeru.core.terminal import terminal
    from lep_plugins.propagation import propagate

    stderr = terminal(stderr=True)

    def say(line: str) -> None:
        stderr.print(line, markup=False, highlight=False)

    with _byte_progress(stderr) as progress:
        report = propagate(base, target, donor, output, method, force, device=device, progress=progress, say=say)
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        terminal().print(report.render())


@contextmanager
def _byte_progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar over written bytes on stderr; nothing where stderr is no terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("weights", total=None, visible=False)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield progress
