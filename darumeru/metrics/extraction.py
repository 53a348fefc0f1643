"""Extractive summaries: are the sentences that a model finds most likely the ones of the summary?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import by_cluster
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import Statistic, mean_of_first


def sentence_scores(rows: Sequence[SampleRow]) -> list[float]:
    """Mean log-probability of the first tokens of each candidate of a document, as many as its shortest candidate has;
    a score that is not a number counts as minus infinity."""
    length = min(len(row.answer.logprobs or ()) for row in rows)
    means = [float(np.mean((row.answer.logprobs or ())[:length])) if length else 0.0 for row in rows]
    return [-np.inf if np.isnan(mean) else mean for mean in means]


def document_r_precision(rows: Sequence[SampleRow]) -> float:
    """Share of summary sentences among the R best scored, R = their number; of equal scores the earlier one wins."""
    ordered = sorted(rows, key=lambda row: int(row.meta["sentence"]))
    target = np.array([int(row.target) for row in ordered])
    positives = int(target.sum())
    best = np.argsort(-np.array(sentence_scores(ordered)), kind="stable")[:positives]
    return float(target[best].sum() / positives)


def _countable(rows: Sequence[SampleRow]) -> bool:
    answered = len(rows) == int(rows[0].meta["sentences"]) and all(row.answer.logprobs for row in rows)
    return answered and any(int(row.target) for row in rows)


@dataclass(frozen=True)
class RPrecision:
    """Mean over documents of R-precision; clusters are documents.

    row: one sentence; target 1 when it belongs to the summary; answer.logprobs of all tokens of the assistant message;
    meta: "sentence" (place in the document), "sentences" (how many there are). A document without summary sentences,
    or of which a sentence was not answered, is left out. chance: mean over documents of R / sentences.
    """

    name: str = "r_precision"
    description: str = "mean over documents of R-precision of the most likely sentences (daru_treeway, extractive)"
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        """The mean log-probability over all tokens of this candidate (a single sentence has no R-precision)."""
        logprobs = row.answer.logprobs or ()
        return {"mean_logprob": float(np.mean(logprobs))} if logprobs else {}

    def unparsed(self, row: SampleRow) -> bool:
        logprobs = row.answer.logprobs or ()
        return not logprobs or any(np.isnan(logprobs))

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        documents = [
            (name, group) for name, group in zip(clusters.ids, clusters.members(), strict=True) if _countable(group)
        ]
        scores = np.array([document_r_precision(group) for _, group in documents], dtype=np.float64)
        guesses = [sum(int(row.target) for row in group) / len(group) for _, group in documents]
        return Statistic(
            tuple(name for name, _ in documents),
            np.stack([scores, np.ones_like(scores)], axis=1),
            mean_of_first,
            chance=float(np.mean(guesses)) if guesses else 0.0,
        )


R_PRECISION = RPrecision()
