"""One form for every score: sums over clusters, then a function of the sums.

A score of a data set is `combine(sum over clusters of columns)`. Means, F1 macro, MCC, R-precision, the exam grade and
the mean over categories of subject means all have this form, so that one vectorized bootstrap recomputes any of them
exactly, alone or paired between models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """A score over n clusters (records, or groups of samples that stand or fall together).

    clusters: n cluster ids, unique, in a stable order. columns: float64 [n, m], additive quantities of each cluster.
    combine: maps sums [..., m] to scores [...]; a score without meaning (empty class) is NaN.
    strata: int [n]; resampling keeps the number of clusters of each stratum; None = one stratum.
    binary: [n] whether each cluster was answered right, 0/1, for McNemar's test and lists of flips; None where that has
    no meaning or a cluster holds several answers that do not stand or fall together.
    chance: score of a guesser, for normalized aggregates.
    """

    clusters: tuple[str, ...]
    columns: FloatArray
    combine: Callable[[FloatArray], FloatArray]
    strata: IntArray | None = None
    binary: FloatArray | None = None
    chance: float = 0.0

    @property
    def value(self) -> float:
        """The score of the whole data set."""
        return float(self.combine(self.columns.sum(axis=0)))


def mean_of_first(sums: FloatArray) -> FloatArray:
    """combine for plain means: columns are (value, 1)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.asarray(sums[..., 0] / sums[..., 1])
    return result


def resample_counts(
    n: int,
    resamples: int,
    rng: np.random.Generator | Sequence[np.random.Generator],
    strata: IntArray | None = None,
) -> npt.NDArray[np.float32]:
    """Bootstrap weights [resamples, n]: how often each cluster is drawn, with replacement, within its stratum.

    rng: one generator, or one for each stratum (then rows drawn in several calls are those of a single call).
    """
    counts = np.zeros((resamples, n), dtype=np.float32)
    groups = _members(n, strata)
    generators = [rng] * len(groups) if isinstance(rng, np.random.Generator) else list(rng)
    for members, generator in zip(groups, generators, strict=True):
        size = len(members)
        draws = generator.integers(0, size, size=(resamples, size), dtype=np.int32).astype(np.int64)
        draws += (np.arange(resamples, dtype=np.int64) * size)[:, None]
        counts[:, members] = np.bincount(draws.ravel(), minlength=resamples * size).reshape(resamples, size)
    return counts


def bootstrap(statistic: Statistic, resamples: int = 1000, seed: int = 0, block: int = 4_000_000) -> FloatArray:
    """Scores [resamples] of resampled data sets, in blocks of about `block` weights of memory.

    Seeded: the draws depend on seed, number of clusters and strata alone, so that statistics over the same clusters
    are resampled together.
    """
    n = len(statistic.clusters)
    if n == 0:
        return np.full(resamples, np.nan)
    strata = len(_members(n, statistic.strata))
    generators = [np.random.default_rng((seed, stratum)) for stratum in range(strata)]
    step = max(1, block // n)
    parts = []
    for start in range(0, resamples, step):
        counts = resample_counts(n, min(step, resamples - start), generators, statistic.strata)
        parts.append(np.asarray(statistic.combine(counts.astype(np.float64) @ statistic.columns)))
    return np.concatenate(parts) if parts else np.empty(0)


def interval(
    statistic: Statistic, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval (low, high) of the score; None with fewer than two clusters."""
    if len(statistic.clusters) < 2:
        return None
    scores = bootstrap(statistic, resamples, seed)
    scores = scores[np.isfinite(scores)]
    if scores.size == 0:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)


def _members(n: int, strata: IntArray | None) -> list[IntArray]:
    if strata is None:
        return [np.arange(n)]
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
