"""The learning curve's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from darumeru.core.errors import UserError
from darumeru.leaderboard.curve import Point, add_point, point_line, point_to_json, read_curve, write_curve
from darumeru.runs.results import Score

HERE = Score(0.5, 0.4, 0.6)


def test_points_are_keyed_by_step_and_drawn(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    for step, value in ((20, 0.3), (10, 0.2), (20, 0.4)):
        add_point(path, Point(step, {"mean": Score(value), "a\u2028b": HERE}, {"x": "failed"}, f"steps/{step}"))
    points = read_curve(path)
    assert [(point.step, point.scores["mean"].value) for point in points] == [(10, 0.2), (20, 0.4)]
    assert points[1].failed == {"x": "failed"} and points[1].run == "steps/20" and points[1].scores["a\u2028b"] == HERE
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert point_line(points[1]) == "step 20: mean of the tasks 0.400, a\u2028b 0.500, x failed: failed"


def test_the_picture_goes_along_steps_tokens_and_wall_time_as_far_as_all_points_know_them(tmp_path: Path) -> None:
    """A picture under the other for each; height as the head of a PNG file gives it."""

    def height(*known: dict[str, float]) -> int:
        write_curve(tmp_path / "curve.jsonl", [Point(n, {"mean": HERE}, extra=one) for n, one in enumerate(known)])
        return int.from_bytes((tmp_path / "curve.png").read_bytes()[20:24], "big")

    one = height({}, {})
    assert height({"wall_seconds": 1.0}, {"wall_seconds": 90.0}) == 2 * one
    assert height({"wall_seconds": 1.0, "tokens": 0}, {"wall_seconds": 90.0, "tokens": 2_000_000}) == 3 * one
    assert height({"tokens": 0}, {}) == one


def test_a_torn_line_is_dropped_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    line = point_to_json(Point(1, {"mean": HERE}))
    path.write_text(line + "\n" + line[:20], encoding="utf-8")
    assert [point.step for point in read_curve(path)] == [1]
    path.write_text(line + "\nnothing\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_curve(path)
    assert caught.value.where == f"{path}:2"
    path.write_text(line.replace('"schema": 1', '"schema": 9') + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="schema 9"):
        read_curve(path)
