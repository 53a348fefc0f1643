"""A run's results as a rich table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from darumeru.core.numbers import interval, number, percent, seconds
from darumeru.leaderboard.measures import task_measure
from darumeru.runs.results import Results, Score, TaskScore

# A longer name of a task leaves no room beside it for notes on a terminal of 80 columns.
LONGEST = 30


def result_table(results: Results) -> Group:
    """Tasks by group with score, interval, coverage and failure rates, then group means and Micro-Avg. Notes stand in
    the last column, or below the table where names are long."""
    below = max(map(len, results.tasks), default=0) > LONGEST
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for name in ("task", "score", "95 %", "n", "shots", "notes")[: 5 if below else 6]:
        table.add_column(name, justify="left" if name in ("task", "notes") else "right", no_wrap=name != "notes")
    notes: list[Text] = []

    def add(name: Text, *cells: Any) -> None:
        *numbers, note = cells
        table.add_row(name, *numbers, *([] if below else [note]))
        if below and note.plain:
            notes.append(Text.assemble((f"{name.plain.strip()}: ", "dim"), note))

    for group in dict.fromkeys(task.group for task in results.tasks.values()):
        tasks = [task for task in results.tasks.values() if task.group == group]
        mean = results.groups.get(group)
        add(Text(group, style="bold cyan"), *_bold(mean), "", "", _reason(mean))
        for task in tasks:
            digits = task_measure(results, task.name).digits
            add(Text(f"  {task.name}"), *_cells(task.score, digits), _coverage(task), _shots(task), _notes(task))
        for name, inner in results.groups.items():
            if name.startswith(f"{group}:"):
                add(Text(f"  {name}", style="bold"), *_bold(inner), "", "", _reason(inner))
    table.add_section()
    add(Text("Micro-Avg", style="bold"), *_bold(results.micro_avg), "", "", _reason(results.micro_avg))
    return Group(Text(_heading(results.manifest), style="bold"), table, *notes, Text(_footer(results), style="dim"))


def _heading(manifest: Mapping[str, Any]) -> str:
    limit = f", limited to {manifest['limit']} records a task" if manifest.get("limit") else ""
    return f"{manifest['model']['name']}, profile {manifest['profile']}{limit}"


def _footer(results: Results) -> str:
    manifest = results.manifest
    parts = [f"data {_data(manifest['data'])}", f"engine {manifest['engine']['name']}", _decoding(manifest)]
    parts += [
        f"{language}: {number(values['symbols_per_token'], 2)} symbols/token, "
        f"{number(values['tokens_per_word'], 2)} tokens/word"
        for language, values in results.token_efficiency.items()
    ]
    if manifest.get("seconds"):
        parts.append(seconds(manifest["seconds"]))
    return "; ".join(parts)


def _data(data: Mapping[str, Any]) -> str:
    """Where the records came from: what --data says, unless all tasks read files of their own."""
    own = [one["file"] for one in data["tasks"].values() if one.get("file")]
    return ", ".join(dict.fromkeys(own)) if own and len(own) == len(data["tasks"]) else str(data["source"])


def _decoding(manifest: Mapping[str, Any]) -> str:
    """ "greedy"; "sampled (temperature 0.3, 5 draws)" where all sampled tasks are so, else how many are."""
    sampling = manifest.get("sampling") or {}
    said = {f"temperature {one['temperature']:g}, {one['num_samples']} draws" for one in sampling.values()}
    return "greedy" if not said else f"sampled ({said.pop() if len(said) == 1 else f'{len(sampling)} tasks'})"


def _cells(score: Score, digits: int = 3) -> tuple[str, str]:
    return number(score.value, digits), interval(score.low, score.high, digits)


def _bold(score: Score | None) -> tuple[Text, Text]:
    value, interval = _cells(score) if score else ("", "")
    return Text(value, style="bold"), Text(interval, style="bold")


def _reason(score: Score | None) -> Text:
    return Text(score.reason or "" if score else "", style="dim")


def _coverage(task: TaskScore) -> str:
    return str(task.n) if task.n == task.expected else f"{task.n}/{task.expected}"


def _shots(task: TaskScore) -> str:
    return (
        str(task.num_fewshot)
        if task.shots_used == task.num_fewshot
        else f"{number(task.shots_used, 1)} of {task.num_fewshot}"
    )


def _notes(task: TaskScore) -> Text:
    if task.error:
        return Text(task.error, style="red")
    if task.score.value is None and task.score.reason:
        return Text(task.score.reason, style="yellow")
    return Text(
        ", ".join(f"{name} {percent(value, 0)}" for name, value in task.rates.items() if value > 0), style="yellow"
    )
