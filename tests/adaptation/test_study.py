"""What the study's tables say of differences (benchmarks/study.py)."""

from __future__ import annotations

import pytest

from benchmarks.study import cell, shown, table, verdict
from darumeru.leaderboard.comparison import Difference


def difference(low: float | None, high: float | None) -> Difference:
    return Difference(1.0, 1.5, 0.5, low, high)


@pytest.mark.parametrize(
    ("bounds", "better", "said"),
    [
        ([(0.1, 0.2), (0.01, 0.4)], 1, "agrees"),
        ([(0.1, 0.2), (0.01, 0.4)], -1, "does not agree"),
        ([(-0.2, -0.1)], -1, "agrees"),
        ([(0.1, 0.2), (-0.01, 0.4)], 1, "cannot tell"),
        ([(0.1, 0.2), (-0.4, -0.1)], 1, "cannot tell"),
        ([(None, None)], 1, "cannot tell"),
        ([], 1, "cannot tell"),
    ],
)
def test_a_claim_needs_every_seed(bounds: list[tuple[float | None, float | None]], better: int, said: str) -> None:
    assert verdict([difference(*pair) for pair in bounds], better) == said


def test_cells_hold_mean_and_range_of_the_seeds_and_a_dash_for_none() -> None:
    values = iter([1.0, 2.0, 6.0])
    assert cell([None] * 3, lambda model: next(values)) == "3.000 (1.000 to 6.000)"  # type: ignore[list-item]
    assert cell([None], lambda model: 0.5) == "0.500"  # type: ignore[list-item]
    assert cell([None], lambda model: None) == "-"  # type: ignore[list-item]
    assert shown([difference(0.4, 0.6)]) == "+0.500 [+0.400, +0.600]"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"
