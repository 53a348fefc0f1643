"""Which battles an arena has, and which of them tell most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from darumeru.arena.contestants import Contestant
from darumeru.arena.ratings import SCALE, Fitted, RatingOptions, expected_information
from darumeru.core.files import content_hash
from darumeru.metrics.statistic import FloatArray

NORMAL_95 = 1.959964
FIRST = 2
"""Battles of each pair before active pairing chooses."""
ROUNDS = 16
"""About as many at most."""


@dataclass(frozen=True)
class Pairing:
    """One battle that may be asked: models a and b on a question."""

    a: str
    b: str
    question: str

    @property
    def cluster(self) -> str:
        """The question's short name."""
        return content_hash(self.question)[:12]

    @property
    def name(self) -> str:
        """The battle's, in whatever order it is asked."""
        return f"{self.cluster}: {self.a} / {self.b}"


def all_pairings(contestants: Sequence[Contestant], anchor: str | None, seed: int) -> dict[tuple[str, str], list[str]]:
    """Pair of names -> the questions that both answered, all pairs in one order drawn with `seed`. anchor: only pairs
    with this model."""
    questions = list(dict.fromkeys(question for one in contestants for question in one.answers))
    order = np.random.default_rng(seed).permutation(len(questions))
    drawn = [questions[place] for place in order]
    found = {}
    for one, two in combinations(contestants, 2):
        if anchor is None or anchor in (one.name, two.name):
            shared = [question for question in drawn if question in one.answers and question in two.answers]
            if shared:
                found[one.name, two.name] = shared
    return found


class ActivePairs:
    """Chooses battles round by round, a pure function of the verdicts so far: those after which the ratings are surest
    (D-optimal, Fisher information of the model that rates)."""

    def __init__(self, pairs: Mapping[tuple[str, str], Sequence[str]], options: RatingOptions, precision: float):
        self.pairs = pairs
        self.options = options
        self.precision = precision
        self.asked = {pair: 0 for pair in pairs}

    @property
    def total(self) -> int:
        """Battles of the whole arena."""
        return sum(map(len, self.pairs.values()))

    def first(self) -> list[Pairing]:
        """The same few questions of every pair."""
        return [one for pair in self.pairs for one in self._take(pair, FIRST)]

    def next(self, fitted: Fitted) -> list[Pairing]:
        """A further round of battles; none when all is settled or asked."""
        if settled(fitted, self.precision):
            return []
        covariance: FloatArray = np.asarray(np.linalg.inv(fitted.information), dtype=np.float64)
        chosen: list[Pairing] = []
        while len(chosen) < max(2 * len(self.pairs), self.total // ROUNDS):
            gains = {pair: self._gain(pair, fitted, covariance) for pair in self.pairs if self._left(pair)}
            if not gains:
                break
            pair = max(gains, key=lambda one: gains[one])
            chosen += self._take(pair, 1)
            covariance = self._after(pair, fitted, covariance)
        return chosen

    def _left(self, pair: tuple[str, str]) -> int:
        return len(self.pairs[pair]) - self.asked[pair]

    def _take(self, pair: tuple[str, str], most: int) -> Iterator[Pairing]:
        for _ in range(min(most, self._left(pair))):
            yield Pairing(*pair, self.pairs[pair][self.asked[pair]])
            self.asked[pair] += 1

    def _told(self, pair: tuple[str, str], fitted: Fitted, covariance: FloatArray) -> tuple[FloatArray, float, float]:
        """Covariances with the difference of a pair, its variance, and what a battle is expected to tell of it."""
        a, b = (fitted.models.index(name) for name in pair)
        column = covariance[:, a] - covariance[:, b]
        margin = np.array(math.log(10.0) * (fitted.theta[a] - fitted.theta[b]))
        told = float(expected_information(margin, fitted.tau, self.options.ties))
        return column, float(column[a] - column[b]), told

    def _gain(self, pair: tuple[str, str], fitted: Fitted, covariance: FloatArray) -> float:
        _, variance, told = self._told(pair, fitted, covariance)
        return math.log1p(told * variance)

    def _after(self, pair: tuple[str, str], fitted: Fitted, covariance: FloatArray) -> FloatArray:
        """The covariance after one more battle of a pair (Sherman and Morrison)."""
        column, variance, told = self._told(pair, fitted, covariance)
        found: FloatArray = covariance - np.outer(column, column) * (told / (1 + told * variance))
        return found


def settled(fitted: Fitted, precision: float) -> bool:
    """Whether neighbours in rank are told apart (95 %), or the difference is known to `precision` points."""
    covariance = np.linalg.inv(fitted.information)
    order = np.argsort(-fitted.theta)
    for a, b in pairwise(order):
        width = NORMAL_95 * SCALE * math.sqrt(max(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b], 0.0))
        if width > precision and SCALE * (fitted.theta[a] - fitted.theta[b]) < width:
            return False
    return True
