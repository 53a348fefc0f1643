"""What a record format is: how the records of a data set become samples, and which options it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from darumeru.tasks.record import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

SampleMaker = Callable[[TaskSpec, Sequence[Record], Sequence[Record], int], list[Sample]]
"""samples(spec, test records, few-shot records, wanted shots)."""


@dataclass(frozen=True)
class FormatOptions:
    """What every format understands. whole_clusters: a limit takes whole clusters (the variants of an exam). published:
    option -> file with the authors' own text of it (tasks/published.py). private: records imitate personal data,
    and reports show none of them."""

    whole_clusters: bool = False
    published: Mapping[str, str] = field(default_factory=dict)
    private: bool = False


def nothing(spec: TaskSpec) -> Iterable[tuple[str, str]]:
    """The check of a format that has none."""
    return ()


@dataclass(frozen=True)
class RecordFormat:
    """samples: makes them; UserError with file, line and field for a record that cannot be used. options: a dataclass
    whose fields are the `options` of a task of this format. check: what is wrong with the options of a task beyond
    their types, found without data: (name, what)."""

    samples: SampleMaker
    options: type[FormatOptions] = FormatOptions
    check: Callable[[TaskSpec], Iterable[tuple[str, str]]] = nothing
