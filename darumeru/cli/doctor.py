"""`darumeru doctor`: what this machine has, what will not work on it, and how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from darumeru.core.files import to_json


def register(app: typer.Typer) -> None:
    app.command("doctor", help="Look at versions, GPU, vLLM, disk and the Hub: what will not work, how to mend it.")(
        doctor
    )


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    from rich.table import Table
    from rich.text import Text

    from darumeru.core.diagnosis import State, findings
    from darumeru.core.terminal import terminal

    styles = {State.GOOD: ("ok", "green"), State.ABSENT: ("–", "dim"), State.BAD: ("bad", "bold red")}
    with terminal(stderr=True).status("looking at this machine (vLLM is imported once)"):
        found = list(findings())
    if as_json:
        values = [{**vars(one), "state": one.state.value} for one in found]
        typer.echo(to_json(values), nl=False)
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column()
        for one in found:
            word, style = styles[one.state]
            text = Text(one.found) + (Text(f"\n{one.mend}", style=style) if one.mend else Text())
            table.add_row(Text(word, style=style), one.subject, text)
        terminal().print(table)
    if any(one.state is State.BAD for one in found):
        raise typer.Exit(1)
