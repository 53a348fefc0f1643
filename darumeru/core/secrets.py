"""What must not be written down or shown: keys, tokens, passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HIDDEN = "***"
# A shorter value of a key ("EMPTY", "none") keeps no secret and would be found in ordinary words.
SHORTEST = 6
_WORDS = (
    r"(?:(?:api|access|secret|private)[_-]?key|(?<![a-z])token|passw(?:or)?d|authorization|secret|credential|cookie)"
)
_SECRET = re.compile(rf"{_WORDS}$|(?:api|access|secret|private)[_-]?key|passw(?:or)?d|authorization|secret", re.I)
_USER = re.compile(r"(?<=://)[^/@\s\"']*@")
_PAIR = re.compile(
    rf"(?P<name>[\w-]*{_WORDS}s?\\?[\"']?\s*[:=]\s*)(?P<quote>\\?[\"'])(?:(?!(?P=quote)).)*(?P=quote)", re.I
)
_QUERY = re.compile(rf"(?P<name>[?&](?:[\w.-]*{_WORDS}|key)=)[^&#\s\"']+", re.I)
_BEARER = re.compile(r"(?P<name>\bbearer\s+)[^\s\"',;]+", re.I)
_SHAPES = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,})")


def is_secret(name: str) -> bool:
    """Whether a value under this name is a key, by the name: `api_key`, `hf_token`, `Authorization`."""
    return _SECRET.search(name) is not None


def redacted(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Plain JSON with every secret hidden: values of what is_secret, users and passwords in addresses, what looks like
    a key inside a text (a command line, a server's message), and the very values of `secrets` and of the environment's
    keys, wherever they stand."""
    return _hidden(value, sorted({*secrets, *secret_values(os.environ)}, key=len, reverse=True))


def _hidden(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            _hidden(key, secrets): HIDDEN if is_secret(str(key)) and _can_hide(str(key), one) else _hidden(one, secrets)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hidden(one, secrets) for one in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, HIDDEN)
    value = _PAIR.sub(rf"\g<name>\g<quote>{HIDDEN}\g<quote>", _USER.sub("", value))
    for pattern in (_QUERY, _BEARER):
        value = pattern.sub(rf"\g<name>{HIDDEN}", value)
    return _SHAPES.sub(HIDDEN, value)


def _can_hide(name: str, value: Any) -> bool:
    """Whether a value can be a secret at all: `symbols_per_token` is a number with a point, and no key is; `best_token`
    is the number of one, and a service's token is text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(value) and not name.lower().endswith("token")
    return bool(value) and not isinstance(value, bool | float)


def secret_values(value: Any) -> set[str]:
    """The secrets themselves in plain JSON (arguments, an environment): values of what is_secret, and the users and
    passwords of addresses."""
    return {one for one in _secret_values(value) if len(one) >= SHORTEST}


def _secret_values(value: Any, named: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _secret_values(one, named or is_secret(str(name)))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _secret_values(one, named)
    elif isinstance(value, str) and named:
        yield value.strip().rsplit(" ", 1)[-1]  # "Bearer KEY"
    elif isinstance(value, str):
        for user in _USER.findall(value):
            yield from user.removesuffix("@").split(":", 1)


def without_secrets(value: Any) -> tuple[Any, list[str]]:
    """Plain values without what is_secret and without what else is hidden, and the names of what was left out."""
    left_out: list[str] = []

    def clean(one: Any) -> Any:
        if isinstance(one, Mapping):
            left_out.extend(str(name) for name in one if is_secret(str(name)))
            return {name: clean(inner) for name, inner in one.items() if not is_secret(str(name))}
        if isinstance(one, list | tuple):
            return [clean(inner) for inner in one]
        if isinstance(one, str) and (shown := redacted(one)) != one:
            left_out.append("user of the address" if _USER.search(one) else "a key in a text")
            return shown
        return one

    return clean(value), left_out
