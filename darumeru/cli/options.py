"""Verbs made from config classes: every option is a flag and a key of the file that --config names."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from darumeru.core.errors import UserError, near_names
from darumeru.core.options import Declared, WrongValue, declared

C = TypeVar("C")

FILES = "Files"


def command(
    app: typer.Typer, name: str, config: type[C], work: Callable[..., None], help: str, many: Many | None = None
) -> None:
    """Add a verb that makes a value of a config class and gives it to `work`, which may take more options of its own
    after it: typer's parameters. Mistakes are UserError before `work` is called. many: where one option may be said
    several times."""
    options = {one.name: one for one in declared(config)}
    more = list(inspect.signature(work, eval_str=True).parameters.values())[1:]

    def verb(context: typer.Context, **words: Any) -> None:
        typed = {key for key in words if getattr(context.get_parameter_source(key), "name", "DEFAULT") == "COMMANDLINE"}
        title = f"darumeru {name} --config FILE"
        if words["print_schema"]:
            from darumeru.core.options import schema

            typer.echo(json.dumps(schema(config, title), ensure_ascii=False, indent=2))
            return
        own = {one.name: words[one.name] for one in more}
        said = words[many.option] or [] if many else []
        several = many is not None and (len(said) > 1 or bool(own[many.file]))
        if many and several:
            typed.discard(many.option)
        elif many and said:
            [words[many.option]] = said
        given = {key: _read(options[key], words[key]) for key in options if key in typed}
        if many and several and not words["print_config"]:
            lines = [*({many.option: one} for one in said), *_listed(options, many, own[many.file])]
            many.work([_made(config, {**given, **line}, words["config_file"], "") for line in lines], **own)
            return
        made = _made(config, given, words["config_file"], title if words["print_config"] else "")
        if made is not None:
            work(made, **own)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(_option(one, several=many is not None and one.name == many.option) for one in options.values()),
        *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in more),
        *_files(),
    ]
    verb.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    verb.__annotations__ = {one.name: one.annotation for one in parameters}
    app.command(name, help=help)(verb)


@dataclass(frozen=True)
class Many:
    """An option that may be said several times, each for a config value of its own. file: the parameter of `work` that
    names a list of more. work: is given all those values, with the parameters that `work` of the verb takes too."""

    option: str
    file: str
    work: Callable[..., None]


def _listed(options: Mapping[str, Declared], many: Many, path: str | None) -> list[dict[str, Any]]:
    """The values of each line of such a file; UserError with its line for an option that is none or will not do."""
    from darumeru.runs.many import read_models

    found = []
    for line in read_models(path) if path else ():
        values: dict[str, Any] = {many.option: line.model}
        for name, text in line.options.items():
            if name not in options:
                raise UserError(f"no option `{name}`", line.where, near=near_names(name, options))
            values[name] = _read(options[name], text)
        for name, value in values.items():
            if fault := options[name].fault(value):
                raise UserError(f"{name}: {fault}", line.where)
        found.append(values)
    return found


@contextmanager
def as_flags() -> Iterator[None]:
    """Errors of config values name the flag of the command line."""
    try:
        yield
    except WrongValue as error:
        raise UserError(error.what, flag(error.name), error.mend, error.near) from error


def flag(name: str) -> str:
    """The flag of a config field."""
    return "--" + name.replace("_", "-")


def _made(config: type[C], given: Mapping[str, Any], path: str | None, title: str) -> C | None:
    """The config value of the command line, the file and the defaults. title: print it under this and return None."""
    from darumeru.core.config_file import config_text, read_config

    spoken = {one.name: one.name.upper() if one.option.by_position else flag(one.name) for one in declared(config)}
    for one in declared(config):
        if one.name in given and (fault := one.fault(given[one.name])):
            raise UserError(fault, spoken[one.name])
    file = read_config(config, path) if path else None
    values = {**(file.values if file else {}), **given}
    lacking = [one.name for one in declared(config) if one.required and one.name not in values]
    if lacking and not title:
        raise UserError("is needed", spoken[lacking[0]], "here or in the file of --config")
    try:
        made = None if lacking else config(**values)
    except WrongValue as error:
        from_file = file is not None and error.name in file.values and error.name not in given
        where = file.where(error.name) if file and from_file else spoken[error.name]
        raise UserError(error.what, where, error.mend, error.near) from error
    if title:
        typer.echo(config_text(config, values, title), nl=False)
        return None
    return made


def _files() -> Iterator[inspect.Parameter]:
    """The options that every verb of a config class has beside it."""
    config = typer.Option(
        "--config", metavar="FILE", rich_help_panel=FILES, help="YAML file of these options; the command line wins."
    )
    yield _parameter("config_file", Annotated[str | None, config], None)
    for flag, help in (
        ("--print-config", "Print such a file on stdout and exit."),
        ("--print-schema", "Print its JSON Schema for editors and exit."),
    ):
        about = typer.Option(flag, rich_help_panel=FILES, help=help)
        yield _parameter(flag[2:].replace("-", "_"), Annotated[bool, about], False)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _option(one: Declared, several: bool = False) -> inspect.Parameter:
    """A config field as typer reads it: text but for switches, since _read knows all types."""
    kind: Any = str | None
    default: Any = None if one.default is None else str(one.default)
    metavar: str | None = "TEXT"
    words = [] if one.option.by_position else [flag(one.name)]
    if bool in one.kinds:
        kind, default, metavar = bool, one.default, None
        words = words if one.option.switch else [f"{words[0]}/--no-{words[0][2:]}"]
    elif Sequence in one.kinds or several:
        kind, default = list[str] | None, list(one.default or ())
    elif Mapping in one.kinds:
        default, metavar = None, "JSON"
    elif int in one.kinds or float in one.kinds:
        metavar = "|".join([*one.choices, "N"])
    make = typer.Argument if one.option.by_position else typer.Option
    about = make(
        *words,
        help=(one.option.help + (" Required." if one.required else "")).replace("[", r"\["),
        metavar=one.name.upper() if one.option.by_position else metavar,
        rich_help_panel=one.option.panel or None,
        show_default=bool not in one.kinds,
    )
    return _parameter(one.name, Annotated[kind, about], default)


def _read(one: Declared, text: Any) -> Any:
    """What was typed as a value of the option's type; as text where it is none, which Declared.fault then names."""
    if not isinstance(text, str):
        return text
    if Mapping in one.kinds:
        return _json(text, flag(one.name))
    if int in one.kinds and re.fullmatch(r"[+-]?[0-9]{1,100}", text):
        return int(text)
    if float in one.kinds and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return float(text)
    return text


def _json(text: str, where: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"is not JSON: {reason}", where) from error
    if not isinstance(value, dict):
        raise UserError("must be a JSON object", where)
    return value
