"""Points of the Unified State Exam, and the grade of whole variants."""

from __future__ import annotations

import numpy as np
import pytest

from darumeru.core.row import SampleRow
from darumeru.metrics import metric
from darumeru.metrics.statistic import resample_counts
from tests.metrics.rows import said

CHOICE = "multiple_choice_independent_options"


def task(text: str, target: str, kind: str = CHOICE, id_task: str = "1", variant: int = 0) -> SampleRow:
    return said(text, target, f"{variant}-{id_task}", type=kind, id_task=id_task, variant=variant, score=1)


def points(row: SampleRow, name: str = "grade_norm") -> float:
    return metric(name).values(row)[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("9,2,6,8", 4), (" 9, 2, 6, 8", 4), ("9,2,8,6", 2), ("9,2,6", 0), ("9,2,6,8,1", 0), ("", 0), ("9268", 0)],
)
def test_matching_counts_equal_positions_of_equally_long_answers(text: str, expected: int) -> None:
    assert points(task(text, "9,2,6,8", "matching", "26")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2,5", 1), ("5,2", 1), (" 5, 2 ", 1), ("2", 0), ("2,5,3", 0), ("2,3", 0), ("2,5,5", 1), ("", 0), ("25", 0)],
)
def test_multiple_choice_needs_the_same_set(text: str, expected: int) -> None:
    assert points(task(text, "2,5")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2,5", 2), ("5,2", 2), ("2", 1), ("2,3", 1), ("3,4", 0), ("2,5,3", 1), ("2,5,3,4", 0), ("2,3,4", 0), ("", 0)],
)
def test_task_16_gives_partial_credit_less_a_point_for_each_extra_part(text: str, expected: int) -> None:
    assert points(task(text, "2,5", id_task="16")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("кроме того", 1),
        ("КТО?! — Кроме Того.", 0),
        ("1) Кроме того,", 1),
        ("ктомуже", 1),
        ("вместо того", 0),
        ("", 0),
        ("7", 0),
    ],
)
def test_words_are_compared_run_together_in_lower_case(text: str, expected: int) -> None:
    assert points(task(text, "крометого,ктомуже", "text", "2")) == expected


def test_the_2024_variant_counts_spaces_as_errors() -> None:
    assert points(task(" 2, 5", "2,5"), "grade_norm_2024") == 0
    assert points(task("2,5", "2,5"), "grade_norm_2024") == 1
    assert points(task("9, 2,6,8", "9,2,6,8", "matching", "26"), "grade_norm_2024") == 3
    assert points(task(" кроме того ", "крометого", "text", "2"), "grade_norm_2024") == 1


def test_an_answer_of_the_wrong_kind_of_characters_is_unparsed() -> None:
    unparsed = metric("grade_norm").unparsed
    assert unparsed(task("не знаю", "2,5"))
    assert unparsed(task("", "9,2,6,8", "matching", "26"))
    assert unparsed(task("12", "такимобразом", "text", "2"))
    assert not unparsed(task("ответ 2", "2,5"))
    assert not unparsed(task("слово", "такимобразом", "text", "2"))


def test_the_grade_is_the_mean_over_variants_of_points_of_34() -> None:
    rows = [
        task("2,5", "2,5", variant=0),
        task("9,2,6,8", "9,2,6,8", "matching", "26", variant=0),
        task("1", "2,5", variant=7),
        task("2", "2,5", id_task="16", variant=7),
    ]
    statistic = metric("grade_norm").statistic(rows)
    assert statistic.clusters == ("0", "7")
    assert statistic.value == pytest.approx((5 / 34 + 1 / 34) / 2)
    counts = resample_counts(2, 50, np.random.default_rng(0)).astype(float)
    expected = (counts @ np.array([5, 1])) / 34 / 2
    assert statistic.combine(counts @ statistic.columns) == pytest.approx(expected)
