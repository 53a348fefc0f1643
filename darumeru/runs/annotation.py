"""An answer on its way from the engine to the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from darumeru.core.answer import Answer


@dataclass(frozen=True)
class Annotation:
    """answer: what metrics read. notes: what was found on the way, for rates and readers. stop: texts at which an
    answer ends; they were not told to an engine whose model might have thought first."""

    answer: Answer
    notes: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
