"""What a metric is: a value per sample for reading, and a Statistic per data set for the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from darumeru.core.row import SampleRow
from darumeru.metrics.statistic import Statistic


@runtime_checkable
class Metric(Protocol):
    """A metric; plugins register an instance under the entry-point group "darumeru.metrics", by its name."""

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

    def unparsed(self, row: SampleRow) -> bool:
        """Whether the answer cannot be read as an answer of this kind (it is scored all the same, and counted)."""
        ...

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        """The data set's score over all answered rows, in the form that the bootstrap recomputes; independent of the
        order of the rows. No rows give a Statistic without clusters, whose value is NaN."""
        ...
