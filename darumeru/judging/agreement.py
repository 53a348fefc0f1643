"""How far two judges agree on the same answers: Cohen's kappa."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from darumeru.metrics.statistic import FloatArray, Statistic, interval


@dataclass(frozen=True)
class Agreement:
    """Of two judges on n answers. same: share on which they say the same. kappa: agreement beyond chance (Cohen, 1960),
    None where both say one thing all the time; low, high: its 95 % interval. unread: answers on which a verdict of one
    of them cannot be read, which are left out."""

    n: int
    same: float | None
    kappa: float | None
    low: float | None = None
    high: float | None = None
    unread: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    first: Mapping[str, float | None], second: Mapping[str, float | None], resamples: int = 1000, seed: int = 0
) -> Agreement:
    """From verdicts by answer; only answers that both judged count."""
    shared = sorted(first.keys() & second.keys())
    pairs = {key: (first[key], second[key]) for key in shared}
    read = {key: pair for key, pair in pairs.items() if None not in pair}
    if not read:
        return Agreement(0, None, None, unread=len(shared))
    kinds = sorted({value for pair in read.values() for value in pair if value is not None})
    place = {value: number for number, value in enumerate(kinds)}
    columns = np.zeros((len(read), len(kinds) ** 2))
    for row, (one, two) in enumerate(read.values()):
        columns[row, place[one or 0.0] * len(kinds) + place[two or 0.0]] = 1.0
    statistic = Statistic(tuple(read), columns, _kappa(len(kinds)))
    value = statistic.value
    if not np.isfinite(value):
        bounds = None
    else:
        bounds = interval(statistic, resamples=resamples, seed=seed) if resamples else None
    same = float(np.mean([one == two for one, two in read.values()]))
    low, high = bounds or (None, None)
    return Agreement(len(read), same, float(value) if np.isfinite(value) else None, low, high, len(shared) - len(read))


def _kappa(kinds: int) -> Callable[[FloatArray], FloatArray]:
    """Cohen's kappa of sums [..., kinds * kinds] of a table of confusions."""

    def kappa(sums: FloatArray) -> FloatArray:
        table = sums.reshape(*sums.shape[:-1], kinds, kinds)
        total = table.sum(axis=(-1, -2))
        with np.errstate(invalid="ignore", divide="ignore"):
            same = np.trace(table, axis1=-2, axis2=-1) / total
            chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / total**2
            found: FloatArray = np.asarray((same - chance) / np.where(chance < 1, 1 - chance, np.nan))
        return found

    return kappa
