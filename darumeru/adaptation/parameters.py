"""Values of a recipe checked against the annotations of a dataclass."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from darumeru.adaptation.recipe_file import describe
from darumeru.core.errors import UserError, near_names


class WrongType(Exception):
    """What a value is not: "a whole number"."""


Fail = Callable[[str, str, str, Sequence[str]], UserError]
"""Makes the error for (what, key, mend, near names)."""


def check_parameters(kind: str, schema: type, values: Mapping[str, Any], fail: Fail) -> dict[str, Any]:
    """`values` as `schema`, a dataclass, wants them: lists become tuples, whole numbers floats, texts paths.

    kind: what `schema` is called in messages. Errors are raised through `fail`: unknown names, wrong types, fields
    without a default that are missing.
    """
    hints = typing.get_type_hints(schema)
    known = {field.name: field for field in fields(schema) if field.init}
    for key in values:
        if key not in known:
            near = near_names(key, known)
            mend = "" if near else f"known: {', '.join(known) or 'none'}"
            raise fail(f"{kind} has no parameter `{key}`", key, mend, near)
    for name, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and name not in values:
            raise fail(f"{kind} needs `{name}`", "", f"add `{name}: ...`", ())
    checked = {}
    for key, value in values.items():
        try:
            checked[key] = converted(value, hints[key])
        except WrongType as error:
            raise fail(f"`{key}` of {kind} must be {error}, not {describe(value)}", key, "", ()) from error
    return checked


def converted(value: Any, hint: Any) -> Any:
    """`value` as the annotation `hint` says; WrongType names what is wanted."""
    if hint is Any:
        return value
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _any_of(value, get_args(hint))
    if origin is Literal:
        if value in get_args(hint) and type(value) in {type(one) for one in get_args(hint)}:
            return value
        raise WrongType("one of " + ", ".join(str(one) for one in get_args(hint)))
    if origin in (tuple, list, Sequence):
        return _sequence(value, origin, get_args(hint))
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise WrongType("a mapping")
        return {key: converted(one, get_args(hint)[1]) for key, one in value.items()}
    return _scalar(value, hint)


def _any_of(value: Any, hints: Sequence[Any]) -> Any:
    wanted = []
    for hint in hints:
        try:
            return converted(value, hint)
        except WrongType as error:
            wanted.append(str(error))
    raise WrongType(" or ".join(dict.fromkeys(wanted)))


def _sequence(value: Any, origin: Any, hints: Sequence[Any]) -> Any:
    if origin is tuple and not (len(hints) == 2 and hints[1] is Ellipsis):
        if not isinstance(value, list) or len(value) != len(hints):
            raise WrongType(f"a list of {len(hints)}")
        return tuple(converted(one, hint) for one, hint in zip(value, hints, strict=True))
    hint = hints[0] if hints else Any
    if not isinstance(value, list):
        # One file where several may stand.
        value = [value]
    try:
        items = [converted(one, hint) for one in value]
    except WrongType as error:
        raise WrongType(f"a list, each {error}") from error
    return items if origin is list else tuple(items)


def _scalar(value: Any, hint: Any) -> Any:
    if hint in (None, type(None)):
        if value is None:
            return None
        raise WrongType("null")
    if hint is float:
        # YAML 1.1 reads 1e-4 as text.
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                raise WrongType("a number") from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise WrongType("a number")
    if hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise WrongType("a whole number")
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise WrongType("true or false")
    if hint in (str, Path):
        if isinstance(value, str):
            return hint(value)
        raise WrongType("text")
    if isinstance(hint, type) and not isinstance(value, hint):
        raise WrongType(hint.__name__)
    return value
