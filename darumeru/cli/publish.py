"""`darumeru publish`: runs into a repository of the Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Put a run into a model's card, a data set or a leaderboard Space. Shows what would change.")(
        publish
    )


def publish(
    runs: Annotated[list[Path], typer.Argument(help="Run folder; for a Space also several, or published tables.")],
    to: Annotated[str, typer.Option("--to", help="model, dataset or space.")],
    repo: Annotated[str, typer.Option("--repo", help="Repository, OWNER/NAME.")],
    yes: Annotated[bool, typer.Option("--yes", help="Send it. Without this nothing leaves this machine.")] = False,
    source: Annotated[
        str | None, typer.Option("--source", help="Address named as the source; default: the results beside the card.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    pull_request: Annotated[bool, typer.Option("--pull-request", help="Open a pull request instead.")] = False,
) -> None:
    from darumeru.core.errors import RunFailed, UserError, near_names
    from darumeru.leaderboard.board_inputs import load_inputs
    from darumeru.publishing.hub import Remote, changed, differences
    from darumeru.publishing.repositories import KINDS, contents

    if to not in KINDS:
        raise UserError(f"unknown kind `{to}`", "--to", f"known: {', '.join(KINDS)}", near_names(to, KINDS))
    if source is not None and not source.startswith(("https://", "http://")):
        raise UserError("is not an address", f"--source {source}", "https://...")
    found, published = load_inputs(runs)
    remote = Remote.open(repo, to)
    made = contents(to, found, published, repo, remote.text, source)
    news = changed(remote, made.files)
    for line in differences(remote, news):
        typer.echo(line)
    for said in made.said:
        print(f"note: {said}", file=sys.stderr)
    if remote.exists is None:
        print(f"note: the Hub was not reached, all is shown as new: {remote.reason}", file=sys.stderr)
    if not news:
        print(f"nothing to change in {repo}", file=sys.stderr)
        return
    if not yes:
        print(f"dry run: {len(news)} files for {to} {repo}; --yes sends them", file=sys.stderr)
        return
    if remote.exists is None:
        raise RunFailed(f"the Hub was not reached: {remote.reason}")
    print(remote.send(news, f"Darumeru results of {found[0].name if found else repo}", private, pull_request))
