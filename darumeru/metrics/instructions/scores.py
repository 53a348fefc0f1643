"""IFEval's scores: prompts of which every instruction is followed, and instructions that are followed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from darumeru.core.row import SampleRow
from darumeru.metrics.clusters import Clusters, by_cluster
from darumeru.metrics.instructions.checks import followed
from darumeru.metrics.instructions.rule import Rule
from darumeru.metrics.measure import SHARE, Measure
from darumeru.metrics.statistic import Statistic, mean_of_first


def rules(target: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The instructions of a sample's target (formats/instructions.py)."""
    language, mended = str(target["language"]), bool(target["mended"])
    return tuple(Rule(str(one["id"]), language, one["kwargs"], mended) for one in target["instructions"])


def shares(row: SampleRow) -> tuple[tuple[str, float], ...]:
    """(instruction, 1 when it is followed and 0 when it is not) for each instruction of the record."""
    return _shares(row.answer.text or "", json.dumps(row.target, sort_keys=True))


@lru_cache(maxsize=4096)
def _shares(answer: str, target: str) -> tuple[tuple[str, float], ...]:
    return tuple((rule.id, float(followed(rule, answer))) for rule in rules(json.loads(target)))


def _mean_shares(rows: Sequence[SampleRow], category: str = "") -> dict[tuple[int, str], float]:
    """(place, id) of each instruction of one record -> share of its answers that follow it."""
    answers = [shares(row) for row in rows]
    return {
        (place, name): sum(answer[place][1] for answer in answers) / len(answers)
        for place, (name, _) in enumerate(answers[0])
        if not category or name.partition(":")[0] == category
    }


def _prompt(rows: Sequence[SampleRow]) -> float:
    return float(all(share > 0.5 for share in _mean_shares(rows).values()))


def _blank(row: SampleRow) -> bool:
    return not (row.answer.text or "").strip()


@dataclass(frozen=True)
class FollowedPrompts:
    """A prompt is followed when more than half of its answers follow each instruction."""

    name: str = "followed_prompts"
    description: str = "share of prompts of which every instruction is followed (IFEval, strict)"
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        return {self.name: _prompt([row])}

    def unparsed(self, row: SampleRow) -> bool:
        return _blank(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        hits = np.array([_prompt(group) for group in clusters.members()], dtype=np.float64)
        return Statistic(clusters.ids, np.stack([hits, np.ones_like(hits)], axis=1), mean_of_first, binary=hits)

    def most(self, row: SampleRow) -> float:
        return 1.0


@dataclass(frozen=True)
class InstructionShare:
    """The share of instructions that are followed, of all or of one category (the part of an id before the colon). A
    sample's values are its own share and, for all, that of each of its instruction ids."""

    name: str
    description: str
    category: str = ""
    measure: Measure = SHARE

    def values(self, row: SampleRow) -> Mapping[str, float]:
        found = _mean_shares([row], self.category)
        if not found:
            return {}
        by_id: dict[str, list[float]] = {}
        for (_, name), share in found.items():
            by_id.setdefault(name, []).append(share)
        means = {} if self.category else {name: float(np.mean(each)) for name, each in by_id.items()}
        return {self.name: float(np.mean(list(found.values()))), **means}

    def unparsed(self, row: SampleRow) -> bool:
        return _blank(row)

    def statistic(self, rows: Sequence[SampleRow]) -> Statistic:
        clusters = by_cluster(rows)
        found = [(name, _mean_shares(each, self.category)) for name, each in _groups(clusters)]
        having = [(name, tuple(each.values())) for name, each in found if each]
        values = np.array([[sum(each), len(each)] for _, each in having], dtype=np.float64).reshape(-1, 2)
        return Statistic(tuple(name for name, _ in having), values, mean_of_first)

    def most(self, row: SampleRow) -> float:
        return 1.0


def _groups(clusters: Clusters) -> Iterator[tuple[str, list[SampleRow]]]:
    return zip(clusters.ids, clusters.members(), strict=True)


def _category(category: str, what: str) -> InstructionShare:
    return InstructionShare(f"followed_{category}", f"share of instructions followed: {what} (IFEval)", category)


PROMPT = FollowedPrompts()
INSTRUCTION = InstructionShare("followed_instructions", "share of instructions that are followed (IFEval, strict)")
CASE = _category("change_case", "capital and small letters")
COMBINATION = _category("combination", "two answers, the request repeated")
CONTENT = _category("detectable_content", "placeholders, postscripts")
FORMAT = _category("detectable_format", "lists, sections, titles, JSON")
KEYWORDS = _category("keywords", "words and letters")
LANGUAGE = _category("language", "language of the answer")
LENGTH = _category("length_constraints", "words, sentences, paragraphs")
PUNCTUATION = _category("punctuation", "no commas")
STARTEND = _category("startend", "first and last words")
