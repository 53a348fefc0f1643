"""Which tokens an extension may add: whole characters of one script, so that no other text changes."""

from __future__ import annotations

import re
from typing import Literal

Script = Literal["cyrillic", "any"]

_CYRILLIC = "\u0400-\u052f\u1c80-\u1c8f\u1d2b\u1d78\u2de0-\u2dff\ua640-\ua69f"
_WORD = re.compile(f" ?[{_CYRILLIC}][{_CYRILLIC}\u0300\u0301]*\\Z")
CYRILLIC_LETTER = re.compile(f"[{_CYRILLIC}]")
_LEADS = frozenset(b"\xd0\xd1\xd2\xd3")
"""First bytes of two-byte characters that are Cyrillic whatever follows (U+0400 to U+04FF)."""


def cyrillic_merge(left: bytes, right: bytes) -> bool:
    """Whether left + right may become a token that occurs only in Cyrillic text: at most one leading space, then
    whole Cyrillic characters (with stress marks).

    Old vocabularies hold halves of characters, and some of these halves span two letters. A result that ends in a
    half is accepted only where the right part begins with one: "п" + D0 would split every second letter that
    follows, but D0 + "BE D1" can be joined in no other way.
    """
    result = left + right
    if right and 0x80 <= right[0] < 0xC0 and result[-1] in _LEADS:
        result = result[:-1]
    try:
        return _WORD.match(result.decode("utf-8")) is not None
    except UnicodeDecodeError:
        return False
