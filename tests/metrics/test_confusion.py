"""F1 macro and MCC from sums equal scikit-learn's on the data and on every resample of it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from darumeru.metrics import metric
from darumeru.metrics.statistic import resample_counts
from tests.metrics.rows import picked, picks, repeated

LABELS = "ABCD"
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30)


def by_sklearn(name: str, target: list[str], chosen: list[str]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "mcc":
            return float(matthews_corrcoef(target, chosen))
        return float(f1_score(target, chosen, average="macro"))


@pytest.mark.parametrize("name", ["f1_macro", "mcc"])
@given(pairs=pairs, seed=st.integers(0, 2**32 - 1))
def test_score_equals_sklearn_on_data_and_resamples(name: str, pairs: list[tuple[str, str]], seed: int) -> None:
    target, chosen = [list(side) for side in zip(*pairs, strict=True)]
    rows = picks(target, chosen, LABELS)
    statistic = metric(name).statistic(rows)
    assert statistic.value == pytest.approx(by_sklearn(name, target, chosen), abs=1e-12)
    counts = resample_counts(len(rows), 5, np.random.default_rng(seed))
    resampled = statistic.combine(counts.astype(float) @ statistic.columns)
    for score, weights in zip(resampled, counts, strict=True):
        again = repeated(rows, statistic.clusters, weights)
        places = [int(one.id.split("/")[0]) for one in again]
        expected = by_sklearn(name, [target[place] for place in places], [chosen[place] for place in places])
        assert score == pytest.approx(expected, abs=1e-12)
        assert metric(name).statistic(again).value == pytest.approx(expected, abs=1e-12)


def test_f1_macro_leaves_out_a_class_that_nobody_names() -> None:
    rows = picks("AABB", "AABA", LABELS)
    assert metric("f1_macro").statistic(rows).value == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_mcc_without_two_classes_is_zero() -> None:
    assert metric("mcc").statistic(picks("AAA", "AAA", "AB")).value == 0


def test_an_answer_without_probabilities_is_a_class_that_is_never_right() -> None:
    rows = [*picks("AB", "AB", "AB"), picked({"A": float("nan"), "B": float("nan")}, "A", "nan")]
    expected = f1_score(["A", "B", "A"], ["A", "B", ""], average="macro", zero_division=0.0)
    assert metric("f1_macro").statistic(rows).value == pytest.approx(expected)
    assert metric("f1_macro").unparsed(rows[-1])
    assert not metric("f1_macro").unparsed(rows[0])


def test_chance_is_the_score_of_a_uniform_guesser() -> None:
    target = "A" * 300 + "B" * 80 + "C" * 20
    chance = metric("f1_macro").statistic(picks(target, target, "ABC")).chance
    rng = np.random.default_rng(0)
    guesses = [f1_score(list(target), rng.choice(list("ABC"), len(target)), average="macro") for _ in range(200)]
    assert chance == pytest.approx(np.mean(guesses), abs=0.005)
    assert metric("mcc").statistic(picks(target, target, "ABC")).chance == 0
    assert metric("f1_macro").statistic(picks("ABCD", "ABCD", LABELS)).chance == pytest.approx(1 / 4)


def test_a_single_sample_has_no_value() -> None:
    assert metric("f1_macro").values(picked({"A": 1.0}, "A")) == {}
