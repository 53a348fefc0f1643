"""Rows of the store as metrics see them, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from darumeru.core.answer import Answer
from darumeru.core.row import SampleRow


def row(answer: Answer, target: Any, name: str = "0", cluster: str | None = None, **meta: Any) -> SampleRow:
    return SampleRow("test/task", name, cluster or name, "", "", 0, target, answer, meta)


def said(text: str, target: Any, name: str = "0", **meta: Any) -> SampleRow:
    """A generated answer; its tokens are its characters."""
    return row(Answer(text=text, tokens=tuple(map(ord, text)), finish_reason="stop"), target, name, **meta)


def picked(
    probabilities: Mapping[str, float], target: str, name: str = "0", cluster: str | None = None, **meta: Any
) -> SampleRow:
    """A choice."""
    return row(Answer(probabilities=probabilities), target, name, cluster, **meta)


def picks(target: Sequence[str], chosen: Sequence[str], labels: Sequence[str]) -> list[SampleRow]:
    """Choices of the labels `chosen`, one record each."""
    return [
        picked({label: 0.9 if label == answer else 0.05 for label in labels}, right, f"{number:03d}")
        for number, (right, answer) in enumerate(zip(target, chosen, strict=True))
    ]


def repeated(rows: Sequence[SampleRow], clusters: Sequence[str], counts: Sequence[float]) -> list[SampleRow]:
    """The data set in which every cluster stands as often as `counts` says, each time as a cluster of its own."""
    times = dict(zip(clusters, np.asarray(counts, dtype=int), strict=True))
    return [
        replace(one, cluster=f"{one.cluster}/{copy}", id=f"{one.id}/{copy}")
        for one in rows
        for copy in range(times[one.cluster])
    ]
