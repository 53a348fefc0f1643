"""One run as one HTML file that works offline: scores, plots, learning curve, manifest and every sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from darumeru.core.errors import UserError
from darumeru.leaderboard.charts import Bar, Shape, bar_chart, radar
from darumeru.leaderboard.curve import CURVE, Point, learning_curve, read_curve
from darumeru.leaderboard.measures import metric_measure, task_measure, task_measures
from darumeru.leaderboard.output import check_output, write_output
from darumeru.leaderboard.page import Served, embed_json, render_page
from darumeru.leaderboard.report_samples import Samples, read_samples
from darumeru.leaderboard.report_tokens import NO_TOKENS, Tokenized, run_tokenizer
from darumeru.metrics.measure import combined
from darumeru.runs.results import Results, Score, TaskScore
from darumeru.runs.run import Run, load_run
from darumeru.tasks.registry import LEADERBOARD_GROUPS

PAGE_SIZE = 50
RESULTS = ("any_result", "right", "wrong", "partly", "unscored")


@dataclass(frozen=True)
class Written:
    """What a report came to. with_tokens: samples whose tokens can be coloured."""

    path: Path
    size: int
    samples: int
    with_tokens: int


def write_report(
    run: str | Path,
    output: str | Path,
    *,
    curve: str | Path | None = None,
    tokenizer: str | None = None,
    unfinished: bool = False,
    force: bool = False,
) -> Written:
    """Write the report of a run folder, over an earlier one (force: over any page).

    curve: the file with the learning curve; default RUN/curve.jsonl, when there is one. tokenizer: folder or Hub id of
    the run's tokenizer, for the colours of tokens; default the folder named in the manifest. unfinished: accept a run
    that was interrupted, and say so. Raises UserError for a run that cannot be trusted or an output that cannot be
    written, before the samples are read.
    """
    path = check_output(Path(output), new_folder=False, force=force)
    found = load_run(run, finished=not unfinished, check_samples=True)
    points = curve_of(found.path, curve)
    chosen = run_tokenizer(found.results.manifest, tokenizer)
    marker = Tokenized(chosen, len(found.results.tasks)) if chosen is not None else NO_TOKENS
    samples = read_samples(found, marker)
    write_output(path, render(found, samples, points))
    return Written(path, path.stat().st_size, samples.count, samples.with_tokens)


def render(run: Run, samples: Samples, points: Sequence[Point] = (), served: Served | None = None) -> str:
    """The page's HTML. Encode it as UTF-8. served: the texts of the samples are fetched and not in it."""
    results = run.results
    manifest = run.manifest
    return render_page(
        "report.html.j2",
        ["report.js", "sample.js"],
        served,
        title=str(results.manifest["model"]["name"]),
        manifest=manifest,
        facts=_facts(manifest),
        whole_manifest=json.dumps(manifest, ensure_ascii=False, indent=2),
        limited=any(task.limited for task in results.tasks.values()),
        complete=all(task.complete for task in results.tasks.values()),
        finished=manifest["status"] == "finished",
        micro=results.micro_avg,
        digits=partial(_digits, results),
        groups=_by_group(results),
        rates=_rates(results),
        bars=_bars(results),
        radar=_radar(results),
        curve=learning_curve(points),
        **sample_values(samples, RESULTS, sides=("",), embedded=served is None),
        token_efficiency=results.token_efficiency,
    )


def curve_of(run: Path, asked: str | Path | None = None) -> list[Point]:
    """The learning curve that a run belongs to, empty where there is none; `asked`: the file or folder named."""
    # A point of a training lies in TRAINING/darumeru/steps beside the curve that it belongs to.
    own = run.parent.parent / CURVE if run.parent.name == "steps" else run / CURVE
    path = Path(asked).expanduser() if asked else own
    if asked and path.is_dir():
        path = path / CURVE
    if asked and not path.is_file():
        raise UserError("no such learning curve", str(path), "it is the curve.jsonl that training writes")
    return read_curve(path)


def _by_group(results: Results) -> list[tuple[str, Score, list[TaskScore]]]:
    groups: dict[str, list[TaskScore]] = {}
    for task in results.tasks.values():
        groups.setdefault(task.group, []).append(task)
    return [(name, results.groups.get(name, Score(None)), tasks) for name, tasks in groups.items()]


def _rates(results: Results) -> list[str]:
    """The shares that are shown of each task; thoughts that were cut off only where there are any."""
    tasks = results.tasks.values()
    thoughts = [name for name in ("still_thinking", "thoughts_cut") if any(task.rates.get(name) for task in tasks)]
    return ["unparsed", "empty", *thoughts, "truncated", "too_long"]


def _bars(results: Results) -> str:
    """One chart for each family of numbers, bars of a group in one colour."""
    measures = task_measures(results)
    bars: dict[str, list[Bar]] = {}
    for place, (_, _, tasks) in enumerate(_by_group(results)):
        for task in tasks:
            bar = Bar(task.name, task.score.value, task.score.low, task.score.high, group=place)
            bars.setdefault(measures[task.name].family, []).append(bar)
    charts = [
        bar_chart(of, "Scores of the tasks", measure=combined([measures[bar.label] for bar in of]))
        for of in bars.values()
    ]
    return Markup("").join(map(Markup, charts))


def _digits(results: Results, task: str, metric: str = "") -> int:
    return (metric_measure(results, task, metric) if metric else task_measure(results, task)).digits


def _radar(results: Results) -> str:
    groups = {name: score for name, score in results.groups.items() if name in LEADERBOARD_GROUPS}
    known = {name: score.value for name, score in groups.items() if score.value is not None}
    shape = Shape(str(results.manifest["model"]["name"]), tuple(known.values()))
    return radar(list(known), [shape], "Scores of the groups")


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The manifest's contenders as lines, the long lists (data of each task) left to the JSON below them."""
    lines: list[tuple[str, str]] = []
    for key, value in manifest.items():
        if key == "data":
            value = value.get("source") if isinstance(value, dict) else value
        if isinstance(value, dict):
            lines += [(f"{key}.{name}", _text(inner)) for name, inner in value.items()]
        elif isinstance(value, list):
            lines.append((key, " ".join(_text(part) for part in value)))
        else:
            lines.append((key, _text(value)))
    return [(key, text) for key, text in lines if text]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def sample_values(samples: Samples, results: Sequence[str], sides: Sequence[str], embedded: bool) -> dict[str, Any]:
    """What templates/samples.html.j2 needs. results: words of the filter. sides: what is said of each column of
    answers. embedded: whether the texts are in the page."""
    return {
        "count": samples.count,
        "tasks": [task.name for task in samples.tasks if task.ids],
        "index": embed_json({"page": PAGE_SIZE, "tasks": [vars(task) for task in samples.tasks]}),
        "chunks": samples.chunks if embedded else (),
        "results": results,
        "sides": sides,
    }
