"""Named entities in the three forms in which a model is asked for them: lines of classes, JSON, marks in the text.

`mended` readers take what people would take; the others are exactly as strict as the authors' program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

Entity = tuple[str, str]
"""(class, text)."""

_LINE = re.compile(r"((?:.-)?\w+):\s*\[([^\]]+)\]")
_FREE_LINE = re.compile(r"[\s\-*•#]*((?:.-)?\w+)[\s*]*:[\s*]*\[(.+)\]\W*$")
_COMMA = re.compile(r",(?!\d)|(?<!\d),")
_QUOTED = re.compile(r"^([\"'])(.*)\1$")
_OPENING = re.compile(r"<(\w+)>")
_MARK = re.compile(r"<(/?)(\w+)>")
_FENCED = re.compile(r"```(?:json|JSON)?\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_FLAT = re.compile(r"<(\w+)>(.*?)</\1>")
TOKEN = re.compile(r"\d+.\d+|\w+|\.\.\.|[.,!?:;()\[\]«»]")
"""A token of the data sets that come as tokens; the point of a number may be any character, as published."""


def from_lines(answer: str, mended: bool) -> list[Entity]:
    """ "CLASS: [a, b]", one class a line; of two lines of one class the last counts."""
    found: dict[str, list[str]] = {}
    for line in answer.split("\n"):
        match = (_FREE_LINE if mended else _LINE).match(line)
        if match:
            texts = [text.strip() for text in (_COMMA.split(match[2]) if mended else match[2].split(","))]
            found[match[1]] = [_QUOTED.sub(r"\2", text) for text in texts] if mended else texts
    return [(name, text) for name, texts in found.items() for text in texts]


def from_json(answer: str, classes: Sequence[str], mended: bool) -> list[Entity]:
    """A list of lists [class, text], with or without a fence. mended: text around the fence does not matter, and an
    item that is something else leaves the others as they are."""
    fenced = _FENCED.findall(answer) if mended else []
    text = fenced[-1] if fenced else answer
    for mark in ("```json", "json\n", "```"):
        text = text.replace(mark, "")
    try:
        items: Any = json.loads(text.strip())
    except (ValueError, RecursionError):
        return []
    if not isinstance(items, list) or (not mended and not all(isinstance(item, list | str) for item in items)):
        # The authors' program ends here with an error.
        return []
    pairs = [item for item in items if isinstance(item, list) and len(item) == 2]
    return [(name, text) for name, text in pairs if isinstance(name, str) and isinstance(text, str) and name in classes]


def from_nested_marks(answer: str) -> list[Entity]:
    """<CLASS>text</CLASS>, entities within entities."""
    return list(_nested(answer))


def _nested(text: str) -> Iterator[Entity]:
    start = 0
    while opening := _OPENING.search(text, start):
        closing = _closing(text, opening.end())
        if closing is None or closing[2] != opening[1]:
            start = opening.end()
            continue
        inner = text[opening.end() : closing.start()]
        yield opening[1], without_marks(inner).strip()
        yield from _nested(inner)
        start = closing.end()


def _closing(text: str, start: int) -> re.Match[str] | None:
    depth = 0
    for mark in _MARK.finditer(text, start):
        if not mark[1]:
            depth += 1
        elif depth == 0:
            return mark
        else:
            depth -= 1
    return None


def from_flat_marks(answer: str) -> list[Entity]:
    """<CLASS>text</CLASS> on one line, without entities within entities."""
    return [(match[1], match[2]) for match in _FLAT.finditer(answer)]


def without_marks(text: str) -> str:
    """A text without the marks of entities."""
    return _MARK.sub("", text)


def same_text(answer: str, text: str) -> bool:
    """Whether a marked answer is the text, spaces aside."""
    return re.sub(r"[ \n]", "", without_marks(answer)) == re.sub(r"[ \n]", "", text)


def same_tokens(answer: str, tokens: Sequence[str]) -> bool:
    """Whether the tokens of a marked answer begin as those of the record, up to the shorter of the two (as published:
    an answer that is cut off passes, and tokens with a dash or a straight quotation mark never do)."""
    said = TOKEN.findall(without_marks(answer))
    return all(one == other for one, other in zip(said, tokens, strict=False))
