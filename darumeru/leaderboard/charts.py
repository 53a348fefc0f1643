"""Bars with error bars, and the radar of the groups, as inline SVG that pages restyle by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from darumeru.core.numbers import number, with_interval
from darumeru.leaderboard.svg import element, picture, shorten
from darumeru.metrics.measure import SCORE, Measure

WIDTH = 480.0
ROW = 34.0
TOP = 24.0
LEFT, RIGHT = 4.0, 468.0
# Colours for pictures outside of a page; on a page the classes series-0... carry those of its theme.
COLOURS = ("#1f5fa8", "#c8641b", "#2a8156", "#8a4fa3", "#a8323e", "#5d6b78", "#927000", "#137a8b")


@dataclass(frozen=True)
class Bar:
    """One bar. value None draws none. key: how the page's script finds it. group: bars of one group share a colour."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    key: str = ""
    group: int = 0


@dataclass(frozen=True)
class Shape:
    """One polygon of a radar: a value for each axis, None where there is none (it is then not drawn)."""

    label: str
    values: tuple[float | None, ...]
    key: str = ""


@dataclass(frozen=True)
class Scale:
    """Where a value lies on a line from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def domain(values: Sequence[float | None], measure: Measure = SCORE, zero: bool = True) -> tuple[float, float]:
    """Round numbers (tenths, for bounded measures) around the values, and around 0 where `zero` says so, as bars need
    it. Nothing past the measure's bounds widens it: bars of such numbers end at the edge."""
    lowest, highest = (-math.inf if measure.low is None else measure.low, measure.high)
    known = [
        min(max(value, lowest), math.inf if highest is None else highest)
        for value in values
        if value is not None and math.isfinite(value)
    ] + [0.0] * zero
    known = known or [0.0]
    step = 0.1 if measure.low is not None and highest is not None else round_step(max(known) - min(known))
    low, high = math.floor(min(known) / step + 1e-9) * step, math.ceil(max(known) / step - 1e-9) * step
    return round(low, 12), round(max(high, low + step), 12)


def round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten: about six of it make up the span."""
    if span <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(span / 6))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)


def tick_labels(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers from low to high, and their texts."""
    step = round_step(high - low)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(step * place, number(step * place, digits).replace("-", "−")) for place in places]


def bar_chart(
    bars: Sequence[Bar],
    about: str,
    *,
    shown: int | None = None,
    spread: Sequence[float | None] = (),
    measure: Measure = SCORE,
) -> str:
    """Horizontal bars under each other with whiskers at low and high.

    shown: how many are drawn at first; the others are there, hidden. spread: more values that the axis has to hold,
    for pages that put other values into the same bars. measure: what the values are.
    """
    low, high = domain([*spread, *(end for bar in bars for end in (bar.value, bar.low, bar.high))], measure)
    scale = Scale(low, high, LEFT, RIGHT)
    count = len(bars) if shown is None else min(shown, len(bars))
    height = TOP + ROW * max(count, 1) + 6
    full = TOP + ROW * max(len(bars), 1) + 6
    drawn = [_bar(bar, scale, TOP + ROW * place, place < count, measure) for place, bar in enumerate(bars)]
    return picture(
        WIDTH,
        height,
        about,
        _grid(scale, full),
        *drawn,
        class_="chart bars",
        data_low=repr(low),
        data_high=repr(high),
        data_start=LEFT,
        data_end=RIGHT,
        data_top=TOP,
        data_row=ROW,
    )


def _grid(scale: Scale, height: float) -> Markup:
    lines = []
    for tick, text in tick_labels(scale.low, scale.high):
        x = scale(tick)
        anchor = "start" if x < LEFT + 10 else "end" if x > RIGHT - 4 else "middle"
        kind = "grid" if tick else "zero"
        lines.append(element("line", x1=x, x2=x, y1=TOP - 6, y2=height, stroke="#8884", class_=kind))
        lines.append(element("text", text, x=x, y=12.0, text_anchor=anchor, class_="tick", fill="#777", font_size=11.0))
    return element("g", *lines, class_="axis", aria_hidden="true")


