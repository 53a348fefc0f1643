"""How many bits or nats a model needs for a text: comparable across vocabularies, as perplexity per token is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import Measure
from darumeru.metrics.statistic import FloatArray, Statistic, mean_of_first


@dataclass(frozen=True)
class TextCost:
    """The negative log-probability of all texts together, over their size. units: the size of a text; nats: how many
    nats one unit of cost has."""

    name: str
    description: str
    measure: Measure
    units: Callable[[str], int]
    nats: float

    def values(self, row: SampleRow) -> Mapping[str, float]:
        cost, size = self._parts(row)
        return {self.name: cost / size}

    def unparsed(self, row: SampleRow) -> bool:
        return False

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        """Long texts weigh more: sums of cost and size, resampled by document."""
        clusters = by_cluster(rows)
        parts: FloatArray = np.array([self._parts(row) for row in clusters.rows], dtype=np.float64).reshape(-1, 2)
        return Statistic(clusters.ids, clusters.sums(parts), mean_of_first)

    def most(self, row: SampleRow) -> float:
        return math.inf

    def _parts(self, row: SampleRow) -> tuple[float, int]:
        return -math.fsum(row.answer.logprobs or ()) / self.nats, self.units(str(row.target))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8"))


BITS_PER_BYTE = TextCost(
    "bits_per_byte",
    "negative log2-probability of a text over its UTF-8 bytes: total nats / ln 2 / bytes",
    Measure("bits_per_byte", "lower", low=0),
    _bytes,
    math.log(2),
)
NATS_PER_CHARACTER = TextCost(
    "nats_per_character",
    "negative log-probability of a text in nats over its characters",
    Measure("likelihood", "lower", low=0),
    len,
    1.0,
)
