"""Lines over training steps, as SVG and as PNG by the same rules: one axis for each family of numbers, main lines thick
and with their 95 % intervals, a gap where there is no number."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from darumeru.core.numbers import number
from darumeru.leaderboard.charts import COLOURS, Scale, domain, tick_labels
from darumeru.leaderboard.svg import element, picture, shorten
from darumeru.metrics.measure import SCORE, Measure, combined
from darumeru.runs.results import Score

WIDTH, TOP, BOTTOM, LEFT, RIGHT = 720.0, 14.0, 260.0, 44.0, 700.0


@dataclass(frozen=True)
class Axis:
    """What a curve goes along. word: of one place on it, before the place. said: a place in words."""

    title: str
    word: str
    said: Callable[[float], str]


def _tokens(count: float) -> str:
    size, unit = next(((size, unit) for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if count >= size), (1, ""))
    return f"{count / size:.3g}{unit}"


def _span(seconds: float) -> str:
    size, unit = next(((size, unit) for size, unit in ((3600, "h"), (60, "min")) if seconds >= size), (1, "s"))
    return f"{seconds / size:.3g} {unit}"


STEPS = Axis("training step", "step", lambda step: f"{step:.0f}")
TOKENS, TIME = Axis("tokens seen", "tokens", _tokens), Axis("wall time", "time", _span)


@dataclass(frozen=True)
class Line:
    """points: (place on the axis, number) in the order of the steps; parts that a gap separates are told by None."""

    title: str
    points: Sequence[tuple[float, Score | None]]
    main: bool = False
    measure: Measure = field(default=SCORE)

    def parts(self) -> list[list[tuple[float, Score]]]:
        """The points between the gaps. A number outside of the measure's bounds is none."""
        found: list[list[tuple[float, Score]]] = [[]]
        for step, score in self.points:
            if score is None or score.value is None or not self.measure.holds(score.value):
                found.append([])
            else:
                found[-1].append((step, score))
        return [part for part in found if part]

    def bands(self) -> list[list[tuple[float, float, float]]]:
        """(step, low, high) of the parts of a main line that have intervals at two steps or more."""
        parts = self.parts() if self.main else []
        ends = [[(at, one.low, one.high) for at, one in part if one.low is not None and one.high is not None]
                for part in parts]  # fmt: skip
        return [[(at, low or 0.0, high or 0.0) for at, low, high in part] for part in ends if len(part) > 1]


def families(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines that have a point, by the axis that they share."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        if line.parts():
            found.setdefault(line.measure.family, []).append(line)
    return list(found.values())


def svg(lines: Sequence[Line], about: str = "Learning curve", axis: Axis = STEPS) -> Markup:
    """One picture for each family of numbers; empty where no line has a point."""
    return Markup("").join(_picture(family, about, axis) for family in families(lines))


def png(panels: Sequence[tuple[Sequence[Line], Axis]], title: str = "") -> bytes | None:
    """The same as one PNG, families and axes under each other; None where no line has a point."""
    found = [(family, axis) for lines, axis in panels for family in families(lines)]
    if not found:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8 * len(found)), dpi=120, layout="constrained")
    for axes, (family, axis) in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        for place, line in enumerate(family):
            colour = COLOURS[place % len(COLOURS)]
            for number_of_part, part in enumerate(line.parts()):
                axes.plot([at for at, _ in part], [one.value for _, one in part], color=colour, marker="o",
                          markersize=3, linewidth=2.6 if line.main else 1.1,
                          label="_" if number_of_part else _plain(line.title))  # fmt: skip
            for band in line.bands():
                axes.fill_between(*zip(*band, strict=True), color=colour, alpha=0.15, linewidth=0)
        measure = combined([line.measure for line in family])
        if axis is not STEPS:
            axes.xaxis.set_major_formatter(lambda at, _, axis=axis: axis.said(at))
        axes.set(xlabel=axis.title, ylabel=measure.kind.replace("_", " "), title=title)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


