"""One record of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darumeru.core.errors import UserError


@dataclass(frozen=True)
class Record:
    """One record, where it stands ("file:line"), for messages, and its place in its split, counted from 0."""

    values: Mapping[str, Any]
    where: str
    place: int = 0

    def need(self, name: str, *kinds: type) -> Any:
        """values[name], checked; UserError names file, line and field. "inputs.text" reaches into a mapping."""
        value: Any = self.values
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value or value[part] is None:
                raise UserError(f"field `{name}` is missing", self.where)
            value = value[part]
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise UserError(f"field `{name}` must be {wanted}, is {type(value).__name__}", self.where)
        return value

    def need_text(self, name: str) -> str:
        """values[name], a text that is not blank; UserError names file, line and field."""
        text: str = self.need(name, str)
        if not text.strip():
            raise UserError(f"field `{name}` is empty", self.where)
        return text
