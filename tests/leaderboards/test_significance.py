"""Paired resampling, ties, McNemar and Holm; intervals that hold what they promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from darumeru.core.errors import UserError
from darumeru.leaderboard.manifests import differences
from darumeru.leaderboard.significance import bootstrap_p, holm, interval_of, mcnemar_p, paired_scores, tied
from darumeru.metrics.confusion import f1_macro_of_sums, mcc_of_sums
from darumeru.metrics.statistic import FloatArray, Statistic, bootstrap, interval, mean_of_first

Generator = np.random.Generator


def accuracy(hits: FloatArray, names: list[str] | None = None) -> Statistic:
    clusters = tuple(names or [f"r{number:04d}" for number in range(len(hits))])
    return Statistic(clusters, np.stack([hits, np.ones_like(hits)], axis=1), mean_of_first, binary=hits)


def confusion(
    target: FloatArray, picked: FloatArray, classes: int, combine: Callable[[FloatArray], FloatArray]
) -> Statistic:
    eye = np.eye(classes)
    columns = np.concatenate([eye[target] * (target == picked)[:, None], eye[target], eye[picked]], axis=1)
    return Statistic(tuple(f"r{number:05d}" for number in range(len(target))), columns, combine)


def test_all_models_see_the_same_resampled_records() -> None:
    hits = np.random.default_rng(0).integers(0, 2, 200).astype(float)
    draws = paired_scores([accuracy(hits), accuracy(hits), accuracy(1 - hits)], 500, 3)
    assert (draws[0] == draws[1]).all()
    assert draws[0] + draws[2] == pytest.approx(np.ones(500))
    assert (draws[0] == bootstrap(accuracy(hits), 500, 3)).all()
    assert (draws == paired_scores([accuracy(hits), accuracy(hits), accuracy(1 - hits)], 500, 3)).all()
    assert (draws != paired_scores([accuracy(hits), accuracy(hits), accuracy(1 - hits)], 500, 4)).any()


def test_blocks_strata_and_non_integers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values = rng.random(60)
    one = Statistic(
        tuple(map(str, range(60))), np.stack([values, np.ones(60)], axis=1), mean_of_first, strata=np.arange(60) // 20
    )
    whole = paired_scores([one, one], 100, 0)
    monkeypatch.setattr("darumeru.leaderboard.significance.BLOCK", 600)
    assert paired_scores([one, one], 100, 0) == pytest.approx(whole, abs=1e-12)
    assert whole[0] == pytest.approx(bootstrap(one, 100, 0), abs=1e-12)


def test_only_common_records_count() -> None:
    a = accuracy(np.array([1.0, 0.0, 1.0]), ["x", "y", "z"])
    b = accuracy(np.array([0.0, 1.0]), ["z", "w"])
    draws = paired_scores([a, b], 50, 0)
    assert (draws[0] == 1).all() and (draws[1] == 0).all()
    with pytest.raises(UserError, match="share no record"):
        paired_scores([a, accuracy(np.array([1.0]), ["q"])], 50, 0)


def test_ties_are_those_that_the_best_does_not_beat_for_sure() -> None:
    rng = np.random.default_rng(2)
    best = (rng.random(400) < 0.8).astype(float)
    close = best.copy()
    close[np.flatnonzero(best)[:2]] = 0
    close[np.flatnonzero(best == 0)[:1]] = 1
    far = (rng.random(400) < 0.5).astype(float)
    statistics = [accuracy(one) for one in (far, best, close)]
    draws = paired_scores(statistics, 2000, 0)
    assert tied(draws, [one.value for one in statistics]) == (False, True, True)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    a = np.array([1.0] * 30 + [0.0] * 12 + [1.0] * 5)
    b = np.array([1.0] * 30 + [1.0] * 12 + [0.0] * 5)
    assert mcnemar_p(a, b) == pytest.approx(binomtest(5, 17, 0.5).pvalue)
    assert mcnemar_p(a, b) == mcnemar_p(b, a)
    assert mcnemar_p(a, a) == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_no_variance_is_no_difference() -> None:
    assert bootstrap_p(np.zeros(999)) == 1.0
    assert bootstrap_p(np.full(999, 0.1)) == pytest.approx(0.002)
    assert interval_of(np.zeros(10)) == (0.0, 0.0)


def covered(draw: Callable[[Generator], Statistic], truth: float, repetitions: int = 400) -> float:
    """Share of simulated data sets whose 95 % interval holds the true value."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(repetitions):
        found = interval(draw(rng), resamples=400)
        assert found is not None
        hits += found[0] <= truth <= found[1]
    return hits / repetitions


def _mean(rng: Generator) -> Statistic:
    return accuracy((rng.random(400) < 0.6).astype(float))


def _clustered(rng: Generator) -> Statistic:
    """Records of three sentences each whose answers hang together; the mean over sentences."""
    skill = rng.beta(3, 2, 200)
    sums = rng.binomial(3, skill).astype(float)
    return Statistic(tuple(map(str, range(200))), np.stack([sums, np.full(200, 3.0)], axis=1), mean_of_first)


def _confused(combine: Callable[[FloatArray], FloatArray]) -> Callable[[Generator], Statistic]:
    def draw(rng: Generator) -> Statistic:
        target = rng.integers(0, 2, 400)
        picked = np.where(rng.random(400) < 0.7, target, 1 - target)
        return confusion(target, picked, 2, combine)

    return draw


@pytest.mark.parametrize(
    ("draw", "truth"),
    [(_mean, 0.6), (_clustered, 0.6), (_confused(f1_macro_of_sums), 0.7), (_confused(mcc_of_sums), 0.4)],
    ids=["mean", "clustered", "F1 macro", "MCC"],
)
def test_intervals_hold_the_true_value_in_95_of_100_data_sets(
    draw: Callable[[Generator], Statistic], truth: float
) -> None:
    assert 0.93 <= covered(draw, truth) <= 0.97


def test_paired_intervals_hold_the_true_difference() -> None:
    rng = np.random.default_rng(11)
    hits = false_alarms = 0
    for _ in range(400):
        skill = rng.random(300)
        a, b = ((rng.random(300) < np.clip(skill + gain, 0, 1)).astype(float) for gain in (0.0, 0.1))
        draws = paired_scores([accuracy(a), accuracy(b)], 400, 0)
        low, high = interval_of(draws[1] - draws[0])
        # E[min(1, u + 0.1)] - E[u] for uniform u
        hits += low <= 0.095 <= high
        c = (rng.random(300) < skill).astype(float)
        again = paired_scores([accuracy(a), accuracy(c)], 400, 0)
        false_alarms += bootstrap_p(again[1] - again[0]) < 0.05
    assert 0.93 <= hits / 400 <= 0.97
    assert false_alarms / 400 <= 0.075


def test_settings_that_change_numbers_are_told() -> None:
    base = {"profile": "darumeru", "limit": None, "template": {"thinking": False}, "model": {"name": "a"}}
    base |= {"data": {"tasks": {"x": {"sha256": {"test": "1"}}}}, "seed": 0}
    assert differences([base, base | {"model": {"name": "b"}, "seed": 1}]) == ()
    other = base | {"limit": 5, "template": {"thinking": True}, "data": {"tasks": {"x": {"sha256": {"test": "2"}}}}}
    told = differences([base, other])
    assert told == ("limit: null, 5", "thinking: false, true", "data of x: not the same records")
