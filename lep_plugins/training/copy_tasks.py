"""Copying tasks: a text and the same text as the answer, so that the model keeps its new tokens apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from darumeru.core.errors import UserError, near_names
from darumeru.core.message import Message
from lep_plugins.training.conversations import Conversation

REQUESTS = {
    "ru": (
        "Перепиши текст слово в слово, ничего не меняя:",
        "Повтори следующий текст без изменений:",
        "Скопируй этот текст дословно:",
        "Приведи текст ниже полностью и без правок:",
    ),
    "en": (
        "Copy the text word for word, changing nothing:",
        "Repeat the following text without changes:",
        "Write this text again exactly as it is:",
        "Give the text below in full and unedited:",
    ),
}
POOL = 10
"""Passages looked at for each one taken; a larger corpus is not read to its end."""
_PARAGRAPH_END = re.compile(r"(?<=\n)(?=[^\n])")
_SENTENCE_END = re.compile(r"(?<=[.!?…])(?=\s)")

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class CopyTasks:
    """count: tasks wanted (fewer when the corpus gives fewer). min_tokens, max_tokens: of the copied text. language:
    of the request, "ru" or "en". Paper (section 2.4): 10,000 articles, or 2,000 long texts. UserError: an unknown
    language, numbers that make no sense."""

    count: int
    min_tokens: int
    max_tokens: int
    language: str = "ru"

    def __post_init__(self) -> None:
        if self.language not in REQUESTS:
            mend = f"known: {', '.join(REQUESTS)}"
            raise UserError(
                f"unknown language `{self.language}`", "copy tasks", mend, near_names(self.language, REQUESTS)
            )
        if self.count < 0 or not 0 < self.min_tokens <= self.max_tokens:
            raise UserError("copies is not negative, and 0 < copy_min_tokens <= copy_max_tokens", "copy tasks")

    def make(
        self, documents: Iterable[str], count_tokens: CountTokens, random: np.random.Generator
    ) -> list[Conversation]:
        """Tasks from a corpus: a uniform sample of its first POOL x count passages, in corpus order. The same
        documents and the same generator state give the same tasks. The answer is the text in the request, unchanged."""
        if not self.count:
            return []
        taken: list[tuple[int, str]] = []
        for number, passage in enumerate(self._passages(documents, count_tokens, random)):
            if number == POOL * self.count:
                break
            if len(taken) < self.count:
                taken.append((number, passage))
            elif (place := int(random.integers(number + 1))) < self.count:
                taken[place] = (number, passage)
        requests = REQUESTS[self.language]
        return [_task(requests[int(random.integers(len(requests)))], passage) for _, passage in sorted(taken)]

    def _passages(
        self, documents: Iterable[str], count_tokens: CountTokens, random: np.random.Generator
    ) -> Iterator[str]:
        """Runs of whole paragraphs (of sentences, where one paragraph is too long), each as long as a length drawn
        between the two limits allows. Every text is offered once."""
        for document in documents:
            held, size = "", 0
            limit = int(random.integers(self.min_tokens, self.max_tokens + 1))
            for part in self._parts(document, count_tokens):
                more = count_tokens(part)
                if held and size + more > limit:
                    if passage := self._fitting(held, count_tokens):
                        yield passage
                    held, size = "", 0
                    limit = int(random.integers(self.min_tokens, self.max_tokens + 1))
                held += part
                size += more
            if passage := self._fitting(held, count_tokens):
                yield passage

    def _parts(self, document: str, count_tokens: CountTokens) -> Iterator[str]:
        for paragraph in _PARAGRAPH_END.split(document):
            if count_tokens(paragraph) <= self.max_tokens:
                yield paragraph
            else:
                yield from _SENTENCE_END.split(paragraph)

    def _fitting(self, text: str, count_tokens: CountTokens) -> str:
        text = text.strip()
        return text if text and self.min_tokens <= count_tokens(text) <= self.max_tokens else ""


def _task(request: str, text: str) -> Conversation:
    return Conversation((Message("user", f"{request}\n\n{text}"), Message("assistant", text)), "copy")
