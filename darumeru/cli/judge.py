"""`darumeru judge`: answers of a run before a judge model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from darumeru.cli.options import command
from darumeru.core.files import to_json
from darumeru.judging.config import JudgeConfig

if TYPE_CHECKING:
    from darumeru.judging.judge import Judged


def register(app: typer.Typer) -> None:
    command(app, "judge", JudgeConfig, judge, "Let a model judge the answers of a run's tasks that need a judge.")


def judge(
    config: JudgeConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the judge found as JSON.")] = False,
) -> None:
    from darumeru.cli.progress import make_progress
    from darumeru.judging.judge import judge_run

    progress = make_progress()
    try:
        judged = judge_run(config, progress)
    finally:
        progress.stop()
    if as_json:
        typer.echo(to_json(_document(judged)), nl=False)
    else:
        _show(judged)
    if judged.failures:
        raise typer.Exit(1)


def _document(judged: Judged) -> dict[str, Any]:
    return {
        "judge": judged.judge.name,
        "folder": str(judged.judge.path),
        "tasks": {name: task.to_dict() for name, task in judged.judge.results.tasks.items()},
        "scores": None if judged.results is None else {
            name: task.to_dict() for name, task in judged.results.tasks.items() if task.judge
        },
        "agreement": {name: one.to_dict() for name, one in judged.agreements.items()},
        "failures": dict(judged.failures),
    }  # fmt: skip


def _show(judged: Judged) -> None:
    from darumeru.cli.result_table import result_table
    from darumeru.core.numbers import number, percent, with_interval
    from darumeru.core.terminal import terminal

    console = terminal()
    for name, task in judged.judge.results.tasks.items():
        said = f"{task.n} of {task.expected} verdicts, {percent(task.rates['unparsed'])} cannot be read"
        if labels := task.metrics.get("label_probability"):
            said += f", the rubric's labels have {number(labels.value)} of the probability"
        console.print(f"{name}: {said}", markup=False, highlight=False)
    for name, one in judged.agreements.items():
        text = (
            f"{name}: Cohen's kappa {with_interval(one.kappa, one.low, one.high)}, the same on "
            f"{number(one.same)} of {one.n} answers" + (f", {one.unread} cannot be read" if one.unread else "")
        )
        console.print(text, markup=False, highlight=False)
    for name, why in judged.failures.items():
        console.print(f"{name}: {why}", markup=False, highlight=False, style="red")
    if judged.results is not None:
        console.print(result_table(judged.results))
