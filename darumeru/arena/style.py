"""How an answer looks: its length and its marks of Markdown, which judges like whatever is said."""

from __future__ import annotations

import re

FEATURES = ("length", "headers", "lists", "bold", "code")

_FENCED = re.compile(r"```[^`]*```")
_INLINE = re.compile(r"`([^`\n]+?)`")
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


def style_counts(text: str, published: bool = False) -> tuple[int, ...]:
    """Numbers of FEATURES: characters; headers, list items, bold passages, all outside of code; code passages.

    published: as the authors' program removes code, by deleting the text of each passage wherever it stands (a
    one-letter `x` deletes every x).
    """
    fenced = _FENCED.findall(text)
    if published:
        rest = _without(text, fenced)
        inline = _INLINE.findall(rest)
        rest = _without(rest, inline)
    else:
        rest = _FENCED.sub("", text)
        inline = _INLINE.findall(rest)
        rest = _INLINE.sub("", rest)
    counts = (len(pattern.findall(rest)) for pattern in (_HEADER, _ITEM, _BOLD))
    return (len(text), *counts, len(fenced) + len(inline))


def _without(text: str, parts: list[str]) -> str:
    for part in parts:
        text = text.replace(part, "")
    return text
