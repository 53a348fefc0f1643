"""The learning curve: scores by training step, as one JSON object a line and as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import write_atomically
from darumeru.runs.results import Results, Score

SCHEMA = 1
CURVE = "curve.jsonl"
PICTURE = "curve.png"
MEAN = "mean"
MICRO_AVG = "micro_avg"
TITLES = {MICRO_AVG: "Micro-Avg", MEAN: "mean of the tasks"}


@dataclass(frozen=True)
class Point:
    """Scores after optimizer step `step`: aggregates ("micro_avg" of all 17 tasks, "mean" of the tasks asked), groups
    and tasks by name. failed: task -> why. run: folder of the answers, relative to the curve's. extra: epoch, seconds,
    engine."""

    step: int
    scores: Mapping[str, Score]
    failed: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> tuple[str, Score] | None:
        """The aggregate that stands for the point: Micro-Avg, else the mean of the tasks asked."""
        return next(((name, self.scores[name]) for name in (MICRO_AVG, MEAN) if name in self.scores), None)


def scores_of(results: Results) -> dict[str, Score]:
    """The finite scores of a run, aggregates first."""
    scores: dict[str, Score] = {}
    if results.micro_avg.value is not None:
        scores[MICRO_AVG] = results.micro_avg
    tasks = {name: task.score for name, task in results.tasks.items() if task.score.value is not None}
    if len(tasks) == len(results.tasks) and all(task.complete for task in results.tasks.values()):
        scores[MEAN] = _mean(list(tasks.values()))
    groups = {name: score for name, score in results.groups.items() if score.value is not None}
    return scores | groups | tasks


def _mean(scores: Sequence[Score]) -> Score:
    """Mean of independent scores; its interval from theirs (half widths add in squares)."""
    value = sum(score.value or 0.0 for score in scores) / len(scores)
    halves = [(score.high - score.low) / 2 for score in scores if score.low is not None and score.high is not None]
    if not halves:
        return Score(value)
    half = sum(each * each for each in halves) ** 0.5 / len(scores)
    return Score(value, value - half, value + half)


def read_curve(path: Path) -> list[Point]:
    """All points in the order of their steps; a torn last line is dropped. UserError names a line that is none."""
    if not path.exists():
        return []
    points: dict[int, Point] = {}
    # A torn last line has no end; other line separators may stand inside names.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            point = _from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"is not a point of a learning curve: {error}", f"{path}:{number}") from error
        points[point.step] = point
    return [points[step] for step in sorted(points)]


def write_curve(path: Path, points: Iterable[Point]) -> None:
    """Replace the file by these points, and draw them beside it."""
    kept = sorted(points, key=lambda point: point.step)
    write_atomically(path, "".join(point_to_json(point) + "\n" for point in kept))
    if kept:
        draw(kept, path.with_name(PICTURE))


def add_point(path: Path, point: Point) -> list[Point]:
    """The curve with `point` in the place of whatever was known of that step."""
    points = [other for other in read_curve(path) if other.step != point.step] + [point]
    points.sort(key=lambda each: each.step)
    write_curve(path, points)
    return points


def draw(points: Sequence[Point], path: Path, title: str = "") -> None:
    """A PNG with the aggregate (thick, with its 95 % interval) and the groups, or the tasks where there are none."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    main = next((point.main[0] for point in reversed(points) if point.main), None)
    for name in _lines(points):
        part = [(point.step, point.scores[name]) for point in points if name in point.scores]
        steps = [step for step, _ in part]
        values = [score.value or 0.0 for _, score in part]
        thick = name == main
        label = TITLES.get(name, name)
        line = axes.plot(steps, values, label=label, linewidth=2.6 if thick else 1.1, marker="o", markersize=3)[0]
        if thick and len(part) > 1:
            low = [value if score.low is None else score.low for value, (_, score) in zip(values, part, strict=True)]
            high = [value if score.high is None else score.high for value, (_, score) in zip(values, part, strict=True)]
            axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="training step", ylabel="score", title=title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    partial = path.with_name(f".{path.name}.partial.png")
    figure.savefig(partial)
    partial.replace(path)


def _lines(points: Sequence[Point]) -> list[str]:
    names = list(dict.fromkeys(name for point in points for name in point.scores))
    groups = [name for name in names if name.startswith("Daru")]
    tasks = [name for name in names if name not in groups and name not in (MICRO_AVG, MEAN)]
    aggregates = [name for name in (MICRO_AVG, MEAN) if name in names][:1]
    return aggregates + (groups or tasks[:12])


def point_to_json(point: Point) -> str:
    """One line of curve.jsonl, without its end."""
    scores = {name: score.to_dict() for name, score in point.scores.items()}
    values = {
        "schema": SCHEMA,
        "step": point.step,
        **point.extra,
        "scores": scores,
        "failed": dict(point.failed),
        "run": point.run,
    }
    return json.dumps(values, ensure_ascii=False)


def point_line(point: Point) -> str:
    """One line for people: the aggregate with its interval, then groups (or tasks), then what failed."""
    parts = []
    for name in _lines([point]):
        score = point.scores[name]
        interval = f" [{score.low:.3f}, {score.high:.3f}]" if score.low is not None and score.high is not None else ""
        main = point.main is not None and name == point.main[0]
        parts.append(f"{TITLES.get(name, name)} {score.value:.3f}{interval if main else ''}")
    parts += [f"{task} failed: {reason}" for task, reason in point.failed.items()]
    return f"step {point.step}: " + ", ".join(parts)


def _from_json(values: dict[str, Any]) -> Point:
    schema = values.pop("schema", SCHEMA)
    if schema > SCHEMA:
        raise ValueError(f"it has schema {schema}, this darumeru reads up to {SCHEMA}")
    step, scores = int(values.pop("step")), values.pop("scores")
    failed, run = values.pop("failed", {}), values.pop("run", None)
    return Point(step, {name: Score.from_dict(score) for name, score in scores.items()}, failed, run, values)
