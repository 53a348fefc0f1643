"""The bootstrap: seeded, blockwise, within strata."""

from __future__ import annotations

import numpy as np
import pytest

from darumeru.metrics import metric, metric_names
from darumeru.metrics.statistic import Statistic, bootstrap, interval, mean_of_first, resample_counts
from tests.metrics.rows import picks


def means(values: list[float], strata: list[int] | None = None) -> Statistic:
    columns = np.stack([np.array(values), np.ones(len(values))], axis=1)
    names = tuple(map(str, range(len(values))))
    return Statistic(names, columns, mean_of_first, strata=None if strata is None else np.array(strata))


@pytest.mark.parametrize("strata", [None, [0, 1, 1, 2, 2, 2, 0]])
def test_blocks_do_not_matter(strata: list[int] | None) -> None:
    statistic = means([0, 1, 1, 0, 1, 0, 1], strata)
    whole = bootstrap(statistic, 50, seed=3)
    for block in (1, 20, 7 * 50):
        assert np.array_equal(bootstrap(statistic, 50, seed=3, block=block), whole)


def test_the_seed_decides() -> None:
    statistic = means([0, 1, 1, 0, 1, 0, 1, 0, 0])
    assert np.array_equal(bootstrap(statistic, 40, seed=1), bootstrap(statistic, 40, seed=1))
    assert not np.array_equal(bootstrap(statistic, 40, seed=1), bootstrap(statistic, 40, seed=2))


def test_statistics_over_the_same_clusters_are_resampled_together() -> None:
    rows = picks("ABAB" * 5, "ABBB" * 5, "AB")
    acc, mcc = metric("acc").statistic(rows), metric("mcc").statistic(rows)
    weights = resample_counts(20, 30, [np.random.default_rng((7, 0))]).astype(float)
    assert np.allclose(bootstrap(acc, 30, seed=7), weights @ acc.columns[:, 0] / 20)
    assert np.allclose(bootstrap(mcc, 30, seed=7), [mcc.combine(each @ mcc.columns) for each in weights])


def test_each_stratum_keeps_its_size() -> None:
    strata = np.array([0] * 5 + [1] * 2 + [2])
    counts = resample_counts(8, 100, np.random.default_rng(0), strata)
    assert (counts[:, :5].sum(axis=1) == 5).all()
    assert (counts[:, 5:7].sum(axis=1) == 2).all()
    assert (counts[:, 7] == 1).all()
    assert counts[:, :5].max() > 1


def test_interval_is_that_of_the_binomial_for_a_proportion() -> None:
    found = interval(means([1.0] * 60 + [0.0] * 140), resamples=4000)
    assert found == pytest.approx((0.24, 0.365), abs=0.011)


def test_an_interval_needs_two_clusters_and_a_score() -> None:
    assert interval(means([1.0])) is None
    assert interval(means([float("nan"), float("nan")])) is None
    assert interval(means([1.0, 1.0])) == (1.0, 1.0)


@pytest.mark.parametrize("name", metric_names())
def test_no_rows_give_no_score(name: str) -> None:
    statistic = metric(name).statistic([])
    assert statistic.clusters == ()
    assert np.isnan(statistic.value)
    assert np.isnan(bootstrap(statistic, 3)).all()
