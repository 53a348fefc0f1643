"""The learning curve as SVG: scores by training step, the aggregate thick and with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from markupsafe import Markup

from darumeru.leaderboard.charts import COLOURS, Scale
from darumeru.leaderboard.svg import element, picture, shorten
from darumeru.runs.results import Score

TITLES = {"micro_avg": "Micro-Avg", "mean": "mean of the tasks"}
AGGREGATES = tuple(TITLES)
WIDTH, TOP, BOTTOM, LEFT, RIGHT = 720.0, 14.0, 260.0, 38.0, 700.0
MOST_LINES = 8


class CurvePoint(Protocol):
    """Scores after a training step, as darumeru.leaderboard.curve.Point holds them."""

    @property
    def step(self) -> int: ...

    @property
    def scores(self) -> Mapping[str, Score]: ...


def learning_curve(points: Sequence[CurvePoint], about: str = "Learning curve") -> str:
    """One line a score: the aggregate ("micro_avg", else "mean") first, then the groups ("Daru..."), or the first
    tasks where there are no groups. A score without value breaks its line. No points give an empty text."""
    points = sorted(points, key=lambda point: point.step)
    names = _names(points)
    if not names:
        return ""
    known = [score for point in points for name, score in point.scores.items() if name in names and _is_score(score)]
    low, high = _tenths([end for score in known for end in (score.value, score.low, score.high) if end is not None])
    across = Scale(points[0].step, max(points[-1].step, points[0].step + 1), LEFT, RIGHT)
    up = Scale(low, high, BOTTOM, TOP)
    parts = [_axes(points, across, up)]
    for place, name in reversed(list(enumerate(names))):
        parts.append(_line(name, place, points, across, up, thick=place == 0 and name in AGGREGATES))
    rows = -(-len(names) // 4)
    parts.append(_legend(names))
    return picture(WIDTH, BOTTOM + 32 + 18 * rows, about, *parts, class_="chart curve")


def _is_score(score: Score) -> bool:
    return score.value is not None and -1 <= score.value <= 1


def _tenths(values: Sequence[float]) -> tuple[float, float]:
    """Tenths around the values; unlike bars, a curve need not begin at 0."""
    values = [min(max(value, -1.0), 1.0) for value in values]
    low, high = math.floor(min(values) * 10 + 1e-9) / 10, math.ceil(max(values) * 10 - 1e-9) / 10
    return low, max(high, low + 0.1)


def _names(points: Sequence[CurvePoint]) -> list[str]:
    # Numbers past 1 (perplexities, of other sources of tasks) would press all scores into one line.
    names = list(dict.fromkeys(name for point in points for name in point.scores if _is_score(point.scores[name])))
    groups = [name for name in names if name.startswith("Daru")]
    tasks = [name for name in names if name not in groups and name not in AGGREGATES]
    aggregates = [name for name in AGGREGATES if name in names][:1]
    return (aggregates + (groups or tasks))[:MOST_LINES]


def _axes(points: Sequence[CurvePoint], across: Scale, up: Scale) -> Markup:
    parts = []
    step = 0.02 if up.high - up.low < 0.15 else 0.05 if up.high - up.low < 0.35 else 0.1
    for place in range(round((up.high - up.low) / step) + 1):
        value = up.low + step * place
        parts.append(element("line", x1=LEFT, x2=RIGHT, y1=up(value), y2=up(value), class_="grid", stroke="#8884"))
        parts.append(
            element("text", f"{value:.2f}".replace("-", "−"), x=LEFT - 6, y=up(value) + 4, text_anchor="end",
                    class_="tick", fill="#777", font_size=11.0)
        )  # fmt: skip
    steps = [point.step for point in points]
    chosen = steps if len(steps) <= 8 else [steps[round(place * (len(steps) - 1) / 7)] for place in range(8)]
    edge = -100.0
    for at in chosen:
        if across(at) - edge < 46:
            continue
        edge = across(at)
        parts.append(
            element("text", f"{at}", x=edge, y=BOTTOM + 16, text_anchor="middle", class_="tick", fill="#777",
                    font_size=11.0)
        )  # fmt: skip
    return element("g", *parts, class_="axis", aria_hidden="true")


def _line(name: str, place: int, points: Sequence[CurvePoint], across: Scale, up: Scale, thick: bool) -> Markup:
    runs: list[list[tuple[int, Score]]] = [[]]
    for point in points:
        score = point.scores.get(name)
        if score is None or not _is_score(score):
            runs.append([])
        else:
            runs[-1].append((point.step, score))
    parts = [element("title", TITLES.get(name, name))]
    for run in filter(None, runs):
        at = [f"{across(step):.2f},{up(score.value or 0.0):.2f}" for step, score in run]
        ends = [
            (step, score.low, score.high) for step, score in run if score.low is not None and score.high is not None
        ]
        if thick and len(ends) > 1:
            band = [f"{across(step):.2f},{up(high or 0.0):.2f}" for step, _, high in ends]
            band += [f"{across(step):.2f},{up(low or 0.0):.2f}" for step, low, _ in reversed(ends)]
            parts.append(element("polygon", points=" ".join(band), class_="band", fill=COLOURS[place], opacity="0.15"))
        parts.append(
            element("polyline", points=" ".join(at), fill="none", class_="line", stroke=COLOURS[place],
                    stroke_width=2.8 if thick else 1.3)
        )  # fmt: skip
        for dot, (step, score) in zip(at, run, strict=True):
            x, y = dot.split(",")
            parts.append(
                element("circle", element("title", f"{TITLES.get(name, name)}, step {step}: {score.value:.3f}"),
                        cx=x, cy=y, r=3.2 if thick else 2.2, class_="dot", fill=COLOURS[place])
            )  # fmt: skip
    return element("g", *parts, class_=f"series-{place}")


def _legend(names: Sequence[str]) -> Markup:
    parts = []
    for place, name in enumerate(names):
        x, y = LEFT + (place % 4) * 166, BOTTOM + 38 + 18 * (place // 4)
        parts.append(
            element(
                "g",
                element("rect", x=x, y=y - 8, width=14.0, height=4.0, class_="fill", fill=COLOURS[place]),
                element("text", shorten(TITLES.get(name, name), 21), x=x + 19, y=y, class_="label", fill="#333"),
                element("title", TITLES.get(name, name)),
                class_=f"series-{place}",
            )
        )
    return element("g", *parts, class_="legend")
