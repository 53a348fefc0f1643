"""The usual metric: the mean over samples of a number that each of them gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import mean_over_rows
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.protocol import Metric, SampleMetric
from darumeru.metrics.statistic import Statistic


def readable(row: SampleRow) -> bool:
    """For answers that are never unparsed."""
    return False


def no_guess(row: SampleRow) -> float:
    """What a guesser gets where there is nothing to guess."""
    return 0.0


@dataclass(frozen=True)
class SampleMean:
    """score: a sample's number. unreadable: see Metric.unparsed. guess: what a guesser gets on a sample. hits: every
    number is 0 or 1; then Statistic.binary is set when every cluster has one sample."""

    name: str
    description: str
    score: Callable[[SampleRow], float]
    unreadable: Callable[[SampleRow], bool] = readable
    guess: Callable[[SampleRow], float] = no_guess
    hits: bool = False
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {self.name: self.score(row)}

    def unparsed(self, row: SampleRow) -> bool:
        return self.unreadable(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        return mean_over_rows(rows, self.score, self.guess, self.hits)

    def most(self, row: SampleRow) -> float:
        return 1.0 if self.measure.high is None else self.measure.high


@dataclass(frozen=True)
class Completed:
    """A plugin's metric with what it does not say itself."""

    given: SampleMetric

    @property
    def name(self) -> str:
        return self.given.name

    @property
    def description(self) -> str:
        return self.given.description

    @property
    def measure(self) -> Measure:
        found: Measure = getattr(self.given, "measure", Measure())
        return found

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return self.given.values(row)

    def unparsed(self, row: SampleRow) -> bool:
        return bool(self._own("unparsed", readable)(row))

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        found: Statistic = self._own("statistic", self._mean)(rows)
        return found

    def most(self, row: SampleRow) -> float:
        return float(self._own("most", lambda row: self.measure.high or 1.0)(row))

    def _mean(self, rows: Sequence[SampleRow]) -> Statistic:
        having = [row for row in rows if self.name in self.given.values(row)]
        return mean_over_rows(having, lambda row: self.given.values(row)[self.name])

    def _own(self, member: str, default: Callable[[Any], Any]) -> Callable[[Any], Any]:
        own: Callable[[Any], Any] = getattr(self.given, member, default)
        return own


# By the id of what was given, which its value keeps alive: asking a Protocol takes longer than scoring a sample.
_COMPLETED: dict[int, Metric] = {}


def completed(given: SampleMetric) -> Metric:
    """The metric as all callers see it."""
    if id(given) not in _COMPLETED:
        _COMPLETED[id(given)] = given if isinstance(given, Metric) else Completed(given)
    return _COMPLETED[id(given)]
