"""What a metric is: a function of one sample, and a function of all rows that the bootstrap recomputes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from darumeru.core.row import SampleRow
from darumeru.metrics.measure import Measure
from darumeru.metrics.statistic import Statistic


@runtime_checkable
class SampleMetric(Protocol):
    """The least that a plugin registers, as an instance, under the entry-point group "darumeru.metrics", by its name.

    It may have any of the other members of Metric. Without them it is a "score" of which higher is better, every answer
    can be read, and the score of a data set is the mean of values()[name] over the samples that have it.
    """

    @property
    def name(self) -> str:
        """As it stands in task definitions and results.json."""
        ...

    @property
    def description(self) -> str:
        """One sentence on what is measured, with the source."""
        ...

    def values(self, row: SampleRow) -> Mapping[str, float]:
        """Named numbers for this one sample, usually {name: value}; empty when the metric has no meaning for a single
        sample. An unanswered sample is never passed in."""
        ...


@runtime_checkable
class Metric(SampleMetric, Protocol):
    """A metric as darumeru.metrics.metric() gives it."""

    @property
    def measure(self) -> Measure:
        """The kind of the score, which end is better, how it is written, its bounds."""
        ...

    def unparsed(self, row: SampleRow) -> bool:
        """Whether the answer cannot be read as an answer of this kind (it is scored all the same, and counted)."""
        ...

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        """The data set's score over all answered rows, in the form that the bootstrap recomputes; independent of the
        order of the rows. No rows give a Statistic without clusters, whose value is NaN."""
        ...

    def most(self, row: SampleRow) -> float:
        """The highest value that values() can give this sample."""
        ...
