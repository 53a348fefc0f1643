"""LIBRA: answers to questions about long texts, scored after lemmatization and averaged over lengths of the texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import FloatArray, Statistic
from darumeru.metrics.summarization import normal_form

LENGTHS = ("4k", "8k", "16k", "32k", "64k", "128k")

# The letter ё is not among the letters that stay, as published: "Пётр" is "птр" on both sides.
_DROPPED = re.compile(r"[^a-zа-яй0-9_]")


def words(text: str) -> list[str]:
    """Words in lower case without signs (and without ё), as their first normal forms; a sign alone is an empty word."""
    return [normal_form(word) if word else "" for word in (_DROPPED.sub("", one.lower()) for one in text.split())]


def normalized(text: str) -> str:
    """The words of a text, joined by spaces."""
    return " ".join(words(text))


def contained(target: str, answer: str) -> float:
    """1 when the normalized answer contains the normalized target anywhere, within words too."""
    return float(normalized(target) in normalized(answer))


def contained_words(target: str, answer: str) -> float:
    """1 when the normalized answer contains the words of the target one after the other."""
    wanted = [word for word in words(target) if word]
    said = [word for word in words(answer) if word]
    places = range(len(said) - len(wanted) + 1)
    return float(bool(wanted) and any(said[place : place + len(wanted)] == wanted for place in places))


def word_f1(target: str, answer: str) -> float:
    """F1 of the bags of normalized words."""
    right, said = normalized(target).split(), normalized(answer).split()
    common = (Counter(right) & Counter(said)).total()
    return 2 * common / (len(right) + len(said)) if common else 0.0


def right_numbers(target: str, answer: str) -> float:
    """Share of the numbers of the answer that are the target."""
    numbers = re.findall(r"\d+", answer)
    return sum(number == target for number in numbers) / len(numbers) if numbers else 0.0


@dataclass(frozen=True)
class LengthMean:
    """combine for sums [..., 2 L]: values, then numbers of answers, for each of L lengths. The mean over the
    lengths that occur of their means; digits: to which each is rounded first, None for not at all."""

    digits: int | None

    def __call__(self, sums: FloatArray) -> FloatArray:
        values, asked = np.split(np.asarray(sums, dtype=np.float64), 2, axis=-1)
        present = asked > 0
        means = np.where(present, values / np.where(present, asked, 1), 0)
        if self.digits is not None:
            means = np.round(means, self.digits)
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = np.asarray(means.sum(axis=-1) / present.sum(axis=-1))
        return result


@dataclass(frozen=True)
class LongContextScore:
    """The best score over the right answers of row.target["answers"]; row.target["length"] is one of LENGTHS.
    Resampling keeps the number of answers of each length."""

    name: str
    description: str
    score: Callable[[str, str], float]
    digits: int | None = None
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {self.name: self._best(row)}

    def unparsed(self, row: SampleRow) -> bool:
        return not (row.answer.text or "").strip()

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        at = np.array([LENGTHS.index(row.target["length"]) for row in clusters.rows], dtype=np.int64)
        here = np.arange(len(at))
        values = np.zeros((len(at), 2 * len(LENGTHS)))
        values[here, at] = [self._best(row) for row in clusters.rows]
        values[here, len(LENGTHS) + at] = 1
        strata = np.zeros(len(clusters.ids), dtype=np.int64)
        strata[clusters.index] = at
        return Statistic(clusters.ids, clusters.sums(values), LengthMean(self.digits), strata)

    def most(self, row: SampleRow) -> float:
        return 1.0

    def _best(self, row: SampleRow) -> float:
        answer = row.answer.text or ""
        return max((self.score(target, answer) for target in row.target["answers"]), default=0.0)


def _score(name: str, what: str, score: Callable[[str, str], float], digits: int | None = None) -> LongContextScore:
    rounded = f", each rounded to {digits} decimals" if digits is not None else ""
    return LongContextScore(name, f"{what}; mean over lengths of the means of each{rounded} (LIBRA)", score, digits)


_EM, _F1, _COUNT = "share of answers that contain a right one", "F1 over words", "share of the answer's numbers"
EM = _score("libra_em", _EM, contained)
EM_WORDS = _score("libra_em_words", f"{_EM} as whole words", contained_words)
F1 = _score("libra_f1", _F1, word_f1)
COUNT = _score("libra_count", f"{_COUNT} that are right", right_numbers)
EM_ROUNDED = _score("libra_em_rounded", _EM, contained, 3)
F1_ROUNDED = _score("libra_f1_rounded", _F1, word_f1, 3)
COUNT_ROUNDED = _score("libra_count_rounded", f"{_COUNT} that are right", right_numbers, 3)
