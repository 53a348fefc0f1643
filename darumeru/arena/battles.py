"""Battles as questions to a judge, both orders of each, and what the judge made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darumeru.arena.battle import A_WINS, B_WINS, TIE, Battle, outcome_of
from darumeru.arena.contestants import Contestant
from darumeru.arena.pairs import Pairing
from darumeru.arena.style import style_counts
from darumeru.core.files import content_hash
from darumeru.judging.questions import judge_sample, judge_spec, origin
from darumeru.metrics.verdicts import verdict_of
from darumeru.runs.join import joined_rows
from darumeru.runs.plan import Planner
from darumeru.runs.planned import PlannedTask
from darumeru.runs.stored_plan import read_plan
from darumeru.tasks.rubrics import Rubric
from darumeru.tasks.sample import Sample

PREFIX = "arena:"
METRICS = ("order_consistency", "position_bias", "label_probability")


class BattleSource:
    """The questions of battles (a darumeru.runs.plan.TaskSource)."""

    def __init__(
        self,
        task: str,
        contestants: Sequence[Contestant],
        pairings: Sequence[Pairing],
        rubric: Rubric,
        probability: bool,
    ) -> None:
        self.name = PREFIX + task
        self.answers = {one.name: one.answers for one in contestants}
        self.pairings = pairings
        self.rubric = rubric
        self.probability = probability

    def plan(self, planner: Planner) -> list[PlannedTask]:
        """One task: every battle in both orders."""
        spec = judge_spec(self.name, self.rubric, self.probability, METRICS)
        samples = [self._sample(one, swapped) for one in self.pairings for swapped in (False, True)]
        answers = content_hash({name: dict(said) for name, said in self.answers.items()})
        return [planner.task(spec, samples, origin([answers]))]

    def _sample(self, one: Pairing, swapped: bool) -> Sample:
        first, second = (self.answers[name][one.question] for name in (one.a, one.b))
        values = {"question": one.question, "first": first, "second": second}
        if swapped:
            values |= {"first": second, "second": first}
        meta = {"battle": one.name, "swapped": swapped, "a": one.a, "b": one.b}
        return judge_sample(self.name, self.rubric, f"{one.name}{' (swapped)' * swapped}", one.cluster, values, meta)


@dataclass(frozen=True)
class Fought:
    """battles: those of which both orders are judged. asked: battles that were to be judged. unread: of the 2 * len
    verdicts, those that cannot be read; each counts as a tie of its order."""

    battles: tuple[Battle, ...]
    asked: int
    unread: int


def fought(
    folder: Path, pairings: Sequence[Pairing], contestants: Sequence[Contestant], published_style: bool
) -> Fought:
    """The battles of an arena's folder with their outcomes."""
    (stored,) = read_plan(folder)
    said: dict[str, dict[bool, float | None]] = {}
    for row in joined_rows(folder, stored):
        said.setdefault(row.meta["battle"], {})[row.meta["swapped"]] = verdict_of(row)
    answers = {one.name: one.answers for one in contestants}
    styles: dict[str, tuple[int, ...]] = {}
    battles = []
    unread = 0
    for one in pairings:
        orders = said.get(one.name, {})
        if len(orders) < 2:
            continue
        unread += sum(value is None for value in orders.values())
        outcome = outcome_of([_outcome(value, swapped) for swapped, value in orders.items()])
        texts = (answers[name][one.question] for name in (one.a, one.b))
        a, b = (_style(text, published_style, styles) for text in texts)
        battles.append(Battle(one.a, one.b, outcome, one.cluster, a, b))
    return Fought(tuple(battles), len(pairings), unread)


def _outcome(value: float | None, swapped: bool) -> int:
    if value is None or value == 0.5:
        return TIE
    return A_WINS if (value == 1) != swapped else B_WINS


def _style(text: str, published: bool, known: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    if text not in known:
        known[text] = style_counts(text, published)
    return known[text]


def shares(battles: Sequence[Battle]) -> Mapping[str, tuple[int, int, int]]:
    """Model -> battles won, lost and tied."""
    found: dict[str, list[int]] = {}
    for one in battles:
        for name, won in ((one.a, A_WINS), (one.b, B_WINS)):
            place = 2 if one.outcome == TIE else 0 if one.outcome == won else 1
            found.setdefault(name, [0, 0, 0])[place] += 1
    return {name: (won, lost, tied) for name, (won, lost, tied) in found.items()}
