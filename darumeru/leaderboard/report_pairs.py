"""The samples that two runs both answered, side by side, for the page that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.row import SampleRow
from darumeru.leaderboard.report_samples import (
    Answers,
    Samples,
    TaskIndex,
    add,
    add_answer,
    batches,
    document,
    is_private,
    pack,
)
from darumeru.runs.run import Run
from darumeru.runs.stored_plan import StoredTask, read_plan


@dataclass
class PairIndex(TaskIndex):
    """Answers of B, and in `other` those of A to the same samples, with the fields of Answers."""

    other: dict[str, list[Any]] = field(default_factory=dict)


def read_pairs(a: Run, b: Run, tasks: Sequence[str]) -> Samples:
    """The samples of these tasks that both runs answered, in the order of b; those of private tasks aside."""
    chunks: list[str] = []
    indexes: list[TaskIndex] = []
    before = {task.name: task for task in read_plan(a.path)}
    for stored in read_plan(b.path):
        if stored.name not in tasks or stored.name not in before or is_private(stored):
            continue
        earlier = {row.id: row for row in a.rows(stored.name)}
        rows = [row for row in b.rows(stored.name) if row.id in earlier]
        index, packed = _task(stored, before[stored.name], rows, earlier, len(chunks))
        indexes.append(index)
        chunks += packed
    return Samples(indexes, chunks, 0)


def _task(
    stored: StoredTask, before: StoredTask, rows: Sequence[SampleRow], earlier: dict[str, SampleRow], first: int
) -> tuple[PairIndex, list[str]]:
    index, other, chunks = PairIndex(name=stored.name, first=first), Answers(), []
    for batch in batches(rows):
        for row in batch:
            add(index, stored, row)
            add_answer(other, before, earlier[row.id])
        index.counts.append(len(batch))
        chunks.append(pack([_pair(row, earlier[row.id]) for row in batch]))
    index.other = vars(other)
    return index, chunks


def _pair(row: SampleRow, earlier: SampleRow) -> dict[str, Any]:
    """A sample of B with what A has otherwise."""
    whole = document(earlier, {})
    kept = ["answer", "metrics", "seconds"]
    kept += ["prompt", "prompt_tokens"] if earlier.prompt != row.prompt else []
    return document(row, {}) | {"other": {name: whole[name] for name in kept}}
