"""What must not be written down or shown: keys, tokens, passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_WORDS = (
    r"(?:(?:api|access|secret|private)[_-]?key|(?<![a-z])token|passw(?:or)?d|authorization|secret|credential|cookie)"
)
_SECRET = re.compile(rf"{_WORDS}$|(?:api|access|secret|private)[_-]?key|passw(?:or)?d|authorization|secret", re.I)
_USER = re.compile(r"(?<=://)[^/@\s\"']*@")
_PAIR = re.compile(
    rf"(?P<name>[\w-]*{_WORDS}s?\\?[\"']?\s*[:=]\s*)(?P<quote>\\?[\"'])(?:(?!(?P=quote)).)*(?P=quote)", re.I
)


def is_secret(name: str) -> bool:
    """Whether a value under this name is a key, by the name: `api_key`, `hf_token`, `Authorization`."""
    return _SECRET.search(name) is not None


def redacted(value: Any) -> Any:
    """Plain JSON with every secret hidden: values of what is_secret, users and passwords in addresses, and both inside
    texts (a command line, a server's message)."""
    if isinstance(value, Mapping):
        return {key: HIDDEN if one and is_secret(str(key)) else redacted(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one) for one in value]
    if isinstance(value, str):
        return _PAIR.sub(rf"\g<name>\g<quote>{HIDDEN}\g<quote>", _USER.sub("", value))
    return value


def without_secrets(value: Any) -> tuple[Any, list[str]]:
    """Plain values without what is_secret and without the user part of addresses, and the names of what was left
    out."""
    left_out: list[str] = []

    def clean(one: Any) -> Any:
        if isinstance(one, Mapping):
            left_out.extend(str(name) for name in one if is_secret(str(name)))
            return {name: clean(inner) for name, inner in one.items() if not is_secret(str(name))}
        if isinstance(one, list | tuple):
            return [clean(inner) for inner in one]
        if isinstance(one, str) and _USER.search(one):
            left_out.append("user of the address")
            return _USER.sub("", one)
        return one

    return clean(value), left_out
