"""A YAML file as plain values that remember their lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names

Place = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RecipeFile:
    """path: the file. values: what it says, as plain mappings, lists and scalars. lines: place in `values` -> line."""

    path: Path
    values: dict[str, Any]
    lines: Mapping[Place, int]

    def where(self, *place: str | int) -> str:
        """`file:line` of a value, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"

    def error(self, what: str, *place: str | int, mend: str = "", near: Iterable[str] = ()) -> UserError:
        """A UserError that names the file and the line."""
        return UserError(what, self.where(*place), mend, near)

    def check_keys(self, values: Any, known: Iterable[str], kind: str, *place: str | int) -> None:
        """UserError unless `values` is a mapping with none but the `known` keys."""
        known = list(known)
        if not isinstance(values, dict):
            raise self.error(f"{kind} must be a mapping, not {describe(values)}", *place)
        for key in values:
            if key not in known:
                mend = f"known: {', '.join(known)}"
                near = near_names(str(key), known)
                raise self.error(f"unknown key `{key}` in {kind}", *place, key, mend="" if near else mend, near=near)

    def filled(self, text: str, *place: str | int) -> str:
        """`text` with each ${NAME} replaced by that environment variable."""

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if not _PLAIN_NAME.fullmatch(name):
                raise self.error(f"`${{{name}}}` is not a plain variable name", *place, mend="write ${NAME}")
            if name not in os.environ:
                raise self.error(f"the environment variable {name} is not set", *place, mend=f"{name}=... darumeru ...")
            return os.environ[name]

        return _VARIABLE.sub(value, text)


def read_recipe_file(path: Path, overrides: Mapping[str, str] | None = None) -> RecipeFile:
    """Read YAML with the safe loader. overrides: see `_override`. UserError with file and line: cannot be read, not
    YAML, a key that stands twice, not a mapping."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"the recipe cannot be read: {reason}", str(path)) from error
    loader = yaml.SafeLoader(text)
    lines: dict[Place, int] = {}
    try:
        root = loader.get_single_node()
        values = None if root is None else _plain(loader, root, path, (), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"not YAML: {getattr(error, 'problem', None) or error}", where) from error
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        raise UserError(f"a recipe must be a mapping, not {describe(values)}", str(path))
    file = RecipeFile(path, values, lines)
    for key, value in (overrides or {}).items():
        _override(file, key, value)
    return file


def _plain(loader: Any, node: Any, path: Path, place: Place, lines: dict[Place, int]) -> Any:
    import yaml

    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                key = str(key)
            if key in values:
                raise UserError(f"the key `{key}` stands twice", f"{path}:{line}")
            lines[(*place, key)] = line
            values[key] = _plain(loader, value_node, path, (*place, key), lines)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, child, path, (*place, i), lines) for i, child in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def _override(file: RecipeFile, key: str, text: str) -> None:
    """--set KEY=VALUE: `seed`, `score.limit`, `models.base`, `data.corpus`, or NODE.PARAMETER."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError("the value is not YAML", f"--set {key}={text}") from error
    head, _, rest = key.partition(".")
    if head in ("score", "models", "data") and rest:
        section = file.values.setdefault(head, {})
        if isinstance(section, dict):
            section[rest] = value
        return
    if head in ("seed", "name") and not rest:
        file.values[head] = value
        return
    steps = file.values.get("steps")
    nodes = [node for node in steps if isinstance(node, dict)] if isinstance(steps, list) else []
    names = [str(node.get("name")) for node in nodes]
    if not rest or head not in names:
        mend = "keys: seed, score.KEY, models.NAME, data.NAME, STEP.PARAMETER"
        raise UserError(f"nothing is called `{head}`", f"--set {key}={text}", mend, near_names(head, names))
    node = nodes[names.index(head)]
    parameters = node.setdefault("with", {})
    if isinstance(parameters, dict):
        parameters[rest] = value


def describe(value: Any) -> str:
    """A value's kind in the words of YAML, for messages."""
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a whole number"}
    if value is None:
        return "empty"
    kind = kinds.get(type(value), "a number" if isinstance(value, float) else type(value).__name__)
    return kind if isinstance(value, dict | list) else f"{kind} ({value!r})"
