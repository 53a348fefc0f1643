"""Scores of the answers of own_sample.py, computed without Darumeru: scikit-learn, difflib, rouge_score and plain sums
after the specification of the benchmark."""

from __future__ import annotations

import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache
from statistics import fmean
from typing import Any

from tests.golden.own_sample import TASKS, Said, said, tokens

Questions = Sequence[Said]

# The categories of the bundled subjects (Hendrycks et al., arXiv:2009.03300).
CATEGORIES = {
    "STEM": {"elementary_mathematics", "high_school_chemistry", "high_school_physics"},
    "other": {"clinical_knowledge", "marketing", "nutrition"},
    "humanities": {"high_school_world_history", "philosophy", "world_religions"},
    "social sciences": {"high_school_geography", "high_school_macroeconomics", "high_school_psychology"},
}


def scores() -> dict[str, Any]:
    """{"tasks": {task: {"score", "metrics"}}, "groups", "micro_avg"} of the profile darumeru."""
    tasks = {}
    for task in TASKS:
        names, counted = METRICS[task]
        values = {name: SCORES[name](said(task)) for name in names}
        tasks[task] = {"score": fmean(values[name] for name in counted), "metrics": values}
    groups: dict[str, list[float]] = defaultdict(list)
    for task, (group, _, _) in TASKS.items():
        groups[group].append(tasks[task]["score"])
    return {
        "tasks": tasks,
        "groups": {group: fmean(found) for group, found in groups.items()},
        "micro_avg": fmean(one["score"] for one in tasks.values()),
    }


def accuracy(questions: Questions) -> float:
    return fmean(one.label == one.target for one in questions)


def accuracy_both_orders(questions: Questions) -> float:
    pairs = zip(questions[::2], questions[1::2], strict=True)
    return fmean(one.label == one.target and two.label == two.target for one, two in pairs)


def accuracy_by_category(questions: Questions) -> float:
    hits: dict[str, list[bool]] = defaultdict(list)
    for one in questions:
        hits[one.meta["subject"]].append(one.label == one.target)
    return fmean(fmean(fmean(hits[subject]) for subject in subjects) for subjects in CATEGORIES.values())


def accuracy_startswith(questions: Questions) -> float:
    return fmean(one.target.startswith(one.label) for one in questions)


def f1_macro(questions: Questions) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score([one.target for one in questions], [one.label for one in questions], average="macro"))


def mcc(questions: Questions) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef([one.target for one in questions], [one.label for one in questions]))


def _words(text: str) -> list[str]:
    """SQuAD 1.1's normalization."""
    bare = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def exact_match(questions: Questions) -> float:
    return fmean(any(_words(one.text or "") == _words(right) for right in one.meta["targets"]) for one in questions)


def word_f1(questions: Questions) -> float:
    def of(right: list[str], found: list[str]) -> float:
        same = sum((Counter(right) & Counter(found)).values())
        return 2 * (same / len(found)) * (same / len(right)) / (same / len(found) + same / len(right)) if same else 0.0

    return fmean(max(of(_words(right), _words(one.text or "")) for right in one.meta["targets"]) for one in questions)


def _points(one: Said) -> int:
    answer, right = one.text or "", one.target.split(",")
    if one.meta["type"] == "text":
        return int(re.sub(r"[\d+\W+]", "", answer).lower() in right)
    found = [part.strip() for part in answer.split(",")]
    if one.meta["type"] == "matching":
        return sum(map(str.__eq__, right, found)) if len(right) == len(found) else 0
    found += ["-1"] * (len(right) - len(found))
    if one.meta["id_task"] == "16":
        return max(0, len(set(right) & set(found)) - len(found) + len(right))
    return int(set(right) == set(found) and len(set(right)) == len(found))


def grade(questions: Questions) -> float:
    variants: dict[int, int] = defaultdict(int)
    for one in questions:
        variants[one.meta["variant"]] += _points(one)
    return fmean(variants.values()) / 34


class NormalForms:
    """Tokenizer of ROUGE: lower case, ASCII punctuation as space, pymorphy3's first normal form."""

    def __init__(self) -> None:
        from pymorphy3 import MorphAnalyzer

        self.morphology = MorphAnalyzer()

    def tokenize(self, text: str) -> list[str]:
        spaced = text.lower().translate({ord(mark): " " for mark in string.punctuation})
        return [self.morphology.parse(word)[0].normal_form for word in spaced.split()]


