"""The samples of flipped records, with both models' answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from darumeru.core.row import SampleRow
from darumeru.leaderboard.comparison import TaskDifference
from darumeru.metrics.choice import chosen
from darumeru.runs.run import Run


@dataclass(frozen=True)
class Flip:
    """A sample of a record that only b (gained) or only a has right; a, b: what they answered."""

    task: str
    id: str
    gained: bool
    a: str
    b: str


def flipped_samples(run_a: Run, run_b: Run, tasks: Sequence[TaskDifference]) -> Iterator[Flip]:
    """The flips of these tasks in the order of b's store; none for scores that are not shares of records."""
    for one in tasks:
        sides = dict.fromkeys(one.gained or (), True) | dict.fromkeys(one.lost or (), False)
        if not sides:
            continue
        before = {row.id: _answer(row) for row in run_a.rows(one.task) if row.cluster in sides}
        after = {row.id: (row.cluster, _answer(row)) for row in run_b.rows(one.task) if row.cluster in sides}
        for name, (cluster, answer) in after.items():
            if name in before:
                yield Flip(one.task, name, sides[cluster], before[name], answer)


def _answer(row: SampleRow) -> str:
    if row.answer.probabilities:
        return chosen(row)
    return json.dumps(row.answer.text, ensure_ascii=False)
