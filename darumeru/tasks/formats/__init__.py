"""Record formats: how the records of a data set become samples. One file a format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from darumeru.core.errors import UserError, near_names
from darumeru.tasks.records import Record
from darumeru.tasks.sample import Sample
from darumeru.tasks.spec import TaskSpec

SampleMaker = Callable[[TaskSpec, Sequence[Record], Sequence[Record], int], list[Sample]]

FORMATS = ("standard", "mmlu", "acceptability", "summarization", "extraction", "dialogue", "translation")


def sample_maker(name: str, where: str = "") -> SampleMaker:
    """samples(spec, test records, few-shot records, wanted shots) of the format, or a UserError with near names."""
    if name not in FORMATS:
        raise UserError(f"unknown record format `{name}`", where, near=near_names(name, FORMATS))
    maker: SampleMaker = import_module(f"darumeru.tasks.formats.{name}").samples
    return maker
