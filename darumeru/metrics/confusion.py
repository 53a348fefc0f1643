"""Scores of the confusion matrix as functions of sums: F1 macro and the Matthews correlation coefficient.

Three sums per class are enough for both: hits, target answers and choices of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.choice import chosen, no_choice
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import CORRELATION, SHARE, Measure
from darumeru.metrics.statistic import FloatArray, Statistic


def f1_macro_of_sums(sums: FloatArray) -> FloatArray:
    """F1 averaged over the classes that occur in target or among the choices, as scikit-learn's f1_score does.

    sums: [..., 3K], K counts each of hits, target answers and choices. NaN when nothing occurs.
    """
    hits, target, picked = np.split(np.asarray(sums), 3, axis=-1)
    present = target + picked > 0
    f1 = np.where(present, 2 * hits / np.where(present, target + picked, 1), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.asarray(f1.sum(axis=-1) / present.sum(axis=-1))
    return result


def mcc_of_sums(sums: FloatArray) -> FloatArray:
    """Matthews correlation of K classes, 0 where it is undefined, as scikit-learn's matthews_corrcoef does.

    sums: [..., 3K] as for f1_macro_of_sums. NaN when nothing occurs.
    """
    hits, target, picked = np.split(np.asarray(sums), 3, axis=-1)
    n = target.sum(axis=-1)
    both = hits.sum(axis=-1) * n - (target * picked).sum(axis=-1)
    spread = (n**2 - (picked**2).sum(axis=-1)) * (n**2 - (target**2).sum(axis=-1))
    defined = spread > 0
    score = np.where(defined, both / np.sqrt(np.where(defined, spread, 1)), 0)
    result: FloatArray = np.asarray(np.where(n > 0, score, np.nan))
    return result


def _no_skill(target: FloatArray) -> float:
    return 0.0


def _guessed_f1_macro(target: FloatArray) -> float:
    """F1 macro of a uniform guesser: of its n/K choices of a class, the class's share is right."""
    each = np.full_like(target, target.sum() / max(len(target), 1))
    hits = target / max(len(target), 1)
    return float(f1_macro_of_sums(np.concatenate([hits, target, each]))) if target.sum() else 0.0


@dataclass(frozen=True)
class ConfusionScore:
    """A function of the confusion matrix; it has no meaning for a single sample, so values() is empty.

    combine: maps class sums [..., 3K] to scores. chance: maps the K counts of target answers to a guesser's score.
    """

    name: str
    description: str
    combine: Callable[[FloatArray], FloatArray]
    chance: Callable[[FloatArray], float]
    measure: Measure

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {}

    def unparsed(self, row: SampleRow) -> bool:
        return no_choice(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        """An answer without any probability counts as a class of its own, which is never right."""
        clusters = by_cluster(rows)
        target = [str(row.target) for row in clusters.rows]
        picked = [chosen(row) for row in clusters.rows]
        offered = {label for row in clusters.rows for label in row.answer.probabilities or {}}
        labels = {label: place for place, label in enumerate(sorted({*offered, *target, *picked}))}
        size, here = len(labels), np.arange(len(target))
        values = np.zeros((len(target), 3 * size))
        gold_place = np.array([labels[label] for label in target], dtype=np.int64)
        picked_place = np.array([labels[label] for label in picked], dtype=np.int64)
        values[here, gold_place] = gold_place == picked_place
        values[here, size + gold_place] = 1
        values[here, 2 * size + picked_place] = 1
        columns = clusters.sums(values)
        known = [place for label, place in labels.items() if label]
        chance = self.chance(columns[:, size : 2 * size].sum(axis=0)[known])
        hits = columns[:, :size].sum(axis=1) if clusters.single else None
        return Statistic(clusters.ids, columns, self.combine, binary=hits, chance=chance)


F1_MACRO = ConfusionScore(
    "f1_macro",
    "unweighted mean over classes of F1 (RCB, ruOpenBookQA, ruWorldTree; as scikit-learn's f1_score)",
    f1_macro_of_sums,
    _guessed_f1_macro,
    SHARE,
)
MCC = ConfusionScore(
    "mcc",
    "Matthews correlation of target and chosen labels (RuCoLA; as scikit-learn's matthews_corrcoef)",
    mcc_of_sums,
    _no_skill,
    CORRELATION,
)
