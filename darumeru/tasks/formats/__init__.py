"""Record formats: how the records of a data set become samples. One file a format; plugins bring theirs behind the
entry points "darumeru.formats"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.fields import checked_fields
from darumeru.core.registry import Registry
from darumeru.core.yaml_file import YamlFile
from darumeru.tasks.formats.protocol import RecordFormat, SampleMaker
from darumeru.tasks.spec import TaskSpec, placed

FORMATS = (
    "standard",
    "mmlu",
    "acceptability",
    "summarization",
    "extraction",
    "dialogue",
    "translation",
    "instructions",
    "problem",
    "request",
    "entities",
    "opinions",
    "document",
    "long_context",
    "search_answers",
    "distractors",
    "classification",
    "preference",
    "grammar_pairs",
    "template",
)


def _problem(name: str, one: Any) -> str:
    return "" if isinstance(one, RecordFormat) else "not a RecordFormat"


@cache
def format_registry() -> Registry[RecordFormat]:
    """All record formats by name."""
    builtin = {name: f"darumeru.tasks.formats.{name}:FORMAT" for name in FORMATS}
    return Registry("darumeru.formats", "record format", builtin, _problem)


def sample_maker(name: str, where: str = "") -> SampleMaker:
    """What makes samples of records in that format; UserError, naming `where`, with the nearest names."""
    try:
        return format_registry().get(name).samples
    except UserError as error:
        raise UserError(error.what, where or error.where, error.mend, error.near) from error


def check_format(spec: TaskSpec, file: YamlFile, profile: str) -> None:
    """UserError with file and line for a format that is not known and for options that it does not have."""
    try:
        found = format_registry().get(spec.format)
    except UserError as error:
        raise file.error(error.what, *placed(file, profile, "format"), mend=error.mend, near=error.near) from error

    def fail(what: str, place: tuple[str, ...], mend: str, near: Sequence[str]) -> UserError:
        return file.error(what, *placed(file, profile, "options", *place), mend=mend, near=near)

    checked_fields(f"format {spec.format}", found.options, spec.options, fail, "option")
    for name, what in found.check(spec):
        raise fail(what, tuple(name.split(".")), "", ())
    for name in ("where", "shots_where"):
        _check_condition(spec, name, file, profile)


def _check_condition(spec: TaskSpec, name: str, file: YamlFile, profile: str) -> None:
    from darumeru.tasks.record_template import RecordExpression

    source = getattr(spec.source, name)
    try:
        if source is not None:
            RecordExpression(f"`{name}` of {spec.name}", source).check()
    except UserError as error:
        raise file.error(error.what, *placed(file, profile, "source", name)) from error
