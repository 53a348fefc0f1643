"""Pictures as SVG: well-formed XML whatever the labels, and values where the scale puts them."""

from __future__ import annotations

import xml.etree.ElementTree as xml

import pytest

from darumeru.leaderboard.charts import LEFT, RIGHT, Bar, Shape, bar_chart, domain, radar, tick_labels
from darumeru.leaderboard.curve import Point, learning_curve, point_line
from darumeru.metrics.measure import Measure
from darumeru.runs.results import Score
from tests.leaderboards.browser import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"


def bars(picture: str) -> list[xml.Element]:
    return [node for node in xml.fromstring(picture).iter(f"{SVG}g") if "bar" in node.get("class", "").split()]


def test_bars_are_as_long_as_their_values_and_start_at_zero() -> None:
    drawn = bars(bar_chart([Bar("a", 0.5, 0.25, 0.75), Bar("b", 1.0), Bar("c", None)], "scores"))
    lengths = [float(node.find(f"{SVG}rect").get("width")) for node in drawn]  # type: ignore[union-attr, arg-type]
    assert lengths == pytest.approx([(RIGHT - LEFT) / 2, RIGHT - LEFT, 0.0], abs=0.01)
    whiskers = [node.find(f"{SVG}path").get("d") for node in drawn]  # type: ignore[union-attr]
    quarter = (RIGHT - LEFT) / 4
    assert (
        whiskers[0]
        == f"M{LEFT + quarter:.2f} 18v7M{LEFT + quarter:.2f} 21.5H{RIGHT - quarter:.2f}M{RIGHT - quarter:.2f} 18v7"
    )
    assert whiskers[1:] == ["", ""]


def test_the_scale_holds_zero_and_all_intervals() -> None:
    assert domain([0.3, None, 0.62]) == pytest.approx((0.0, 0.7))
    assert domain([-0.15, 0.2]) == pytest.approx((-0.2, 0.2))
    assert domain([]) == (0.0, 0.1)
    assert domain([float("nan"), 1.0]) == (0.0, 1.0)


@pytest.mark.parametrize("label", HOSTILE)
def test_any_label_gives_well_formed_xml(label: str) -> None:
    shapes = [Shape(label, (0.1, 0.5, 0.9)), Shape("none", (None, 0.5, 0.9))]
    points = [Point(step, {label: Score(0.5), "mean": Score(0.5, 0.4, 0.6)}) for step in (0, 10)]
    for picture in (
        bar_chart([Bar(label, 0.5)], label),
        radar([label, "b", "c"], shapes, label),
        learning_curve(points),
    ):
        root = xml.fromstring(picture)
        assert root.tag == f"{SVG}svg"
        assert {node.tag.removeprefix(SVG) for node in root.iter()} <= {
            "svg", "g", "title", "text", "rect", "path", "line", "polygon", "polyline", "circle"
        }  # fmt: skip


def test_numbers_that_are_no_scores_do_not_stretch_the_scale() -> None:
    assert domain([5.8e23, -8e35, 0.5]) == (-1.0, 1.0)
    picture = bar_chart([Bar("perplexity", 5.8e23, -8e35, 6e23), Bar("acc", 0.5)], "scores")
    assert len(picture) < 10_000
    points = [Point(step, {"perplexity": Score(2e8), "acc": Score(0.5, 0.4, 9e9)}) for step in (0, 1)]
    curve = learning_curve(points)
    assert "perplexity" not in curve and "acc, step 1: 0.500" in curve and len(curve) < 10_000


def test_a_radar_needs_three_axes_and_draws_only_complete_shapes() -> None:
    assert radar(["a", "b"], [Shape("m", (0.1, 0.2))], "") == ""
    picture = radar(["a", "b", "c"], [Shape("whole", (0.1, 0.2, 0.3)), Shape("part", (0.1, None, 0.3))], "")
    assert "whole: a 0.100, b 0.200, c 0.300" in picture and "part" not in picture


def test_a_curve_is_in_the_order_of_its_steps_and_breaks_where_there_is_no_score() -> None:
    values = {30: 0.3, 0: 0.1, 20: None, 10: 0.2}
    points = [Point(step, {"daru/task": Score(value)}) for step, value in values.items()]
    lines = [node.get("points") for node in xml.fromstring(learning_curve(points)).iter(f"{SVG}polyline")]
    assert [len((line or "").split()) for line in lines] == [2, 1]
    heights = [float(dot.split(",")[1]) for line in lines for dot in (line or "").split()]
    assert heights == sorted(heights, reverse=True)
    assert learning_curve([]) == "" and learning_curve([Point(0, {"a": Score(None)})]) == ""


def test_a_curve_is_also_drawn_by_tokens_and_by_wall_time_where_they_are_known() -> None:
    known = [Point(step, {"mean": Score(0.5)}, extra={"tokens": 700_000 * step, "wall_seconds": 5400.0 * step})
             for step in (0, 2)]  # fmt: skip
    pictures = learning_curve(known).split("<svg")[1:]
    assert [text in one for text, one in zip(("step 2:", "tokens 1.4M:", "time 3 h:"), pictures, strict=True)] == [
        True
    ] * 3
    assert "Learning curve by wall time" in pictures[2] and ">1.4M<" in pictures[1]
    assert len(learning_curve([*known, Point(3, {"mean": Score(0.4)})]).split("<svg")[1:]) == 1


def test_numbers_of_another_kind_get_a_picture_of_their_own() -> None:
    bits = Measure("bits_per_byte", "lower", digits=2, low=0)
    points = [Point(step, {"mean": Score(0.5), "t/text": Score(value)}, measures={"t/text": bits})
              for step, value in ((0, 1.9), (10, 1.2))]  # fmt: skip
    pictures = learning_curve(points).split("<svg")[1:]
    assert len(pictures) == 2 and "mean of the tasks" in pictures[0] and "t/text, step 10: 1.20" in pictures[1]
    assert 'class="tick" fill="#777" font-size="11">1.2<' in pictures[1], "its own scale"
    assert point_line(points[1]) == "step 10: mean of the tasks 0.500, t/text 1.20"


def test_an_unbounded_scale_holds_every_value_at_round_numbers() -> None:
    assert domain([3.0, 870.0], Measure("perplexity", "lower")) == (0.0, 1000.0)
    assert domain([912.0, 987.0], Measure("perplexity", "lower"), zero=False) == (900.0, 1000.0)
    assert [text for _, text in tick_labels(0, 1000)] == ["0", "200", "400", "600", "800", "1,000"]
