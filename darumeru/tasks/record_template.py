"""Jinja templates and expressions over the fields of a record, sandboxed and bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.files import json_line
from darumeru.core.terminal import one_line
from darumeru.tasks.record import Record

MOST_CHARACTERS = 1 << 20
"""Of a rendered text."""
TRIED = 3
"""Records that templates are tried with: the first, the largest and the last."""
_UNDEFINED = re.compile(r"'(.+)' is undefined$")
_NO_ATTRIBUTE = re.compile(r"'.+ object' has no (?:attribute|element) '?(.+?)'?$")


@dataclass(frozen=True)
class RecordTemplate:
    """name: as messages call it ("`prompt` of mine/capitals"). source: a Jinja template; its names are the fields of a
    record, and `record` with all of them."""

    name: str
    source: str

    def render(self, record: Record, more: Mapping[str, Any] | None = None) -> str:
        """The text; UserError for a template that cannot be rendered with this record. more: names beside the
        fields."""
        parts: list[str] = []
        length = 0
        values = fields_of(record, more)
        try:
            for part in self._compiled.generate(**values):
                parts.append(part)
                length += len(part)
                if length > MOST_CHARACTERS:
                    raise UserError(f"{self.name} makes a text of more than {MOST_CHARACTERS} characters", record.where)
        except UserError:
            raise
        except Exception as error:  # a template is a stranger's code, which may raise anything
            raise failed(self.name, error, values, record.where) from error
        return "".join(parts)

    def check(self) -> None:
        """UserError for what is no template."""
        _ = self._compiled

    @cached_property
    def _compiled(self) -> Any:
        from darumeru.core.jinja import record_environment

        return _made(record_environment().from_string, self)


@dataclass(frozen=True)
class RecordExpression:
    """A Jinja expression over the fields of a record. name, source: as in RecordTemplate."""

    name: str
    source: str

    def value(self, record: Record, more: Mapping[str, Any] | None = None) -> Any:
        """The value as plain data; UserError for an expression that has none for this record."""
        from jinja2 import Undefined

        values = fields_of(record, more)
        try:
            found = self._compiled(**values)
            if isinstance(found, Undefined):
                str(found)
        except Exception as error:  # an expression is a stranger's code, which may raise anything
            raise failed(self.name, error, values, record.where) from error
        return found

    def check(self) -> None:
        """UserError for what is no expression."""
        _ = self._compiled

    @cached_property
    def _compiled(self) -> Any:
        from darumeru.core.jinja import record_environment

        return _made(lambda source: record_environment().compile_expression(source, undefined_to_none=False), self)


def _made(compile: Any, one: RecordTemplate | RecordExpression) -> Any:
    from jinja2 import TemplateError

    kind = "template" if isinstance(one, RecordTemplate) else "expression"
    try:
        return compile(one.source)
    except (TemplateError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        place = f", line {line} of it" if line and line > 1 else ""
        raise UserError(f"{one.name} is not a Jinja {kind}: {error}{place}") from error


def fields_of(record: Record, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The names that a template sees: the fields, `record` with all of them, and `more`."""
    return {**{str(key): one for key, one in record.values.items()}, "record": dict(record.values), **(more or {})}


def failed(name: str, error: Exception, values: Mapping[str, Any], where: str) -> UserError:
    """One line on why a template or an expression has no value for a record."""
    text = one_line(str(error))
    undefined = _UNDEFINED.search(text) or _NO_ATTRIBUTE.search(text)
    if undefined:
        field = undefined.group(1)
        known = [key for key in values if key != "record"]
        near = near_names(field, known)
        mend = "" if near else f"there are: {', '.join(known[:12])}"
        return UserError(f"{name} needs the field `{field}`, which is not there", where, mend, near)
    return UserError(f"{name} fails: {text or type(error).__name__}", where)


def tried(records: Sequence[Record]) -> list[Record]:
    """The records that templates are tried with before they are used."""
    largest = sorted(records, key=lambda record: -len(json_line(_plain(record.values))))[: TRIED - 2]
    return list({record.where: record for record in (*records[:1], *largest, *records[-1:])}.values())


def _plain(values: Mapping[str, Any]) -> Any:
    """Values of Parquet may be dates and numbers that are none."""
    return {str(key): str(one) for key, one in values.items()}
