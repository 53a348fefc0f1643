"""Values from a YAML file checked against the fields of a dataclass: one mechanism for tasks, recipes and steps."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from darumeru.core.errors import UserError, near_names
from darumeru.core.options import Option
from darumeru.core.yaml_file import describe

Fail = Callable[[str, tuple[str, ...], str, Sequence[str]], UserError]
"""Makes the error for (what, place within the values, mend, near names)."""

_WORDS = {int: "a whole number", float: "a number", str: "text", Path: "text", bool: "true or false"}


def checked_fields(
    kind: str, schema: type, values: Mapping[str, Any], fail: Fail, noun: str = "parameter"
) -> dict[str, Any]:
    """`values` as the annotations of the dataclass `schema` want them: lists become tuples, whole numbers floats,
    texts paths, one value a list of one; a range is the `least` and `most` of an annotated Option.

    kind, noun: what `schema` and a field of it are called in messages. Errors are raised through `fail`: unknown
    names, wrong types, what is out of its range, fields without a default that are missing.
    """
    hints = typing.get_type_hints(schema, include_extras=True)
    known = {field.name: field for field in fields(schema) if field.init}
    for key in values:
        if key not in known:
            near = near_names(key, known)
            mend = "" if near else f"known: {', '.join(known) or 'none'}"
            raise fail(f"{kind} has no {noun} `{key}`", (key,), mend, near)
    for name, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and name not in values:
            raise fail(f"{kind} needs `{name}`", (), f"add `{name}: ...`", ())
    checked: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints[key]
        plain = get_args(hint)[0] if _annotated(hint) else hint
        if isinstance(plain, type) and is_dataclass(plain) and isinstance(value, dict):
            checked[key] = plain(**checked_fields(f"`{key}`", plain, value, _within(key, fail), noun))
            continue
        wrong, checked[key] = _checked(hint, value)
        if wrong:
            words = map(str, get_args(plain)) if get_origin(plain) is Literal else ()
            raise fail(f"`{key}` of {kind} must be {wrong}", (key,), "", near_names(str(value), words))
    return checked


def _within(key: str, fail: Fail) -> Fail:
    return lambda what, place, mend, near: fail(what, (key, *place), mend, near)


def _checked(hint: Any, value: Any) -> tuple[str, Any]:
    """What is wrong with a value ("" when nothing is) and the value as `hint` says."""
    from pydantic import ValidationError

    option = next((one for one in get_args(hint)[1:] if isinstance(one, Option)), None) if _annotated(hint) else None
    hint = get_args(hint)[0] if _annotated(hint) else hint
    if get_origin(hint) in (tuple, list, Sequence) and not isinstance(value, list | dict | None):
        # One file where several may stand.
        value = [value]
    try:
        # As JSON: lists for tuples and texts for paths, and nothing else that is not of its type.
        found = _adapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        if isinstance(value, list) and get_origin(hint) in (tuple, list, Sequence) and place:
            value = value[int(place[0])]
        return f"{_wanted(hint)}, not {describe(value)}", None
    if option and isinstance(found, int | float) and not isinstance(found, bool):
        if option.least is not None and found < option.least:
            return f"at least {option.least:g}, not {found}", None
        if option.most is not None and found > option.most:
            return f"at most {option.most:g}, not {found}", None
    return "", found


def _annotated(hint: Any) -> bool:
    return get_origin(hint) is Annotated


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


def _wanted(hint: Any) -> str:
    """A type in the words of YAML."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_wanted(part) for part in parts))
    if origin is Literal:
        return "one of " + ", ".join(str(part) for part in parts)
    if origin is tuple and parts[1:] != (Ellipsis,):
        return f"a list of {len(parts)}"
    if origin in (tuple, list, Sequence):
        return "a list" if parts[0] is Any else f"a list, each {_wanted(parts[0])}"
    if origin in (dict, Mapping):
        return "a mapping" if parts[1] is Any else f"a mapping, each value {_wanted(parts[1])}"
    if is_dataclass(hint):
        return "a mapping"
    return "null" if hint in (None, type(None)) else _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