def _bar(bar: Bar, scale: Scale, y: float, visible: bool, measure: Measure) -> Markup:
    zero, value = scale(0.0), bar.value
    x = scale(value) if value is not None else zero
    said = number(value, measure.digits).replace("-", "−")
    whole = f"{bar.label}: {with_interval(value, bar.low, bar.high, measure.digits)}"
    return element(
        "g",
        element("title", whole),
        element("text", shorten(bar.label, 46), x=LEFT + 5, y=12.0, class_="label", fill="#333"),
        element("text", said, x=RIGHT, y=12.0, text_anchor="end", class_="number", fill="#333"),
        element(
            "rect",
            x=min(zero, x),
            y=17.0,
            width=abs(x - zero),
            height=9.0,
            rx=1.5,
            class_="fill",
            fill=COLOURS[bar.group % len(COLOURS)],
        ),
        element(
            "path",
            d=whisker(scale(bar.low), scale(bar.high)) if bar.low is not None and bar.high is not None else "",
            class_="whisker",
            stroke="#222",
            fill="none",
        ),
        class_=f"bar series-{bar.group % len(COLOURS)}",
        data_key=bar.key or None,
        transform=f"translate(0,{y:g})",
        display=None if visible else "none",
    )


def whisker(left: float, right: float) -> str:
    """The path of an error bar across the middle of a bar."""
    return f"M{left:.2f} 18v7M{left:.2f} 21.5H{right:.2f}M{right:.2f} 18v7"


def radar(axes: Sequence[str], shapes: Sequence[Shape], about: str, *, shown: int = 5) -> str:
    """Polygons over three or more axes from 0 in the middle to 1 at the rim (less when all values are smaller).

    The first `shown` complete shapes are drawn, the others are there, hidden. Values below 0 lie in the middle. Fewer
    than three axes give an empty text: such a picture would be a line.
    """
    if len(axes) < 3:
        return ""
    top = domain([value for shape in shapes for value in shape.values])[1]
    middle, radius = (WIDTH / 2, 178.0), 132.0
    turns = [2 * math.pi * place / len(axes) for place in range(len(axes))]

    def at(turn: float, part: float) -> str:
        return f"{middle[0] + radius * part * math.sin(turn):.2f},{middle[1] - radius * part * math.cos(turn):.2f}"

    parts: list[Markup] = []
    for ring in (0.25, 0.5, 0.75, 1.0):
        parts.append(
            element("polygon", points=" ".join(at(turn, ring) for turn in turns), class_="grid", fill="none",
                    stroke="#8884")
        )  # fmt: skip
        parts.append(
            element("text", number(top * ring, 2), x=middle[0] + 4, y=middle[1] - radius * ring + 11, class_="tick",
                    fill="#777", font_size=10.0)
        )  # fmt: skip
    parts += [_spoke(axis, turn, middle, radius) for axis, turn in zip(axes, turns, strict=True)]
    drawn = 0
    for shape in shapes:
        values = [min(max(value / top, 0.0), 1.0) for value in shape.values if value is not None]
        if len(values) != len(axes):
            continue
        colour = COLOURS[drawn % len(COLOURS)]
        parts.append(
            element(
                "polygon",
                element("title", f"{shape.label}: " + ", ".join(
                    f"{axis} {number(value)}" for axis, value in zip(axes, shape.values, strict=True))),
                points=" ".join(at(turn, value) for turn, value in zip(turns, values, strict=True)),
                class_=f"shape series-{drawn % len(COLOURS)}" if drawn < shown else "shape",
                fill=colour,
                fill_opacity="0.1",
                stroke=colour,
                stroke_width=1.8,
                data_key=shape.key or None,
                display=None if drawn < shown else "none",
            )
        )  # fmt: skip
        drawn += 1
    return picture(WIDTH, 350.0, about, *parts, class_="chart radar")


def _spoke(axis: str, turn: float, middle: tuple[float, float], radius: float) -> Markup:
    side, up = math.sin(turn), math.cos(turn)
    anchor = "middle" if abs(side) < 0.2 else "start" if side > 0 else "end"
    x, y = middle[0] + radius * 1.09 * side, middle[1] - radius * 1.09 * up + (4 if up < 0.5 else -4)
    return element(
        "g",
        element("line", x1=middle[0], y1=middle[1], x2=middle[0] + radius * side, y2=middle[1] - radius * up,
                class_="grid", stroke="#8884"),
        element("title", axis),
        element("text", shorten(axis, 18), x=x, y=y, text_anchor=anchor, class_="label", fill="#333"),
    )  # fmt: skip
