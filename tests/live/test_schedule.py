"""When evaluations come, by a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darumeru.training.schedule import Clock, Schedule


@settings(max_examples=300, deadline=None)
@given(
    share=st.floats(0.01, 0.5),
    step=st.floats(0.01, 30),
    lengths=st.lists(st.floats(0.01, 2000), min_size=1, max_size=60),
    starting=st.floats(0, 100),
    at_start=st.booleans(),
    at_end=st.booleans(),
)
def test_evaluations_keep_to_their_share_however_long_they_are(
    share: float, step: float, lengths: list[float], starting: float, at_start: bool, at_end: bool
) -> None:
    """After each evaluation that `share` asked for, and after the one at the end, all have taken their share at most,
    but for what they took longer than any before. Nothing is known before the first."""
    clock, schedule = Clock(), Schedule(share=share, at_start=at_start, at_end=at_end)
    coming = iter(lengths * 400)

    def surprise(known: float) -> float:
        """Take one; seconds by which it was longer than the longest known."""
        length, first = next(coming), not clock.evaluating
        clock.evaluated(length + first * starting, first * starting)
        return max(0.0, length - known)

    if at_start:
        surprise(0.0)
    unforeseen: float | None = None  # of the last evaluation that share asked for
    known = 0.0
    for number in range(1, 400):
        clock.training += step
        last = number == 399
        if not schedule.due(number, saving=False, last=last, clock=clock):
            continue
        if last and at_end:
            total = None if unforeseen is None else unforeseen + surprise(known)
        else:
            known = clock.longest
            total = unforeseen = surprise(known) if known else surprise(known) and None
        if total is not None:
            foreseen = clock.evaluating - total
            assert foreseen <= share * (clock.training + foreseen) + 1e-6


def test_a_share_is_used_up() -> None:
    """Evaluations of 5 s in steps of 1 s at 10 %: one every 45 s of training."""
    clock, schedule = Clock(), Schedule(share=0.1)
    points = []
    for step in range(1, 2001):
        clock.training += 1.0
        if schedule.due(step, saving=False, last=step == 2000, clock=clock):
            clock.evaluated(5.0)
            points.append(step)
    assert 0.095 < clock.share <= 0.1
    assert len(points) == pytest.approx(2000 / 45, abs=2)


def test_the_start_of_an_engine_is_no_guess_for_the_next_evaluation() -> None:
    clock = Clock()
    clock.evaluated(25.0, starting=20.0)
    assert (clock.evaluating, clock.longest) == (25.0, 5.0)
