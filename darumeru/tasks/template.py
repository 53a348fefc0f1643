"""Filling a record's template: plain field names only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from darumeru.core.errors import UserError

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def fill(template: str, values: Mapping[str, Any], where: str) -> str:
    """`template` with each {name} replaced by values[name]; {{ and }} stand for braces.

    Only plain names are filled: {a.b}, {a[0]}, {a!r} and {a:>9} are refused, since str.format would run code on
    attributes. Raises UserError naming `where` and the placeholder.
    """

    def one(match: re.Match[str]) -> str:
        whole, name = match.group(0), match.group(1)
        if whole in ("{{", "}}"):
            return whole[0]
        if name is None:
            raise UserError(f"single `{whole}` in the template", where, "write {{ or }} for a brace")
        if not name.isidentifier():
            raise UserError(f"placeholder {{{name}}} is not a plain field name", where)
        if name not in values:
            raise UserError(f"field `{name}` of the template is missing from the record's inputs", where)
        return str(values[name])

    return _PLACEHOLDER.sub(one, template)
