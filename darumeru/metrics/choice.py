"""Answers chosen from a closed set by their probability: accuracy in its plain and its both-orders form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.sample_mean import SampleMean
from darumeru.metrics.statistic import Statistic, mean_of_first


def chosen(row: SampleRow) -> str:
    """The most probable label; of equal ones the first; "" when no probability is a number."""
    label, best = "", -1.0
    for name, probability in (row.answer.probabilities or {}).items():
        if probability > best:
            label, best = name, probability
    return label


def no_choice(row: SampleRow) -> bool:
    """Whether every label has probability 0 or none at all, as when all fell below a server's top 20."""
    return not any(probability > 0 for probability in (row.answer.probabilities or {}).values())


def guess(row: SampleRow) -> float:
    """How often a uniform guesser is right."""
    return 1 / max(len(row.answer.probabilities or {}), 1)


def hit(row: SampleRow) -> float:
    """Whether the chosen label is the target."""
    return float(row.target == chosen(row))


def hit_start(row: SampleRow) -> float:
    """Whether the target begins with the chosen label, which is not empty."""
    label = chosen(row)
    return float(bool(label) and row.target.startswith(label))


def hit_by_character(row: SampleRow) -> float:
    """Whether the target is the label with the highest log-probability per character; of equal ones the first."""
    best, label = -math.inf, ""
    for name, probability in (row.answer.probabilities or {}).items():
        each = math.log(probability) / max(len(name), 1) if probability > 0 else -math.inf
        if each > best:
            best, label = each, name
    return float(row.target == label)


@dataclass(frozen=True)
class AccuracyBothOrders:
    """Share of records that are answered right in both orders of their choices.

    A record of which only one order was answered is left out: it can be neither right nor wrong.
    """

    name: str = "acc_both_orders"
    description: str = (
        "share of records answered right in both orders of their choices (PARus and ruTiE since 2024-07-12)"
    )
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        """Whether this one order is answered right."""
        return {self.name: hit(row)}

    def unparsed(self, row: SampleRow) -> bool:
        return no_choice(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        groups = {name: group for name, group in zip(clusters.ids, clusters.members(), strict=True) if len(group) > 1}
        hits = np.array([all(hit(row) for row in group) for group in groups.values()], dtype=np.float64)
        guesses = [float(np.prod([guess(row) for row in group])) for group in groups.values()]
        columns = np.stack([hits, np.ones_like(hits)], axis=1)
        chance = float(np.mean(guesses)) if guesses else 0.0
        return Statistic(tuple(groups), columns, mean_of_first, binary=hits, chance=chance)


ACCURACY = SampleMean(
    "acc", "share of samples whose most probable label is the target answer", hit, no_choice, guess, hits=True
)
ACCURACY_NORM = SampleMean(
    "acc_norm",
    "share of samples whose target has the highest log-probability per character (lm-eval's acc_norm)",
    hit_by_character,
    no_choice,
    guess,
    hits=True,
)
ACCURACY_STARTSWITH = SampleMean(
    "acc_startswith",
    "share of samples whose target answer begins with the most probable label (RWSD)",
    hit_start,
    no_choice,
    guess,
    hits=True,
)
ACCURACY_BOTH_ORDERS = AccuracyBothOrders()
