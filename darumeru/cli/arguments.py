"""Values of options that several verbs take, read and checked."""

from __future__ import annotations

from typing import Any

from darumeru.core.errors import UserError


def shots(value: str) -> int | None:
    """--num-fewshot: None stands for auto."""
    if value == "auto":
        return None
    if not value.isdigit():
        raise UserError(f"`{value}` is neither auto nor a number from 0", "--num-fewshot")
    return int(value)


def engine_arguments(value: str | None) -> dict[str, Any]:
    """--engine-args: a JSON object."""
    import json

    if value is None:
        return {}
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", "--engine-args") from error
    if not isinstance(parsed, dict):
        raise UserError("must be a JSON object", "--engine-args")
    return parsed
