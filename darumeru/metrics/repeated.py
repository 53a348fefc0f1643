"""Several drawn answers of one question: the best of k of them, and the one that most of them give."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import mean_over_rows
from darumeru.metrics.measure import Measure
from darumeru.metrics.protocol import Metric
from darumeru.metrics.statistic import Statistic

# Of a row's meta: the sample that it is one draw of, and the number of the draw.
DRAWN_FOR, DRAW = "drawn_for", "draw"
_NAME = re.compile(r"(?:best@(?P<k>[1-9][0-9]{0,3})|(?P<majority>majority)):(?P<inner>.+)")


@dataclass(frozen=True)
class Repeated:
    """A metric over the draws of each question. inner: the metric of a single answer. value: a question's number from
    its rows. The score is the mean over questions; clusters stay together."""

    name: str
    description: str
    inner: Metric
    value: Callable[[Sequence[SampleRow], Callable[[SampleRow], float]], float]

    @property
    def measure(self) -> Measure:
        return self.inner.measure

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {}

    def unparsed(self, row: SampleRow) -> bool:
        return self.inner.unparsed(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        questions: dict[str, list[SampleRow]] = defaultdict(list)
        for row in rows:
            if self.inner.name in self.inner.values(row):
                questions[row.meta.get(DRAWN_FOR, row.id)].append(row)
        having = {name: sorted(drawn, key=lambda row: row.meta.get(DRAW, 0)) for name, drawn in questions.items()}
        worth = {name: self.value(drawn, self._of_one) for name, drawn in having.items()}
        one_each = [replace(drawn[0], id=name) for name, drawn in having.items()]
        return mean_over_rows(one_each, lambda row: worth[row.id])

    def most(self, row: SampleRow) -> float:
        return self.inner.most(row)

    def _of_one(self, row: SampleRow) -> float:
        return float(self.inner.values(row)[self.inner.name])


def best_of(k: int, values: Sequence[float], lower_is_better: bool = False) -> float:
    """Mean of the best of k over all ways to take k of the n values, without drawing them; all of them where there are
    fewer than k. For 0 and 1 this is pass@k = 1 - C(n - c, k) / C(n, k) (Chen et al., arXiv:2107.03374, equation 1)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if lower_is_better:
        ordered = ordered[::-1]
    n = len(ordered)
    k = min(k, n)
    # The i-th from below is the best of C(i, k - 1) ways to take k.
    ways = np.array([comb(i, k - 1) for i in range(n)], dtype=np.float64)
    return float(ordered @ ways / comb(n, k))


def _majority(rows: Sequence[SampleRow], of_one: Callable[[SampleRow], float]) -> float:
    """The value of the answer that most draws give (after annotation, without space around it); of several as frequent
    ones the mean."""
    said = [(row.answer.text or "").strip() for row in rows]
    counts = Counter(said)
    most = max(counts.values())
    first = {text: row for text, row in zip(reversed(said), reversed(rows), strict=True) if counts[text] == most}
    return float(np.mean([of_one(row) for row in first.values()]))


def repeated_metric(name: str, find: Callable[[str], Metric]) -> Metric | None:
    """The metric named "best@K:METRIC" or "majority:METRIC", None for any other name. find: a metric by name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    inner = find(found["inner"])
    if found["majority"]:
        about = f"{inner.name} of the most frequent answer among the draws of a question"
        return Repeated(name, about, inner, _majority)
    k = int(found["k"])
    lower = inner.measure.direction == "lower"

    def best(rows: Sequence[SampleRow], of_one: Callable[[SampleRow], float]) -> float:
        return best_of(k, [of_one(row) for row in rows], lower)

    return Repeated(
        name, f"{inner.name} of the best of {k} draws of a question (pass@{k} for right and wrong)", inner, best
    )


def repeated_names(score: Sequence[Metric], rows: Sequence[SampleRow]) -> list[str]:
    """What is reported of several draws beside the mean over all of them: best of all draws, and majority, of metrics
    that have a number for each answer."""
    draws: Counter[Any] = Counter(row.meta.get(DRAWN_FOR) for row in rows)
    draws.pop(None, None)
    most = max(draws.values(), default=1)
    if most < 2:
        return []
    names = [one.name for one in score if any(one.name in one.values(row) for row in rows)]
    return [kind + name for name in names for kind in (f"best@{most}:", "majority:")]
