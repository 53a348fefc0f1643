"""Numbers as text; the right texts are written out by hand."""

from __future__ import annotations

import pytest

from darumeru.core import numbers


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 3, "–"),
        (0.12345, 3, "0.123"),
        (-0.0004, 3, "0.000"),
        (-0.5, 3, "-0.500"),
        (12_345.678, 3, "12345.678"),
        (99_999.0, 1, "99999.0"),
        (123_456.0, 3, "1.23e+05"),
        (-2e9, 2, "-2e+09"),
        (1_234_567, 0, "1,234,567"),
        (1.5, 2, "1.50"),
    ],
)
def test_a_number(value: float | None, digits: int, text: str) -> None:
    assert numbers.number(value, digits) == text


def test_differences_have_signs() -> None:
    assert [numbers.number(one, signed=True) for one in (0.25, -0.25, 0.0, -0.0001)] == [
        "+0.250",
        "-0.250",
        "+0.000",
        "+0.000",
    ]


def test_intervals() -> None:
    assert numbers.interval(0.1, 0.25) == "0.100–0.250"
    assert numbers.interval(-0.1, 0.25, 1) == "-0.1 to 0.2"
    assert numbers.interval(0.1, 0.25, signed=True) == "+0.100 to +0.250"
    assert numbers.interval(None, 0.25) == ""
    assert numbers.with_interval(0.5, 0.4, 0.6, 2) == "0.50 (0.40–0.60)"
    assert numbers.with_interval(0.5, None, None) == "0.500"


def test_shares_p_values_times_sizes_and_counts() -> None:
    assert [numbers.percent(one) for one in (0, 0.0004, 0.001, 0.5)] == ["0 %", "<0.1 %", "0.1 %", "50.0 %"]
    assert [numbers.percent(one, 0) for one in (0.004, 0.5)] == ["<1 %", "50 %"]
    assert [numbers.p_value(one) for one in (None, 0.04999, 1e-5)] == ["", "0.0500", "<0.0001"]
    assert [numbers.seconds(one) for one in (0.44, 42, 200, 7500)] == ["0.4 s", "42 s", "3 min 20 s", "2 h 5 min"]
    assert [numbers.size(one) for one in (12, 1500, 2.5e9, 3e15)] == ["12 B", "1.5 kB", "2.5 GB", "3000.0 TB"]
    assert [numbers.count(one, "task") for one in (0, 1, 1200)] == ["0 tasks", "1 task", "1,200 tasks"]
    assert numbers.listed(["a", "b", "c"], 2) == "a, b and 1 more"
