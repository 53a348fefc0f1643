"""`darumeru adapt`: carry out a recipe."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darumeru.core.files import to_json

if TYPE_CHECKING:
    from darumeru.adaptation.preview import PreviewLine
    from darumeru.leaderboard.candidates import CandidateBoard

MOST_TASKS = 4
WIDE = 1000
"""Columns of a pipe, so that nothing is cut."""


def register(app: typer.Typer) -> None:
    app.command("adapt")(adapt)


def adapt(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML); docs/recipes.md says how to write one.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Models, scores and the board; the same command on it goes on. Default: adapted/<recipe>."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE over the file: seeds, score.limit, data.NAME, STEP.PARAM, STEP.matrix.AXIS."
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option("--race", help="Find the best of several models by a race (docs/recipes.md)."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the plan: sizes, times, what is done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the board (or the plan) as JSON.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(help='Steps and scorings on a Ray cluster: HOST:6379, or "auto" on one of its nodes.'),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of a training step on the cluster, a GPU each.")] = 1,
) -> None:
    """Adapt models step by step: vocabulary, continued pre-training, LEP, calibration; every model is scored.

    Each step's output is kept under a hash of what it was made from, so an interrupted pipeline goes on where it was.
    """
    from darumeru.adaptation.pipeline import Pipeline
    from darumeru.adaptation.ranks import is_first, leave
    from darumeru.adaptation.recipe import load_recipe
    from darumeru.cli.adapt_progress import AdaptProgress
    from darumeru.core.shipped import shipped

    loaded = load_recipe(shipped(recipe), _overrides(settings or []), race)
    folder = (output or Path("adapted") / recipe.stem).expanduser()
    progress = AdaptProgress(quiet=not is_first())
    pipeline = Pipeline(loaded, folder, progress, cluster, workers)
    if dry_run:
        _show_plan(pipeline, as_json)
        return
    try:
        board = pipeline.run()
        leave()
    finally:
        progress.close()
    if not is_first():
        return
    from darumeru.leaderboard.candidates import board_json

    if as_json:
        typer.echo(to_json(board_json(board)), nl=False)
    else:
        _show_board(board)
        print(f"board.md, board.html and board.json are in {folder}", file=sys.stderr)


def _overrides(settings: list[str]) -> dict[str, str]:
    from darumeru.core.errors import UserError

    found = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError("is not KEY=VALUE", f"--set {text}", "for example --set score.limit=16")
        found[key] = value
    return found


def _show_plan(pipeline: Any, as_json: bool) -> None:
    from rich.text import Text
    from rich.tree import Tree

    from darumeru.adaptation.preview import make_preview, preview_json
    from darumeru.core.numbers import seconds
    from darumeru.core.terminal import terminal

    plan = make_preview(pipeline)
    if as_json:
        typer.echo(to_json(preview_json(pipeline, plan)), nl=False)
        return
    steps = [one for one in plan if one.step != "model"]
    done = sum(one.state == "done" for one in steps)
    left = sum(one.seconds or 0 for one in steps if one.state != "done")
    rest = f"; about {seconds(left)} of work on this machine, scoring not counted" if left else ""
    root = Tree(Text(f"{pipeline.recipe.name}: {len(steps)} steps, {done} done{rest}", style="bold"))
    branches = {"": root}
    for one in plan:
        branches[one.name] = branches[one.parent].add(Text(_line(one), style="dim" if one.state == "done" else ""))
    console = terminal()
    if not console.is_terminal:
        console.width = WIDE
    console.print(root)


def _line(one: PreviewLine) -> str:
    if one.step == "model":
        where = "" if one.state == "given" else ", on the Hub, not here yet"
        return f"{one.name} ({one.about}): {one.size}{where}"
    state = one.state
    if one.state == "done":
        state = f"done, {one.models} model{'s' * (one.models != 1)}, {one.scored} scored"
    return "; ".join(part for part in (f"{one.name} [{one.step}] {state}", one.time, str(one.size), one.about) if part)


def _show_board(board: CandidateBoard) -> None:
    """Means and groups, tasks where they are few, and the model before; the whole chain is in the files."""
    from darumeru.core.terminal import terminal
    from darumeru.leaderboard.candidates import candidate_table
    from darumeru.leaderboard.render_terminal import render

    table = candidate_table(board)
    tasks = [column for column in table.columns if column.kind == "task"]
    columns = [column for column in table.columns if column.kind != "task" or len(tasks) <= MOST_TASKS]
    console = terminal()
    if not console.is_terminal:
        console.width = WIDE
    details = tuple(name for name in ("after", "samples") if name == "after" or name in table.details)
    shown = replace(table, columns=tuple(columns or tasks[:MOST_TASKS]), details=details, footer=())
    console.print(render(shown, console.width))
