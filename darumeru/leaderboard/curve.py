"""The learning curve: scores by training step, as one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from darumeru.core.errors import UserError
from darumeru.core.files import write_atomically
from darumeru.core.numbers import number, with_interval
from darumeru.leaderboard.curve_chart import STEPS, TIME, TOKENS, Axis, Line, png, svg
from darumeru.leaderboard.measures import main_family, task_measures
from darumeru.metrics.measure import SCORE, Measure, combined
from darumeru.runs.results import Results, Score

SCHEMA = 1
CURVE = "curve.jsonl"
PICTURE = "curve.png"
MEAN = "mean"
MICRO_AVG = "micro_avg"
TITLES = {MICRO_AVG: "Micro-Avg", MEAN: "mean of the tasks"}
MOST_LINES = 8


@dataclass(frozen=True)
class Point:
    """Scores after optimizer step `step`: aggregates ("micro_avg" of all 17 tasks, "mean" of the tasks asked), groups
    and tasks by name. failed: task -> why. run: folder of the answers, relative to the curve's. extra: epoch, seconds,
    engine, tokens seen, wall_seconds since training began. measures: name -> what its number is, for those that are no
    plain scores."""

    step: int
    scores: Mapping[str, Score]
    failed: Mapping[str, str] = field(default_factory=dict)
    run: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def main(self) -> tuple[str, Score] | None:
        """The aggregate that stands for the point: Micro-Avg, else the mean of the tasks asked."""
        return next(((name, self.scores[name]) for name in (MICRO_AVG, MEAN) if name in self.scores), None)

    def measure(self, name: str) -> Measure:
        """What the number of that name is."""
        return self.measures.get(name, SCORE)


def point_of(results: Results, step: int, run: str | None = None, extra: Mapping[str, Any] | None = None) -> Point:
    """The point of a run that was made at a training step."""
    return Point(step, scores_of(results), results.failed, run, extra or {}, measures_of(results))


def scores_of(results: Results) -> dict[str, Score]:
    """The finite scores of a run, aggregates first. The mean is over the tasks of which one can be taken."""
    scores: dict[str, Score] = {}
    if results.micro_avg.value is not None:
        scores[MICRO_AVG] = results.micro_avg
    tasks = {name: task.score for name, task in results.tasks.items() if task.score.value is not None}
    if len(tasks) == len(results.tasks) and all(task.complete for task in results.tasks.values()):
        scores[MEAN] = _mean([tasks[name] for name in main_family(task_measures(results))])
    groups = {name: score for name, score in results.groups.items() if score.value is not None}
    return scores | groups | tasks


def measures_of(results: Results) -> dict[str, Measure]:
    """Name -> measure of those of scores_of() that are no plain scores."""
    tasks = task_measures(results)
    found = tasks | {MEAN: combined([tasks[name] for name in main_family(tasks)])}
    return {name: one for name, one in found.items() if one.family != SCORE.family}


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
    for place, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            point = _from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"is not a point of a learning curve: {error}", f"{path}:{place}") from error
        points[point.step] = point
    return [points[step] for step in sorted(points)]


def write_curve(path: Path, points: Iterable[Point]) -> None:
    """Replace the file by these points, and draw them beside it."""
    kept = sorted(points, key=lambda point: point.step)
    write_atomically(path, "".join(point_to_json(point) + "\n" for point in kept))
    drawn = png([(curve_lines(kept, along), axis) for along, axis in _axes(kept)])
    if drawn:
        write_atomically(path.with_name(PICTURE), drawn)


def add_point(path: Path, point: Point) -> list[Point]:
    """The curve with `point` in the place of whatever was known of that step."""
    points = [other for other in read_curve(path) if other.step != point.step] + [point]
    points.sort(key=lambda each: each.step)
    write_curve(path, points)
    return points


def curve_lines(points: Sequence[Point], along: str | None = None) -> list[Line]:
    """What is drawn of a curve: the aggregate, then the groups ("Daru..."), or the first tasks where there are none.
    along: a number of Point.extra in the place of the step."""
    points = sorted(points, key=lambda point: point.step)
    measures = {name: one for point in points for name, one in point.measures.items()}
    lines = [
        Line(TITLES.get(name, name),
             [(point.extra[along] if along else point.step, point.scores.get(name)) for point in points],
             name in TITLES, measures.get(name, SCORE))
        for name in _shown(points, most=None)
    ]  # fmt: skip
    return [line for line in lines if line.parts()][:MOST_LINES]


def learning_curve(points: Sequence[Point], about: str = "Learning curve") -> Markup:
    """The curve as SVG, by training step and, where all points know them, by tokens seen and by wall time; "" where
    there is nothing to draw."""
    drawn = [
        svg(curve_lines(points, along), f"{about} by {axis.title}" if along else about, axis)
        for along, axis in _axes(points)
    ]
    return Markup("").join(drawn)


def _axes(points: Sequence[Point]) -> list[tuple[str | None, Axis]]:
    """By training step, and by those numbers in Point.extra that all points know."""
    more = [
        (along, axis)
        for along, axis in (("tokens", TOKENS), ("wall_seconds", TIME))
        if len(points) > 1 and all(isinstance(point.extra.get(along), int | float) for point in points)
    ]
    return [(None, STEPS), *more]


def _shown(points: Sequence[Point], most: int | None = 12) -> list[str]:
    names = list(dict.fromkeys(name for point in points for name in point.scores))
    groups = [name for name in names if name.startswith("Daru")]
    tasks = [name for name in names if name not in groups and name not in TITLES]
    return [name for name in TITLES if name in names][:1] + (groups or tasks[:most])


def point_to_json(point: Point) -> str:
    """One line of curve.jsonl, without its end."""
    values = {
        "schema": SCHEMA,
        "step": point.step,
        **point.extra,
        "scores": {name: score.to_dict() for name, score in point.scores.items()},
        "failed": dict(point.failed),
        "run": point.run,
    }
    if point.measures:
        values["measures"] = {name: asdict(one) for name, one in point.measures.items()}
    return json.dumps(values, ensure_ascii=False)


def point_line(point: Point) -> str:
    """One line for people: the aggregate with its interval, then groups (or tasks), then what failed."""
    parts = []
    for name in _shown([point]):
        score, digits = point.scores[name], point.measure(name).digits
        main = name in TITLES
        said = with_interval(score.value, score.low, score.high, digits) if main else number(score.value, digits)
        parts.append(f"{TITLES.get(name, name)} {said}")
    parts += [f"{task} failed: {reason}" for task, reason in point.failed.items()]
    return f"step {point.step}: " + ", ".join(parts)


def _from_json(values: dict[str, Any]) -> Point:
    schema = values.pop("schema", SCHEMA)
    if schema > SCHEMA:
        raise ValueError(f"it has schema {schema}, this darumeru reads up to {SCHEMA}")
    step, scores = int(values.pop("step")), values.pop("scores")
    failed, run = values.pop("failed", {}), values.pop("run", None)
    measures = {name: Measure(**one) for name, one in values.pop("measures", {}).items()}
    return Point(step, {name: Score.from_dict(score) for name, score in scores.items()}, failed, run, values, measures)
