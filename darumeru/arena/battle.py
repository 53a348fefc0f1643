"""One battle: two models' answers to one question, and which of them won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

A_WINS, B_WINS, TIE = 0, 1, 2


@dataclass(frozen=True)
class Battle:
    """a, b: names of the models. outcome: A_WINS, B_WINS or TIE. question: battles of one question are resampled
    together. style_a, style_b: darumeru.arena.style.style_counts of the answers."""

    a: str
    b: str
    outcome: int
    question: str
    style_a: Sequence[int] = ()
    style_b: Sequence[int] = ()


def outcome_of(orders: Sequence[int]) -> int:
    """The outcome of a battle from those of its two orders: what both say, else a tie."""
    return orders[0] if len(set(orders)) == 1 else TIE
