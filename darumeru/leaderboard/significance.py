"""Which differences between runs are more than chance: paired, clustered bootstrap; McNemar; Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from darumeru.core.errors import UserError
from darumeru.metrics.statistic import FloatArray, IntArray, Statistic, resample_counts

BLOCK = 4_000_000
"""Bootstrap weights held at once."""


def common_clusters(statistics: Sequence[Statistic]) -> list[Statistic]:
    """The statistics over the clusters that all of them have, in one order. UserError when there are none."""
    first = statistics[0]
    if all(one.clusters == first.clusters for one in statistics):
        return list(statistics)
    shared = sorted(set.intersection(*(set(one.clusters) for one in statistics)))
    if not shared:
        raise UserError("the runs share no record of this task", mend="compare runs of the same data and limit")
    return [_restricted(one, shared) for one in statistics]


def _restricted(statistic: Statistic, clusters: Sequence[str]) -> Statistic:
    place = {name: number for number, name in enumerate(statistic.clusters)}
    rows = np.array([place[name] for name in clusters])
    return replace(
        statistic,
        clusters=tuple(clusters),
        columns=statistic.columns[rows],
        strata=None if statistic.strata is None else statistic.strata[rows],
        binary=None if statistic.binary is None else statistic.binary[rows],
    )


def paired_scores(statistics: Sequence[Statistic], resamples: int = 10_000, seed: int = 0) -> FloatArray:
    """Scores [k, resamples] of k statistics of one task: in each resample all of them see the same records.

    Resampled are the clusters that all have, within strata. Seeded; the draws depend on the number of clusters, their
    strata and the seed alone. UserError when they share no cluster.
    """
    shared = common_clusters(statistics)
    n, strata = len(shared[0].clusters), _strata(shared)
    count = 1 if strata is None else len(np.unique(strata))
    generators = [np.random.default_rng((seed, stratum)) for stratum in range(count)]
    columns = np.concatenate([one.columns for one in shared], axis=1)
    exact = np.abs(columns).sum(axis=0).max(initial=0) * 8 < 1 << 24 and np.equal(columns, np.round(columns)).all()
    columns = columns.astype(np.float32) if exact else columns
    ends = np.cumsum([one.columns.shape[1] for one in shared])
    scores = np.empty((len(shared), resamples))
    step = max(1, BLOCK // max(n, 1))
    for start in range(0, resamples, step):
        counts = resample_counts(n, min(step, resamples - start), generators, strata)
        sums = np.asarray((counts if exact else counts.astype(np.float64)) @ columns, dtype=np.float64)
        for number, one in enumerate(shared):
            part = sums[:, ends[number] - one.columns.shape[1] : ends[number]]
            scores[number, start : start + len(part)] = one.combine(part)
    return scores


def _strata(statistics: Sequence[Statistic]) -> IntArray | None:
    """Those of the first statistic that has any: strata come from the data, not from answers."""
    return next((one.strata for one in statistics if one.strata is not None), None)


def tied(draws: FloatArray, values: Sequence[float], level: float = 0.95) -> tuple[bool, ...]:
    """Which of k models cannot be told from the best: the interval of (best - this) holds 0. The best is among them.

    draws: paired scores [k, resamples]. values: the k scores themselves.
    """
    best = int(np.nanargmax(values))
    return tuple(interval_of(draws[best] - one, level)[0] <= 0 for one in draws)


def interval_of(draws: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resampled values; NaN draws are left out."""
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(differences: FloatArray) -> float:
    """Two-sided p of "no difference" from resampled differences; one is added to the counts, so that it is never 0."""
    finite = differences[np.isfinite(differences)]
    below, above = int((finite <= 0).sum()), int((finite >= 0).sum())
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + finite.size)))


def mcnemar_p(a: FloatArray, b: FloatArray) -> float:
    """Exact two-sided McNemar test of paired 0/1 outcomes [n]; 1 where no pair differs."""
    from scipy.stats import binomtest

    gained, lost = int(((b > 0) & (a == 0)).sum()), int(((a > 0) & (b == 0)).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that hold together at the level they are compared with."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    corrected, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected
