"""What a check is given: the answer, the numbers and words of the instruction, and by which rules it reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darumeru.core.errors import UserError


@dataclass(frozen=True)
class Rule:
    """One instruction of one record. language: "ru" or "en". mended: whether the known defects of the published Russian
    rules are left out (docs/field.md)."""

    id: str
    language: str
    values: Mapping[str, Any]
    mended: bool

    def text(self, name: str) -> str:
        return str(self._value(name))

    def number(self, name: str) -> int:
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"`{name}` of instruction `{self.id}` is {value!r}, not a number")
        return int(value)

    def texts(self, name: str) -> list[str]:
        value = self._value(name)
        if not isinstance(value, list | tuple):
            raise UserError(f"`{name}` of instruction `{self.id}` is {value!r}, not a list of texts")
        return [str(one) for one in value]

    def holds(self, count: int, number: str, relation: str) -> bool:
        """Whether a count is "less than" or "at least" what the instruction says."""
        said = self.text(relation)
        if said not in ("less than", "at least"):
            raise UserError(f"`{relation}` of instruction `{self.id}` is {said!r}, not `less than` or `at least`")
        return count < self.number(number) if said == "less than" else count >= self.number(number)

    def _value(self, name: str) -> Any:
        value = self.values.get(name)
        if value is None:
            raise UserError(f"instruction `{self.id}` needs `{name}`")
        return value
