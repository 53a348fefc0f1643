"""How an option is declared: once, in the definition of the config field that holds it."""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, ParamSpec, TypeVar, get_args, get_origin

from darumeru.core.errors import UserError

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

MOST = 2**63 - 1
"""Of every number that has no other limit."""
SHOWN = 60


class Effect(StrEnum):
    """What happens when an option differs from what a run folder holds (docs/architecture.md, "One identity").

    ANSWERS: samples are asked again. SCORES: stored answers are scored again. NOTHING: free to change at any time.
    """

    ANSWERS = "answers"
    SCORES = "scores"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Option:
    """The metadata of a config field: `seed: Annotated[int, Option("Of the bootstrap.", Effect.SCORES, least=0)] = 0`.

    help: one sentence for the command line, schemas and docs. effect: see Effect. material: the option names a folder,
    file, Hub id or address, whose content counts and never its name. panel: heading in the help of a command. least,
    most: range of a number. by_position: on the command line it stands without a flag. switch: it can only be turned on
    there.
    """

    help: str
    effect: Effect
    material: bool = False
    panel: str = ""
    least: float | None = None
    most: float | None = None
    by_position: bool = False
    switch: bool = False


@dataclass(frozen=True)
class Declared:
    """A config field with its option. hint: the type without the metadata."""

    name: str
    hint: Any
    option: Option
    field: Field[Any]

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that a value may have: `int | None` is (int, NoneType), `Sequence[str]` is (Sequence,)."""
        united = get_origin(self.hint) in (typing.Union, types.UnionType)
        return tuple(
            kind if get_origin(kind) in (None, typing.Literal) else get_origin(kind)
            for kind in (get_args(self.hint) if united else (self.hint,))
        )

    @property
    def choices(self) -> tuple[str, ...]:
        """The words of its Literal, if it has one."""
        return tuple(word for kind in self.kinds if get_origin(kind) is typing.Literal for word in get_args(kind))

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def default(self) -> Any:
        """Its value where nothing is said; None for a required one."""
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        return None if self.required else self.field.default

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        number = " of " + " and ".join(self._limits()) if self._limits() else ""
        words = {
            int: f"a whole number{number}",
            float: f"a number{number}",
            str: "text",
            bool: "true or false",
            Sequence: "a list of texts",
            Mapping: "a JSON object",
        }
        return " or ".join([*self.choices, *(words[kind] for kind in self.kinds if kind in words)])

    def _limits(self) -> list[str]:
        least, most = self.option.least, self.option.most
        return [f"{limit} or {word}" for limit, word in ((least, "more"), (most, "less")) if limit is not None]

    def fault(self, value: Any) -> str:
        """What is wrong with a value, "" where nothing is."""
        from pydantic import ValidationError

        try:
            _adapter(self).validate_python(value)
        except ValidationError:
            # Of arguments no value is shown: it may be a key.
            return f"must be {self.allowed}" + ("" if Mapping in self.kinds else f", not {_shown(value)}")
        texts = (value,) if isinstance(value, str) else value if isinstance(value, Sequence) else ()
        if fault := next(filter(None, map(_fault_of_text, texts)), ""):
            return fault
        if value == "" and Sequence not in self.kinds:
            return "must not be empty"
        if isinstance(value, Mapping):
            return _fault_of_mapping(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.option.least is not None and value < self.option.least:
                return f"must be {self.option.least} or more, not {_shown(value)}"
            most = MOST if self.option.most is None else self.option.most
            if value > most:
                return f"must be {most} or less, not {_shown(value)}"
        return ""


def _fault_of_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"is not Unicode text: {_shown(text)}"
    return f"holds a zero byte: {_shown(text)}" if "\0" in text else ""


def _fault_of_mapping(value: Mapping[str, Any]) -> str:
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(":")[0]
        return f"cannot be written as JSON: {reason}"
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


@cache
def _adapter(one: Declared) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(one.hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def declared(config: type[Any]) -> tuple[Declared, ...]:
    """The options of a config class in the order of its fields; a field without an Option is none."""
    of_class: Any = config
    return _declared(of_class)


@cache
def _declared(config: Any) -> tuple[Declared, ...]:
    hints = typing.get_type_hints(config, include_extras=True)
    found = []
    for field in fields(config):
        hint = hints[field.name]
        extras = get_args(hint)[1:] if get_origin(hint) is typing.Annotated else ()
        option = next((extra for extra in extras if isinstance(extra, Option)), None)
        if option is not None:
            found.append(Declared(field.name, get_args(hint)[0], option, field))
    return tuple(found)


class WrongValue(UserError):
    """A config field with a value that it cannot have. name: the field."""

    def __init__(self, name: str, what: str, mend: str = "", near: Sequence[str] = ()) -> None:
        self.name = name
        super().__init__(what, name, mend, near)


def check(config: Any) -> None:
    """Check every option of a config value; WrongValue for the first of a wrong type or out of its range. Paths become
    text."""
    for one in declared(type(config)):
        value = getattr(config, one.name)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
            object.__setattr__(config, one.name, value)
        if wrong := one.fault(value):
            raise WrongValue(one.name, wrong)


def schema(config: type[Any], title: str) -> dict[str, Any]:
    """The JSON Schema of files that hold these options; none is required, since the command line may give it."""
    properties = {}
    for one in declared(config):
        about = _adapter(one).json_schema() | {"description": one.option.help}
        limits = {"minimum": one.option.least, "maximum": one.option.most}
        about |= {key: limit for key, limit in limits.items() if limit is not None}
        properties[one.name] = about if one.required else about | {"default": to_plain(one.default)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def plain(config: Any) -> dict[str, Any]:
    """The options of a config value as plain JSON, by field name."""
    return {one.name: to_plain(getattr(config, one.name)) for one in declared(type(config))}


def of_effect(config: Any, effect: Effect) -> Iterator[tuple[str, Any]]:
    """Name and plain value of the options of one kind, those that name material left out."""
    for one in declared(type(config)):
        if one.option.effect is effect and not one.option.material:
            yield one.name, to_plain(getattr(config, one.name))


def to_plain(value: Any) -> Any:
    """A value of an option as plain JSON: lists for tuples, text for what JSON has not."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def takes(config: Callable[P, C]) -> Callable[[Callable[[C], R]], Callable[P, R]]:
    """Make a function of one config value a function of its fields: editors and mypy know every argument."""

    def of_fields(work: Callable[[C], R]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return work(config(*args, **kwargs))

        call.__name__, call.__qualname__, call.__doc__ = work.__name__, work.__qualname__, work.__doc__
        call.__module__, call.__wrapped__ = work.__module__, config  # type: ignore[attr-defined]
        return call

    return of_fields
