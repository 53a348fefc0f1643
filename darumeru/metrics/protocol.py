"""What a metric is: a value per sample for reading, and a Statistic per data set for the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from darumeru.metrics.statistic import Statistic
from darumeru.runs.row import SampleRow


@runtime_checkable
class Metric(Protocol):
    """A metric; plugins register an instance under the entry-point group "darumeru.metrics".

    name: as it stands in results.json. description: one sentence with the source. chance: score of a guesser.
    """

    name: str
    description: str

    def values(self, row: SampleRow) -> Mapping[str, float]:
        """Named numbers for this one sample (usually {name: value}); an unanswered sample is never passed in."""
        ...

    def unparsed(self, row: SampleRow) -> bool:
        """Whether the answer cannot be read as an answer of this kind (it scores as wrong and is counted)."""
        ...

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        """The data set's score over all rows, in the form that the bootstrap recomputes."""
        ...
