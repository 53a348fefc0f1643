"""`darumeru watch`: score checkpoints as a training leaves them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command(help="Score the checkpoints of a training as they appear; also from another machine.")(watch)


def watch(
    folder: Annotated[Path, typer.Argument(help="The trainer's output folder, with checkpoint-500 and so on in it.")],
    output: Annotated[
        str | None, typer.Option(help="Curve, picture and a run a checkpoint. Default: runs/watch-<folder>.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Tasks, groups or globs, separated by commas.")] = "darumeru",
    data: Annotated[str, typer.Option(help='"hub", "bundled" or a folder.')] = "hub",
    engine: Annotated[str, typer.Option(help="vllm or transformers.")] = "vllm",
    profile: Annotated[str, typer.Option(help="darumeru, paper, llmtf-2024 or llmtf-head.")] = "darumeru",
    num_fewshot: Annotated[str, typer.Option(help="Examples before each question, or auto.")] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only this many records a task, the same of each checkpoint.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=16, help="Tokens of prompt and answer together.")] = 4096,
    seed: Annotated[int, typer.Option(help="Of the subset, the bootstrap and the engine.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    engine_args: Annotated[str | None, typer.Option(help="More arguments of the engine, as JSON.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model. Off by default.")
    ] = False,
    include: Annotated[list[str] | None, typer.Option(help="A YAML file or folder with more tasks.")] = None,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Score what is there, then end.")] = False,
    until_step: Annotated[int | None, typer.Option(help="End after the checkpoint of this step.")] = None,
    idle: Annotated[float | None, typer.Option(min=0, help="End after so many seconds without a checkpoint.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each point as a line of JSON on stdout.")] = False,
) -> None:
    from darumeru.cli.arguments import engine_arguments, shots
    from darumeru.cli.progress import make_progress
    from darumeru.core.errors import UserError
    from darumeru.engines.protocol import EngineOptions
    from darumeru.runs.options import RunOptions, task_patterns
    from darumeru.training.watch import Watcher, WatchOptions

    if not folder.is_dir():
        raise UserError("no such folder", str(folder), "give the trainer's output folder")
    where = Path(output or f"runs/watch-{folder.resolve().name}")
    options = RunOptions(
        model="",
        output=str(where),
        tasks=task_patterns(tasks),
        data=data,
        profile=profile,
        engine=engine,
        num_fewshot=shots(num_fewshot),
        limit=limit,
        subset_seed=None if limit is None else seed,
        max_length=max_length,
        seed=seed,
        include=tuple(include or ()),
        command=tuple(["darumeru", *sys.argv[1:]]),
        engine_options=EngineOptions(
            model="", dtype=dtype, trust_remote_code=trust_remote_code, extra=engine_arguments(engine_args)
        ),
    )
    progress = make_progress()
    watcher = Watcher(WatchOptions(folder, options, poll, once, until_step, idle), progress)
    count = 0
    try:
        for point in watcher.points():
            count += 1
            _show(point, as_json, progress)
    finally:
        progress.stop()
    print(
        f"{count} {'checkpoint' if count == 1 else 'checkpoints'} scored; curve.jsonl and curve.png are in {where}",
        file=sys.stderr,
    )
    if watcher.broken:
        raise typer.Exit(1)


def _show(point: Any, as_json: bool, progress: Any) -> None:
    from darumeru.leaderboard.curve import point_line, point_to_json

    if as_json:
        typer.echo(point_to_json(point))
    else:
        progress.note(point_line(point))
