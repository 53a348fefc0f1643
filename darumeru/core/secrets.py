"""Keys, tokens and passwords never reach a file, a page, a log or a message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_NAME = re.compile(r"(api[-_]?key|token|passw(or)?d|secret|authorization|credential|cookie)s?$", re.IGNORECASE)
_USER = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.IGNORECASE)
_PAIR = re.compile(
    r"(?P<name>[\"']?[\w-]*(?:api[-_]?key|token|passw(?:or)?d|secret|authorization|credential|cookie)s?[\"']?\s*[:=]\s*)"
    r"(?P<quote>\\?[\"'])(?:(?!(?P=quote)).)*(?P=quote)",
    re.IGNORECASE,
)


def redacted(value: Any) -> Any:
    """Plain JSON with every secret hidden: values of names like api_key, users and passwords in addresses, and both
    inside texts (a command line, a server's message)."""
    if isinstance(value, Mapping):
        return {key: HIDDEN if _NAME.search(str(key)) and one else redacted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one) for one in value]
    if isinstance(value, str):
        without = _USER.sub(r"\g<scheme>", value)
        return _PAIR.sub(rf"\g<name>\g<quote>{HIDDEN}\g<quote>", without)
    return value
