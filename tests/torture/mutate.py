"""Values with one thing wrong."""

from __future__ import annotations

import copy
import random
from typing import Any

NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 5, 2**63, 10**400, 0.5, -0.5, 1e300, float("nan"), float("inf"), float("-inf"), "", "x",
    "\ud800", "\x1b[31m\u202e\x00", "../../x", "a\nb", "я" * 5000, [], [None], ["x"], [[[]]], {}, {"x": 1}, {"": None},
)  # fmt: skip


def mutated(rng: random.Random, value: Any) -> Any:
    """The value with one of its parts replaced, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    owner, place = rng.choice(_places(value)) if _places(value) else (None, None)
    if owner is None:
        return rng.choice(NASTY)
    act = rng.randrange(8)
    if act == 0:
        del owner[place]
    elif act == 1 and isinstance(owner, dict):
        owner[rng.choice(("", "x", "id", "__proto__", "text"))] = owner.pop(place)
    elif act == 1:
        owner.insert(place, owner[place])
    else:
        owner[place] = rng.choice(NASTY)
    return value


def cut(rng: random.Random, data: bytes) -> bytes:
    """The bytes with an end missing, some replaced, or some doubled."""
    if not data:
        return b"\xff"
    at, length = rng.randrange(len(data)), rng.randrange(1, 20)
    return rng.choice((
        data[:at],
        data[:at] + rng.randbytes(length) + data[at + length :],
        data[:at] + data[at : at + length] * 2 + data[at + length :],
        data[:at] + rng.choice((b"\x00", b"\xff\xfe", b'"', b"{", b"[" * 100_000, b"&a [*a, *a]", b"\r")) + data[at:],
    ))  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    found: list[tuple[Any, Any]] = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found
