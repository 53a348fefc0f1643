"""Summaries and translations against a reference: ROUGE over Russian normal forms."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from darumeru.core.row import SampleRow
from darumeru.metrics.sample_mean import SampleMean

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


@lru_cache(maxsize=1)
def _morphology() -> Any:
    from pymorphy3 import MorphAnalyzer

    return MorphAnalyzer()


@lru_cache(maxsize=200_000)
def normal_form(word: str) -> str:
    """The dictionary form of a lower-case Russian word in its most probable reading; other words as they are."""
    form: str = _morphology().parse(word)[0].normal_form
    return form


class NormalForms:
    """The tokenizer that RougeScorer is given: lower case, ASCII punctuation as spaces, words, their normal forms."""

    def tokenize(self, text: str) -> list[str]:
        return [normal_form(word) for word in _PUNCTUATION.sub(" ", text.lower()).split()]


@lru_cache(maxsize=8)
def _scorer(kinds: tuple[str, ...]) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(kinds), tokenizer=NormalForms())


@lru_cache(maxsize=4096)
def rouge(reference: str, answer: str, kinds: tuple[str, ...]) -> tuple[tuple[float, float, float], ...]:
    """(precision, recall, F1) of each kind ("rouge1", "rouge2", "rougeL") of an answer against the reference."""
    scores = _scorer(kinds).score(reference, answer)
    return tuple((float(one.precision), float(one.recall), float(one.fmeasure)) for one in map(scores.get, kinds))


def rouge12_recall(reference: str, answer: str) -> float:
    """Mean of the recalls of ROUGE-1 and ROUGE-2."""
    one, two = rouge(reference, answer, ("rouge1", "rouge2"))
    return (one[1] + two[1]) / 2


def rouge12_f1(reference: str, answer: str) -> float:
    """Mean of the F1 of ROUGE-1 and ROUGE-2."""
    one, two = rouge(reference, answer, ("rouge1", "rouge2"))
    return (one[2] + two[2]) / 2


def rouge_l_f1(reference: str, answer: str) -> float:
    """F1 of ROUGE-L."""
    return rouge(reference, answer, ("rougeL",))[0][2]


def of_answer(score: Callable[[str, str], float], row: SampleRow) -> float:
    """The score of the answer against row.target, the best one where it is a list; one without words gets 0."""
    targets = [row.target] if isinstance(row.target, str) else row.target
    return max(score(target, row.answer.text or "") for target in targets)


def wordless(row: SampleRow) -> bool:
    """An answer without words."""
    return not _PUNCTUATION.sub(" ", row.answer.text or "").split()


ROUGE12_RECALL = SampleMean(
    "rouge12_recall",
    "mean of ROUGE-1 and ROUGE-2 recall over normal forms (the text of the paper)",
    partial(of_answer, rouge12_recall),
    wordless,
)
ROUGE12_F1 = SampleMean(
    "rouge12_f1",
    "mean of ROUGE-1 and ROUGE-2 F1 over normal forms (the program behind the paper's tables)",
    partial(of_answer, rouge12_f1),
    wordless,
)
ROUGEL_F1 = SampleMean(
    "rougeL_f1",
    "ROUGE-L F1 over normal forms (the authors' program since 2025-07-19)",
    partial(of_answer, rouge_l_f1),
    wordless,
)
