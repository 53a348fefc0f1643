"""How an option is declared: once, in the definition of the config field that holds it."""

from __future__ import annotations

import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import Field, dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, ParamSpec, TypeVar, get_args, get_origin

from darumeru.core.errors import UserError

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")


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
    most: range of a number. flag: name on the command line where it is not the field's.
    """

    help: str
    effect: Effect
    material: bool = False
    panel: str = ""
    least: float | None = None
    most: float | None = None
    flag: str = ""


@dataclass(frozen=True)
class Declared:
    """A config field with its option. hint: the type without the metadata."""

    name: str
    hint: Any
    option: Option
    field: Field[Any]


@cache
def declared(config: Hashable) -> tuple[Declared, ...]:
    """The options of a config class in the order of its fields; a field without an Option is none."""
    of_class: Any = config
    hints = typing.get_type_hints(of_class, include_extras=True)
    found = []
    for field in fields(of_class):
        hint = hints[field.name]
        extras = get_args(hint)[1:] if get_origin(hint) is typing.Annotated else ()
        option = next((extra for extra in extras if isinstance(extra, Option)), None)
        if option is not None:
            found.append(Declared(field.name, get_args(hint)[0], option, field))
    return tuple(found)


class WrongValue(UserError):
    """A config field with a value that it cannot have. name: the field."""

    def __init__(self, name: str, what: str, mend: str = "", near: tuple[str, ...] = ()) -> None:
        self.name = name
        super().__init__(what, name, mend, near)


def check(config: Any) -> None:
    """Check every option of a config value; WrongValue for the first of a wrong type or out of its range."""
    for one in declared(type(config)):
        value = getattr(config, one.name)
        wrong = _wrong(value, one)
        if wrong:
            raise WrongValue(one.name, wrong)


def _wrong(value: Any, one: Declared) -> str:
    from pydantic import ValidationError

    try:
        _adapter(one).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{value!r} will not do: {first['msg'][0].lower()}{first['msg'][1:]}"
    numbers = isinstance(value, int | float) and not isinstance(value, bool)
    if numbers and one.option.least is not None and value < one.option.least:
        return f"must be at least {one.option.least:g}, not {value}"
    if numbers and one.option.most is not None and value > one.option.most:
        return f"must be at most {one.option.most:g}, not {value}"
    return ""


@cache
def _adapter(one: Declared) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(one.hint, config=ConfigDict(strict=True))


def plain(config: Any) -> dict[str, Any]:
    """The options of a config value as plain JSON, by field name."""
    return {one.name: _plain(getattr(config, one.name)) for one in declared(type(config))}


def of_effect(config: Any, effect: Effect) -> Iterator[tuple[str, Any]]:
    """Name and plain value of the options of one kind, those that name material left out."""
    for one in declared(type(config)):
        if one.option.effect is effect and not one.option.material:
            yield one.name, _plain(getattr(config, one.name))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
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
