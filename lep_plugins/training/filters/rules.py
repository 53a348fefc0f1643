"""Rules that need no model: language, loops, length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from darumeru.core.errors import UserError, near_names
from lep_plugins.training.conversations import Conversation

ALPHABETS = {"ru": re.compile(r"[А-Яа-яЁё]"), "en": re.compile(r"[A-Za-z]")}
LETTER = re.compile(r"[^\W\d_]")
WORD = re.compile(r"\w+")
FEW_LETTERS = 10
"""A text with fewer letters ("42", "x = y") has no language."""
LOOP = re.compile(r"([^\W\d_]{1,8}?)\1{11,}")
"""The same one to eight letters twelve times in a row; ruled lines and long numbers are no loops."""
LOOP_WORDS = 24
"""The longest phrase, in words, whose immediate repetition is looked for."""


@dataclass(frozen=True)
class RulesFilter:
    """language: "ru", "en" or "any". language_share: least share of its letters among all letters. loop: how often a
    phrase of up to 24 words must follow upon itself to be a loop. repeated_share: most share of words that stand in a
    sequence of `ngram` words seen before (0 to 1). min_characters, max_characters: of the answer. UserError: an
    unknown language, a number that makes no sense."""

    language: str = "ru"
    language_share: float = 0.5
    loop: int = 4
    ngram: int = 8
    repeated_share: float = 0.3
    min_characters: int = 1
    max_characters: int = 20_000

    def __post_init__(self) -> None:
        known = (*ALPHABETS, "any")
        if self.language not in known:
            mend = f"known: {', '.join(known)}"
            raise UserError(
                f"unknown language `{self.language}`", "filter rules", mend, near_names(self.language, known)
            )
        for name in ("language_share", "repeated_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is a share from 0 to 1, not {getattr(self, name)}", "filter rules")
        if self.loop < 2 or self.ngram < 1 or self.min_characters > self.max_characters:
            raise UserError(
                "loop is at least 2, ngram at least 1, min_characters at most max_characters", "filter rules"
            )

    def check(self) -> None:
        """Nothing can stop it."""

    def reasons(self, conversations: Sequence[Conversation], memory: Path) -> Iterator[tuple[int, str]]:
        """See Filter.reasons: "too short", "too long", "language", "repetition"."""
        for index, conversation in enumerate(conversations):
            yield index, self.reason(conversation.answer)

    def reason(self, text: str) -> str:
        """Why a text is rejected; "" when it is kept."""
        text = text.strip()
        if len(text) < self.min_characters:
            return "too short"
        if len(text) > self.max_characters:
            return "too long"
        if self.language != "any" and letter_share(text, self.language) < self.language_share:
            return "language"
        words = WORD.findall(text.casefold())
        if LOOP.search(text) or has_loop(words, self.loop) or repeated_share(words, self.ngram) > self.repeated_share:
            return "repetition"
        return ""


def letter_share(text: str, language: str) -> float:
    """Letters of the language's alphabet / all letters; 1 for a text with fewer than ten letters."""
    letters = len(LETTER.findall(text))
    return len(ALPHABETS[language].findall(text)) / letters if letters >= FEW_LETTERS else 1.0


def has_loop(words: Sequence[str], times: int) -> bool:
    """Whether some phrase of up to LOOP_WORDS words stands `times` times in a row, eight words together at least."""
    for period in range(1, LOOP_WORDS + 1):
        needed = max(period * (times - 1), 8 - period)
        run = 0
        for place in range(period, len(words)):
            run = run + 1 if words[place] == words[place - period] else 0
            if run >= needed:
                return True
    return False


def repeated_share(words: Sequence[str], size: int) -> float:
    """Share of words covered by a second or later occurrence of the same `size` words; 0 for shorter texts."""
    if len(words) < size:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    covered, reached = 0, 0
    for place in range(len(words) - size + 1):
        phrase = tuple(words[place : place + size])
        if phrase in seen:
            covered += place + size - max(place, reached)
            reached = place + size
        seen.add(phrase)
    return covered / len(words)
