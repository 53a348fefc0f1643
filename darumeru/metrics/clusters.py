"""Rows grouped by cluster, and the plain mean as a Statistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.statistic import FloatArray, IntArray, Statistic, mean_of_first


@dataclass(frozen=True)
class Clusters:
    """Rows in order of (cluster, id), so that sums do not depend on the order in which answers arrived.

    ids: n cluster ids, sorted. rows: all rows. index: int [rows], which cluster each row belongs to.
    """

    ids: tuple[str, ...]
    rows: tuple[SampleRow, ...]
    index: IntArray

    @property
    def single(self) -> bool:
        """Whether each cluster is one row."""
        return len(self.ids) == len(self.rows)

    def sums(self, values: FloatArray) -> FloatArray:
        """Sums [n, m] over the rows of each cluster of values [rows, m]."""
        result = np.zeros((len(self.ids), values.shape[1]))
        np.add.at(result, self.index, values)
        return result

    def members(self) -> list[list[SampleRow]]:
        """The rows of each cluster."""
        groups: list[list[SampleRow]] = [[] for _ in self.ids]
        for place, row in zip(self.index, self.rows, strict=True):
            groups[place].append(row)
        return groups


def by_cluster(rows: Sequence[SampleRow], key: Callable[[SampleRow], str] = lambda row: row.cluster) -> Clusters:
    """The rows grouped by `key`, by default by their record."""
    ordered = sorted(rows, key=lambda row: (key(row), row.id))
    ids = tuple(dict.fromkeys(key(row) for row in ordered))
    place = {name: number for number, name in enumerate(ids)}
    return Clusters(ids, tuple(ordered), np.array([place[key(row)] for row in ordered], dtype=np.int64))


def mean_over_rows(
    rows: Sequence[SampleRow],
    value: Callable[[SampleRow], float],
    chance: Callable[[SampleRow], float] = lambda row: 0.0,
    hits: bool = False,
) -> Statistic:
    """The mean of `value` over rows. chance: a guesser's expected value on a row. hits: every value is 0 or 1."""
    clusters = by_cluster(rows)
    values = np.array([value(row) for row in clusters.rows], dtype=np.float64)
    columns = clusters.sums(np.stack([values, np.ones_like(values)], axis=1))
    guess = float(np.mean([chance(row) for row in clusters.rows])) if clusters.rows else 0.0
    binary = columns[:, 0].copy() if hits and clusters.single else None
    return Statistic(clusters.ids, columns, mean_of_first, binary=binary, chance=guess)
