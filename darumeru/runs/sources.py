"""Tasks that come from elsewhere than Darumeru's registry: chosen by a prefix, planned and scored by their source,
asked and stored in the same stream as all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from darumeru.core.row import SampleRow
from darumeru.runs.results import Score, TaskScore

if TYPE_CHECKING:
    from darumeru.runs.config import AskConfig
    from darumeru.runs.plan import TaskSource
    from darumeru.runs.stored_plan import StoredTask

# Prefix of a name in --tasks -> where its source and its scorer are.
SOURCES: Mapping[str, tuple[str, str]] = {
    "lm_eval": ("darumeru.lm_eval_bridge.source:LmEvalSource", "darumeru.lm_eval_bridge.scoring:score"),
}


@dataclass(frozen=True)
class SourceScores:
    """Scores of a source's tasks and groups. document: what the source adds to results.json, plain JSON."""

    tasks: Mapping[str, TaskScore]
    groups: Mapping[str, Score] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)


# Scores from what is stored: the plan's tasks of this source, their answered rows, errors of this run by task, number
# of bootstrap resamples.
Scorer = Callable[
    [Path, Sequence["StoredTask"], Mapping[str, Sequence[SampleRow]], Mapping[str, str], int], SourceScores
]


def split(patterns: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Patterns of Darumeru's own registry, and those of each source without its prefix."""
    own: list[str] = []
    foreign: dict[str, list[str]] = {}
    for pattern in patterns:
        prefix, colon, rest = pattern.partition(":")
        if colon and prefix in SOURCES:
            foreign.setdefault(prefix, []).append(rest)
        else:
            own.append(pattern)
    return own, foreign


def open_sources(foreign: Mapping[str, Sequence[str]], config: AskConfig) -> list[TaskSource]:
    """The sources that the patterns name; UserError for names that they do not know."""
    return [cast("TaskSource", _load(SOURCES[prefix][0])(tuple(names), config)) for prefix, names in foreign.items()]


def scorer(source: str) -> Scorer:
    """How the tasks of a source are scored."""
    return cast(Scorer, _load(SOURCES[source][1]))


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
