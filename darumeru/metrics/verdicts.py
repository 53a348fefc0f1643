"""What a judge said: verdicts read from its answers, what they are worth, and how far the judge can be trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.choice import chosen, no_choice
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.sample_mean import SampleMean
from darumeru.metrics.statistic import Statistic, mean_of_first

VERDICT = "verdict"
"""In the meta of a judged sample: what the judge's verdict on its answer is worth, None where it cannot be read."""
_WORDS = re.compile(r"\w+|[^\w\s]")
_SCORE = re.compile(r"(content|language|style)_([mM])\"?\s*:\s*\{[^{}]*?\"?\bscore\"?\s*:\s*(\d+)\s*[,}]")
# How far apart two languages may be without counting, in points of ten.
_NEAR = 2


def verdict_of(row: SampleRow) -> float | None:
    """What a judge's answer is worth by its labels (meta: labels, reading); None where it is no verdict."""
    labels: Mapping[str, float] = row.meta["labels"]
    reading = row.meta["reading"]
    if row.answer.probabilities is not None:
        return None if no_choice(row) and reading != "starts" else labels[chosen(row)]
    text = row.answer.text or ""
    if reading == "scores":
        return _by_scores(text)
    if reading == "starts":
        raw = row.raw.text or ""
        return next((value for label, value in labels.items() if raw.startswith(label)), None)
    return _by_word(text, labels)


def _by_word(text: str, labels: Mapping[str, float]) -> float | None:
    """The label that the text's first word is, marks around it apart; letters' case counts only where labels differ by
    it alone."""
    words = [word for word in _WORDS.findall(text) if word not in "*_`\"'«».,:;!()[]{}<>-—#"]
    folded = {label.casefold(): value for label, value in labels.items()}
    if not words:
        return None
    if len(folded) < len(labels):
        return labels.get(words[0])
    return folded.get(words[0].casefold())


def _by_scores(text: str) -> float | None:
    """Content decides where the languages are near each other or the contents equal (then language, then style), else
    the sum of both, then style. None where a content has no score."""
    found = {(name, which): int(score) for name, which, score in _SCORE.findall(text)}
    if ("content", "m") not in found or ("content", "M") not in found:
        return None
    content, language, style = (
        found.get((name, "m"), 0) - found.get((name, "M"), 0) for name in ("content", "language", "style")
    )
    apart = abs(language) > _NEAR and content != 0
    order = [content + language, style] if apart else [content] if content else [language, style]
    decided = next((one for one in order if one), 0)
    return 0.5 if not decided else float(decided > 0)


def unreadable(row: SampleRow) -> bool:
    """Whether a judge's answer is no verdict."""
    return verdict_of(row) is None


def _worth(row: SampleRow) -> float:
    return verdict_of(row) or 0.0


def _labels(row: SampleRow) -> float:
    """What the labels have of the whole vocabulary's probability; of a text, whether it is a verdict."""
    probabilities = row.answer.probabilities
    return float(not unreadable(row)) if probabilities is None else min(1.0, sum(probabilities.values()))


def _judged(row: SampleRow) -> float:
    return row.meta.get(VERDICT) or 0.0


def _unjudged(row: SampleRow) -> bool:
    return VERDICT in row.meta and row.meta[VERDICT] is None


class Judged(SampleMean):
    """Of a judged sample; one that waits for its judge has no number."""

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return super().values(row) if VERDICT in row.meta else {}


@dataclass(frozen=True)
class BothOrders:
    """A statistic of battles, whose two orders share a cluster. swapped (meta): in that order the second answer of the
    battle stands first."""

    name: str
    description: str
    measure: Measure

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {}

    def unparsed(self, row: SampleRow) -> bool:
        return unreadable(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        sums = [self._sums(_battles(group)) for group in clusters.members()]
        return Statistic(clusters.ids, np.array(sums, dtype=np.float64).reshape(-1, 2), mean_of_first)

    def most(self, row: SampleRow) -> float:
        return 1.0

    def _sums(self, battles: Sequence[Mapping[bool, float | None]]) -> tuple[float, float]:
        raise NotImplementedError


def _battles(rows: Sequence[SampleRow]) -> list[Mapping[bool, float | None]]:
    """Of each battle, swapped -> what the judge said of the answer that stood first."""
    found: dict[Any, dict[bool, float | None]] = {}
    for row in rows:
        found.setdefault(row.meta["battle"], {})[row.meta["swapped"]] = verdict_of(row)
    return list(found.values())


class OrderConsistency(BothOrders):
    """Share of battles in which both orders give the same answer, of those whose verdicts can be read."""

    def _sums(self, battles: Sequence[Mapping[bool, float | None]]) -> tuple[float, float]:
        said = [(one.get(False), one.get(True)) for one in battles]
        whole = [(first, second) for first, second in said if first is not None and second is not None]
        return float(sum(first == 1 - second for first, second in whole)), float(len(whole))


class PositionBias(BothOrders):
    """How much more often the first answer wins than the second, over both orders: 0 without bias, 1 if it always
    does."""

    def _sums(self, battles: Sequence[Mapping[bool, float | None]]) -> tuple[float, float]:
        said = [value for one in battles for value in one.values() if value is not None]
        return float(sum(2 * value - 1 for value in said)), float(len(said))


JUDGED = Judged(
    "judged", "what a judge model finds answers worth, by the task's rubric; a verdict that cannot be read is worth 0",
    _judged, _unjudged,
)  # fmt: skip
WORTH = SampleMean("judge_verdict", "what a judge model's verdicts are worth", _worth, unreadable)
LABELS = SampleMean(
    "label_probability", "probability that what a judge says next is one of its rubric's labels", _labels, unreadable
)
CONSISTENCY = OrderConsistency(
    "order_consistency", "share of battles on which a judge says the same in both orders of the answers", SHARE
)
BIAS = PositionBias(
    "position_bias",
    "how much more often a judge prefers the first answer than the second (0: no bias)",
    Measure("bias", low=-1, high=1),
)
