"""`darumeru tasks`: list, show and validate tasks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darumeru.core.files import to_json
from darumeru.core.terminal import wrapped

if TYPE_CHECKING:
    from darumeru.tasks.profiles import Profile
    from darumeru.tasks.spec import RecordSource, TaskSpec


def register(app: typer.Typer) -> None:
    tasks = typer.Typer(help="List, show and check tasks.", no_args_is_help=True)
    tasks.command("list", help="All tasks and groups.")(list_tasks)
    tasks.command("show", help="One task: what it asks, how it is scored, where its data come from.")(show)
    tasks.command("validate", help="Check a task file (or a folder of them).")(validate)
    tasks.command("new", help="Write a task file for a file of records; it runs as it is.")(new)
    tasks.command("path", help="Folder of the task definitions.")(path)
    app.add_typer(tasks, name="tasks")


WIDE = 150
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Include = Annotated[
    list[str] | None, typer.Option(help="A YAML file or folder with more tasks; may be repeated.", metavar="PATH")
]
ProfileName = Annotated[str, typer.Option(help="darumeru, paper, llmtf-2024 or llmtf-head.")]


def list_tasks(
    profile: ProfileName = "darumeru",
    source: Annotated[str, typer.Option(help='"darumeru" or "lm-eval".')] = "darumeru",
    language: Annotated[str | None, typer.Option(help="Only tasks in this language (ru, en).")] = None,
    include: Include = None,
    as_json: Json = False,
) -> None:
    if source == "lm-eval":
        from darumeru.lm_eval_bridge import print_tasks

        print_tasks(language, as_json)
        return
    from darumeru.core.errors import UserError
    from darumeru.tasks.registry import LEADERBOARD_GROUPS, load_registry
    from darumeru.tasks.suites import PREFIX

    if source != "darumeru":
        raise UserError(f"unknown source `{source}`", "--source", "known: darumeru, lm-eval")
    registry = load_registry(profile, include or ())
    specs = [spec for spec in registry.specs.values() if language in (None, spec.language)]
    if as_json:
        fields = ("name", "group", "method", "metrics", "score", "language", "leaderboard", "description")
        typer.echo(
            json.dumps(
                [{field: getattr(spec, field) for field in fields} for spec in specs], ensure_ascii=False, indent=2
            )
        )
        return
    from rich.table import Table

    from darumeru.core.terminal import terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    console = terminal()
    wide = console.width >= WIDE
    whole = {name for name, spec in registry.specs.items() if spec.leaderboard and spec.group in LEADERBOARD_GROUPS}
    shown = [spec.name if spec.name in whole else f"{spec.name} *" for spec in specs]
    # Names are for copying: a narrow terminal cuts other columns first.
    table.add_column("task", no_wrap=True, min_width=max(map(len, shown), default=4))
    for name in ("group", "method", "score", "what it asks")[: 4 if wide else 3]:
        table.add_column(name, no_wrap=name != "what it asks")
    for name, spec in zip(shown, specs, strict=True):
        cells = (name, spec.group, spec.method, " + ".join(spec.score), spec.description)
        table.add_row(*cells[: len(table.columns)])
    console.print(
        table, "* not among the 17 of Micro-Avg. Groups and globs select tasks too: --tasks DaruMERA,'darumeru/cp_*'"
    )
    for name, suite in registry.suites.items():
        console.print(f"--tasks {PREFIX}{name}: {suite.head.description}", soft_wrap=True)


def show(
    name: Annotated[str, typer.Argument(help="Task name, group or glob.")],
    profile: ProfileName = "darumeru",
    include: Include = None,
    as_json: Json = False,
) -> None:
    from dataclasses import asdict

    from darumeru.lm_eval_bridge import differences
    from darumeru.metrics import metric
    from darumeru.tasks.profiles import profile_named
    from darumeru.tasks.registry import load_registry

    registry = load_registry(profile, include or ())
    chosen = registry.select([name])
    if as_json:
        stops = profile_named(profile).stops
        values = [asdict(spec) | {"plain_stop": stops(spec.stop, chat=False)} for spec in chosen]
        typer.echo(to_json(values[0] if len(values) == 1 else values), nl=False)
        return
    for spec in chosen:
        source = spec.source
        _say(f"{spec.name} ({spec.group}, profile {profile})\n  {spec.description}")
        _say(f"  asked by: {spec.method}" + (f" among {', '.join(spec.choices)}" if spec.choices else ""))
        _say(f"  score: mean of {', '.join(spec.score)}" if len(spec.score) > 1 else f"  score: {spec.score[0]}")
        for one in spec.metrics:
            _say(f"    {one}: {metric(one).description}")
        if spec.judge:
            _say(f"  judged by the rubric {spec.judge}, once the run is there: darumeru judge RUN --judge MODEL")
        _say(f"  {_data(source)}")
        _say(f"  answer budget: {spec.max_new_tokens} tokens; defined by {registry.origins[spec.name]}")
        if spec.method == "generate":
            _say(f"  {_endings(spec, profile_named(profile))}")
        for sentence in spec.differs:
            _say(f"  differs: {sentence}")
        for sentence in differences(spec):
            _say(f"  {sentence}")


def _say(line: str) -> None:
    typer.echo(wrapped(line, sys.stdout))


def _data(source: RecordSource) -> str:
    """Where the records come from, in words."""
    where = f", those with {source.where}" if source.where else ""
    if source.file:
        examples = Path(source.shots_file).name if source.shots_file else "none"
        return f"data: {source.file}{where}; examples from {examples}"
    place = source.folder or source.place
    examples = Path(source.shots_file).name if source.shots_file else source.shots or "none"
    return f"data: {place}, split {source.test}{where}; examples from {examples}"


def _endings(spec: TaskSpec, profile: Profile) -> str:
    """What ends an answer, in words."""
    own = [json.dumps(stop, ensure_ascii=False) for stop in spec.stop]
    more = [json.dumps(stop, ensure_ascii=False) for stop in profile.stops(spec.stop, chat=False)]
    spared = " (not at one that the text itself holds)" if profile.spare_reference and spec.copies_reference else ""
    ends = f"answers end at the end token{''.join(f' or at {stop}' for stop in own)}"
    return f"{ends}; those of models without a chat template also at {', '.join(more)}{spared}"


def validate(
    place: Annotated[str, typer.Argument(help="A YAML file or a folder of them.")],
    data: Annotated[str | None, typer.Option(help='Also read the records: "bundled", "hub" or a folder.')] = None,
    tries: Annotated[bool, typer.Option("--try", help="Also read the records and show three prompts a task.")] = False,
    num_fewshot: Annotated[int, typer.Option(min=0, help="Examples in the prompts that --try shows.")] = 0,
    include: Include = None,
    as_json: Json = False,
) -> None:
    from darumeru.tasks.profiles import PROFILES
    from darumeru.tasks.validation import SHOWN, asked, read_tasks, shown

    found = {profile: read_tasks(place, profile, include or ()) for profile in PROFILES}
    specs = found["darumeru"]
    made = {spec.name: asked(spec, data or "hub", num_fewshot) for spec in specs} if data or tries else {}
    if as_json:
        prompts = {name: [shown(sample) for sample in samples[:SHOWN]] for name, samples in made.items()}
        answer = {"valid": [spec.name for spec in specs]} | ({"prompts": prompts} if tries else {})
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2 if tries else None))
        return
    for name, samples in made.items() if tries else ():
        for sample in samples[:SHOWN]:
            _show_sample(name, len(samples), shown(sample))
    typer.echo(f"valid: {', '.join(spec.name for spec in specs)}")


def _show_sample(task: str, count: int, sample: dict[str, Any]) -> None:
    choices = f", among {', '.join(sample['choices'])}" if sample["choices"] else ""
    target = json.dumps(sample["target"], ensure_ascii=False)
    typer.echo(f"--- {task}, sample {sample['id']} of {count}: the right answer is {target}{choices}")
    for number, message in enumerate(sample["messages"], 1):
        is_open = number == len(sample["messages"]) and message["role"] == "assistant"
        typer.echo(f"[{message['role']}{', left open' if is_open else ''}]\n{message['content']}")


def new(
    data: Annotated[Path, typer.Argument(help="The records: .jsonl, .json, .csv, .tsv or .parquet.")],
    output: Annotated[Path | None, typer.Option(help="The task file. Default: beside the data.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the task. Default: mine/FILE.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    from darumeru.tasks.skeleton import write_skeleton

    place = (output or data.with_suffix(".yaml")).expanduser()
    made = write_skeleton(place, data.expanduser(), name, force)
    typer.echo(f"written: {place}\nnow: darumeru tasks validate {place} --try\n"
               f"     darumeru run --model PATH --include {place} --tasks {made}")  # fmt: skip


def path(
    lm_eval: Annotated[bool, typer.Option("--lm-eval", help="The folder for lm_eval --include_path.")] = False,
) -> None:
    from darumeru.core.shipped import tasks_folder

    typer.echo(str((tasks_folder() / "lm_eval" if lm_eval else tasks_folder()).resolve()))
