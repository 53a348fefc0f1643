"""What must not be written down or shown: keys, tokens, passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SECRET = re.compile(r"(api|access|secret|private)[_-]?key|token$|passw(or)?d|authorization|secret|credential", re.I)
_USER = re.compile(r"(?<=://)[^/@\s]*@")


def is_secret(name: str) -> bool:
    """Whether a value under this name is a key, by the name: `api_key`, `hf_token`, `Authorization`."""
    return _SECRET.search(name) is not None


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
