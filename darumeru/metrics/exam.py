"""The Unified State Exam in Russian (MERA USE): points of an answer and the grade of a whole variant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import FloatArray, Statistic, mean_of_first

MOST_POINTS = 34
_PARTIAL_CREDIT = "16"
_NO_ANSWER = "-1"
_NOT_LETTERS = re.compile(r"[\d\W]")


def text_points(target: str, answer: str) -> int:
    """1 when the answer's letters, lower-cased and run together, are one of the comma-separated right answers."""
    said = _letters(answer)
    return int(said != "" and said in target.split(","))


def matching_points(target: Sequence[str], said: Sequence[str]) -> int:
    """One point for each position that is right; none when the numbers of positions differ."""
    if len(target) != len(said):
        return 0
    return sum(right == part for right, part in zip(target, said, strict=True))


def choice_points(target: Sequence[str], said: Sequence[str]) -> int:
    """1 when both name the same set."""
    return int(set(target) == set(said))


def partial_points(target: Sequence[str], said: Sequence[str]) -> int:
    """Task 16: the right parts, less one for each part too many; an answer that is too short is padded."""
    padded = [*said, *[_NO_ANSWER] * (len(target) - len(said))]
    return max(0, len(set(target) & set(padded)) - len(padded) + len(target))


def points(row: SampleRow, strip: bool) -> int:
    """Points of one answer. row.target: right parts joined by commas. row.meta: id_task and type.

    strip: whether spaces around the answer's comma-separated parts are ignored.
    """
    answer = row.answer.text or ""
    if row.meta["type"] == "text":
        return text_points(row.target, answer)
    target = row.target.split(",")
    said = [part.strip() if strip else part for part in answer.split(",")]
    if row.meta["type"] == "matching":
        return matching_points(target, said)
    return partial_points(target, said) if row.meta["id_task"] == _PARTIAL_CREDIT else choice_points(target, said)


def _letters(answer: str) -> str:
    return _NOT_LETTERS.sub("", answer).lower()


def _grade(sums: FloatArray) -> FloatArray:
    return mean_of_first(sums) / MOST_POINTS


@dataclass(frozen=True)
class GradeNorm:
    """Mean over exam variants of points / 34. Clusters are the variants (row.meta["variant"]), which must be complete
    for the grade to mean anything. strip: see points()."""

    name: str
    description: str
    strip: bool
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        """The points of this answer, 0 to 4."""
        return {self.name: float(points(row, self.strip))}

    def most(self, row: SampleRow) -> float:
        """The points of a right answer."""
        found = row.meta.get("score", 1)
        return float(found) if isinstance(found, int | float) and found > 0 else 1.0

    def unparsed(self, row: SampleRow) -> bool:
        """No letter where words are asked for, no digit where numbers are."""
        answer = row.answer.text or ""
        if row.meta["type"] == "text":
            return not _letters(answer)
        return not any(letter.isdigit() for letter in answer)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        variants = by_cluster(rows, key=lambda row: str(row.meta["variant"]))
        earned = variants.sums(np.array([[points(row, self.strip)] for row in variants.rows]).reshape(-1, 1))
        return Statistic(variants.ids, np.concatenate([earned, np.ones_like(earned)], axis=1), _grade)


GRADE_NORM = GradeNorm("grade_norm", "mean over exam variants of points / 34 (MERA USE)", strip=True)
GRADE_NORM_2024 = GradeNorm(
    "grade_norm_2024",
    "grade_norm with the spaces around an answer's parts counted as errors, as before 2024-06-09",
    strip=False,
)
