"""Classes read off the first character of a generated answer, as the authors' program does for RuBLiMP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from darumeru.core.answer import Answer
from darumeru.core.row import SampleRow
from darumeru.metrics.confusion import F1_MACRO
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.sample_mean import SampleMean
from darumeru.metrics.statistic import Statistic


def first_character(row: SampleRow) -> str:
    """The first character that is no space; "" for a blank answer."""
    return (row.answer.text or "").strip()[:1]


def _hit(row: SampleRow) -> float:
    return float(first_character(row) == row.target)


def _blank(row: SampleRow) -> bool:
    return not first_character(row)


@dataclass(frozen=True)
class FirstCharacterF1:
    """Every character that is said or right is a class of its own."""

    name: str = "first_character_f1_macro"
    description: str = "F1 macro of the first characters of answers (RuBLiMP in the authors' program)"
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {}

    def unparsed(self, row: SampleRow) -> bool:
        return _blank(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        read = [replace(row, answer=Answer(probabilities={first_character(row): 1.0})) for row in rows]
        return F1_MACRO.statistic(read)

    def most(self, row: SampleRow) -> float:
        return 1.0


ACCURACY = SampleMean(
    "first_character_acc",
    "share of answers whose first character is the target (RuBLiMP in the authors' program)",
    _hit,
    _blank,
    hits=True,
)
F1 = FirstCharacterF1()
