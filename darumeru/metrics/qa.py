"""Free answers against one or more right ones: SQuAD's F1 over words and exact match (MultiQ)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import mean_over_rows
from darumeru.metrics.statistic import Statistic

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalized(text: str) -> list[str]:
    """Words after lower-casing and removing ASCII punctuation and English articles (SQuAD 1.1's normalization)."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact(target: str, answer: str) -> float:
    """1 when both have the same normalized words in the same order; an empty answer gets 0."""
    return float(bool(answer.strip()) and normalized(target) == normalized(answer))


def word_f1(target: str, answer: str) -> float:
    """F1 of the bags of normalized words; where one of them has none, 1 if the other has none either. An empty answer
    gets 0."""
    right, said = normalized(target), normalized(answer)
    if not right or not said:
        return exact(target, answer)
    common = (Counter(right) & Counter(said)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(said), common / len(right)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class BestOfTargets:
    """Mean over samples of the largest score over the right answers; row.target is a list of strings, or one string."""

    name: str
    description: str
    score: Callable[[str, str], float]
    hits: bool

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {self.name: self._best(row)}

    def unparsed(self, row: SampleRow) -> bool:
        """An answer without words."""
        return not normalized(row.answer.text or "")

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        return mean_over_rows(rows, self._best, hits=self.hits)

    def _best(self, row: SampleRow) -> float:
        targets = [row.target] if isinstance(row.target, str) else row.target
        return max(self.score(target, row.answer.text or "") for target in targets)


F1 = BestOfTargets("f1", "largest F1 over words with a right answer (MultiQ; SQuAD's compute_f1)", word_f1, hits=False)
EXACT_MATCH = BestOfTargets(
    "em", "share of answers equal to a right one after normalization (MultiQ; SQuAD's compute_exact)", exact, hits=True
)
