"""Whether parsed JSON is what a reader takes it for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_SAID = {str: "text", int: "a whole number", dict: "a mapping", list: "a list", bool: "true or false"}


def check_shape(values: Any, shape: Mapping[str, type]) -> None:
    """ValueError, naming the field, unless `values` is a mapping with at least these fields, of these types."""
    if not isinstance(values, dict):
        raise ValueError("must be a mapping")
    for name, kind in shape.items():
        if name not in values:
            raise ValueError(f"`{name}` is missing")
        value = values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"`{name}` must be {_SAID[kind]}, not {json.dumps(value)[:40]}")


def is_number(value: Any) -> bool:
    """Whether a parsed value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and not math.isnan(value)