def _rouge(questions: Questions) -> list[dict[str, Any]]:
    return [_scorer().score(one.target, one.text or "") for one in questions]


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=NormalForms())


def rouge12_recall(questions: Questions) -> float:
    return fmean((one["rouge1"].recall + one["rouge2"].recall) / 2 for one in _rouge(questions))


def rouge12_f1(questions: Questions) -> float:
    return fmean((one["rouge1"].fmeasure + one["rouge2"].fmeasure) / 2 for one in _rouge(questions))


def rouge_l_f1(questions: Questions) -> float:
    return fmean(one["rougeL"].fmeasure for one in _rouge(questions))


def r_precision(questions: Questions) -> float:
    """Sentences by their mean log-probability over as many tokens as the document's shortest candidate has."""
    documents: dict[int, list[Said]] = defaultdict(list)
    for one in questions:
        documents[one.record].append(one)
    found = []
    for sentences in documents.values():
        length = min(len(one.logprobs or ()) for one in sentences)
        best = sorted(sentences, key=lambda one: -sum((one.logprobs or ())[:length]))
        right = sum(one.target == "1" for one in sentences)
        found.append(sum(one.target == "1" for one in best[:right]) / right)
    return fmean(found)


def length_ratio(questions: Questions) -> float:
    """The reference counts with the space that stands before it, and 128 tokens at most."""
    ratios = []
    for one in questions:
        right, found = min(len(tokens(" " + one.target)), 128), len(one.tokens)
        ratios.append(min(found / right, right / found) if found else 0.0)
    return fmean(ratios)


def exact_copy_rate(questions: Questions) -> float:
    def ratio(one: Said) -> float:
        right, found = one.target.strip(), (one.text or "").strip()
        blocks = SequenceMatcher(None, right, found, autojunk=False).get_matching_blocks()
        return sum(block.size for block in blocks) / len(right)

    return fmean(ratio(one) >= 0.99 for one in questions)


SCORES: dict[str, Callable[[Questions], float]] = {
    "acc": accuracy,
    "acc_both_orders": accuracy_both_orders,
    "acc_by_category": accuracy_by_category,
    "acc_startswith": accuracy_startswith,
    "f1_macro": f1_macro,
    "mcc": mcc,
    "em": exact_match,
    "f1": word_f1,
    "grade_norm": grade,
    "rouge12_recall": rouge12_recall,
    "rouge12_f1": rouge12_f1,
    "rougeL_f1": rouge_l_f1,
    "r_precision": r_precision,
    "length_ratio": length_ratio,
    "exact_copy_rate": exact_copy_rate,
}
# Task -> its metrics, and those whose mean is its score.
METRICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "darumeru/rummlu": (("acc",), ("acc",)),
    "nlpcoreteam/rummlu": (("acc_by_category", "acc"), ("acc_by_category",)),
    "nlpcoreteam/enmmlu": (("acc_by_category", "acc"), ("acc_by_category",)),
    "darumeru/multiq": (("f1", "em"), ("f1", "em")),
    "darumeru/parus": (("acc_both_orders", "acc"), ("acc_both_orders",)),
    "darumeru/rcb": (("acc", "f1_macro"), ("acc", "f1_macro")),
    "darumeru/rwsd": (("acc_startswith",), ("acc_startswith",)),
    "darumeru/use": (("grade_norm",), ("grade_norm",)),
    "darumeru/ruopenbookqa": (("acc", "f1_macro"), ("acc", "f1_macro")),
    "darumeru/ruworldtree": (("acc", "f1_macro"), ("acc", "f1_macro")),
    "russiannlp/rucola_custom": (("acc", "mcc"), ("acc", "mcc")),
    "daru/treewayabstractive": (("rouge12_recall", "rouge12_f1", "rougeL_f1"), ("rouge12_recall",)),
    "daru/treewayextractive": (("r_precision",), ("r_precision",)),
    "darumeru/cp_sent_en": (("length_ratio",), ("length_ratio",)),
    "darumeru/cp_para_en": (("exact_copy_rate",), ("exact_copy_rate",)),
    "darumeru/cp_sent_ru": (("length_ratio",), ("length_ratio",)),
    "darumeru/cp_para_ru": (("exact_copy_rate",), ("exact_copy_rate",)),
}