def _plain(title: str) -> str:
    """A label that matplotlib neither hides nor reads as a formula."""
    return " " * title.startswith("_") + title.replace("$", r"\$")


def _picture(lines: Sequence[Line], about: str, axis: Axis) -> Markup:
    scores = [score for line in lines for part in line.parts() for _, score in part]
    measure = combined([line.measure for line in lines])
    low, high = domain([end for one in scores for end in (one.value, one.low, one.high)], measure, zero=False)
    steps = sorted({step for line in lines for step, _ in line.points})
    across = Scale(steps[0], max(steps[-1], steps[0] + 1), LEFT, RIGHT)
    up = Scale(low, high, BOTTOM, TOP)
    parts = [_axes(steps, across, up, axis)]
    parts += [_line(line, place, across, up, axis) for place, line in reversed(list(enumerate(lines)))]
    rows = -(-len(lines) // 4)
    return picture(WIDTH, BOTTOM + 32 + 18 * rows, about, *parts, _legend(lines), class_="chart curve")


def _axes(steps: Sequence[float], across: Scale, up: Scale, axis: Axis) -> Markup:
    parts = []
    for value, text in tick_labels(up.low, up.high):
        parts.append(element("line", x1=LEFT, x2=RIGHT, y1=up(value), y2=up(value), class_="grid", stroke="#8884"))
        parts.append(_tick(text, LEFT - 6, up(value) + 4, "end"))
    chosen = steps if len(steps) <= 8 else [steps[round(place * (len(steps) - 1) / 7)] for place in range(8)]
    edge = -100.0
    for at in chosen:
        if across(at) - edge >= 46:
            edge = across(at)
            parts.append(_tick(axis.said(at), edge, BOTTOM + 16, "middle"))
    if axis is not STEPS:
        parts.append(_tick(axis.word, RIGHT, BOTTOM - 5, "end"))
    return element("g", *parts, class_="axis", aria_hidden="true")


def _tick(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_="tick", fill="#777", font_size=11.0)


def _line(line: Line, place: int, across: Scale, up: Scale, axis: Axis) -> Markup:
    colour = COLOURS[place % len(COLOURS)]
    parts = [element("title", line.title)]
    for band in line.bands():
        edge = [f"{across(step):.2f},{up(high):.2f}" for step, _, high in band]
        edge += [f"{across(step):.2f},{up(low):.2f}" for step, low, _ in reversed(band)]
        parts.append(element("polygon", points=" ".join(edge), class_="band", fill=colour, opacity="0.15"))
    for part in line.parts():
        at = [(step, score, across(step), up(score.value or 0.0)) for step, score in part]
        points = " ".join(f"{x:.2f},{y:.2f}" for _, _, x, y in at)
        width = 2.8 if line.main else 1.3
        parts.append(element("polyline", points=points, fill="none", class_="line", stroke=colour, stroke_width=width))
        for step, score, x, y in at:
            said = element(
                "title", f"{line.title}, {axis.word} {axis.said(step)}: {number(score.value, line.measure.digits)}"
            )
            radius = 3.2 if line.main else 2.2
            parts.append(element("circle", said, cx=f"{x:.2f}", cy=f"{y:.2f}", r=radius, class_="dot", fill=colour))
    return element("g", *parts, class_=f"series-{place % len(COLOURS)}")


def _legend(lines: Sequence[Line]) -> Markup:
    parts = []
    for place, line in enumerate(lines):
        x, y = LEFT + (place % 4) * 166, BOTTOM + 38 + 18 * (place // 4)
        colour = COLOURS[place % len(COLOURS)]
        parts.append(
            element(
                "g",
                element("rect", x=x, y=y - 8, width=14.0, height=4.0, class_="fill", fill=colour),
                element("text", shorten(line.title, 21), x=x + 19, y=y, class_="label", fill="#333"),
                element("title", line.title),
                class_=f"series-{place % len(COLOURS)}",
            )
        )
    return element("g", *parts, class_="legend")
