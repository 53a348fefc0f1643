"""What kind of number a metric gives: how it is written, which end is better, and between which bounds it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_SCORES = ("score", "share", "correlation", "ratio")


@dataclass(frozen=True)
class Measure:
    """kind: "share" (of samples, words, points), "correlation", "ratio", "score" (a mean of such, or one that does not
    say more), "likelihood", "bits_per_byte", "perplexity", "tokens", "count" or a word of one's own; only numbers of
    one family are averaged and drawn on one scale. digits: after the point, where it is shown. low, high: bounds,
    None where there is none."""

    kind: str = "score"
    direction: Literal["higher", "lower"] = "higher"
    digits: int = 3
    low: float | None = None
    high: float | None = None

    @property
    def family(self) -> str:
        """Equal for numbers that a mean may mix: all the kinds of scores of which higher is better, else the kind."""
        return "score" if self.kind in _SCORES and self.direction == "higher" else f"{self.kind}, {self.direction}"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is: sign * value is to be as high as it can."""
        return 1 if self.direction == "higher" else -1

    def holds(self, value: float) -> bool:
        """Whether the bounds allow the value; not for what is no number."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


SHARE = Measure("share", low=0, high=1)
CORRELATION = Measure("correlation", low=-1, high=1)
RATIO = Measure("ratio", low=0)
SCORE = Measure("score", low=-1, high=1)
"""Means of shares and correlations."""


def combined(measures: Sequence[Measure]) -> Measure:
    """The measure of a mean over numbers of one family."""
    if len(set(measures)) == 1:
        return measures[0]
    if not measures:
        return SCORE
    lows, highs = [one.low for one in measures], [one.high for one in measures]
    return Measure(
        "score" if measures[0].family == "score" else measures[0].kind,
        measures[0].direction,
        max(one.digits for one in measures),
        None if None in lows else min(low for low in lows if low is not None),
        None if None in highs else max(high for high in highs if high is not None),
    )
