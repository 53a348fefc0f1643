"""lm-eval's Instances, document by document, and values of its tasks as plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any


def by_document(instances: Iterable[Any]) -> dict[int, list[Any]]:
    """The Instances of each document, in the order in which lm-eval hands their responses to the task."""
    found: dict[int, list[Any]] = {}
    for instance in instances:
        found.setdefault(int(instance.doc_id), []).append(instance)
    for own in found.values():
        own.sort(key=lambda instance: instance.idx)
    return found


def plain(value: Any) -> Any:
    """The value as plain JSON: numbers of numpy as numbers, NaN and infinities as null, what JSON lacks as text."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return [plain(one) for one in sorted(value, key=str)]
    number = getattr(value, "item", None)
    if callable(number) and getattr(value, "shape", None) == ():
        return plain(number())
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return str(value)
