"""Free answers against one or more right ones: SQuAD's F1 over words and exact match (MultiQ)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from functools import partial

from darumeru.core.row import SampleRow
from darumeru.metrics.sample_mean import SampleMean

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


def best_of(score: Callable[[str, str], float], row: SampleRow) -> float:
    """The largest score over the right answers; row.target is a list of strings, or one string."""
    targets = [row.target] if isinstance(row.target, str) else row.target
    return max(score(target, row.answer.text or "") for target in targets)


def wordless(row: SampleRow) -> bool:
    """An answer without words."""
    return not normalized(row.answer.text or "")


F1 = SampleMean(
    "f1",
    "largest F1 over words with a right answer (MultiQ; SQuAD's compute_f1)",
    partial(best_of, word_f1),
    wordless,
)
EXACT_MATCH = SampleMean(
    "em",
    "share of answers equal to a right one after normalization (MultiQ; SQuAD's compute_exact)",
    partial(best_of, exact),
    wordless,
    hits=True,
)
