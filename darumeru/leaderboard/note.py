"""A sentence under a board or on a page, in both languages of the interface."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One statement. Text formats and the terminal print `en`; pages show the reader's language."""

    en: str
    ru: str

    @classmethod
    def same(cls, text: str) -> Note:
        """A text that is not translated: names, versions, lines from elsewhere."""
        return cls(text, text)

    def __str__(self) -> str:
        return self.en
