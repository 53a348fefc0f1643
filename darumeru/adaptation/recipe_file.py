"""A recipe's YAML with environment variables and the settings of the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.yaml_file import YamlFile, describe, read_yaml, yaml_value

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
EXTENDING_KEYS = ("name", "extends", "set")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RecipeFile(YamlFile):
    """A YAML file that may name environment variables. changed: whether settings were laid over what the file says."""

    changed: bool = False

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

    def text(self) -> bytes:
        """The recipe as it counts: the file's own text, or its values with the settings laid over them."""
        if not self.changed:
            return self.path.read_bytes()
        import yaml

        return yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True).encode()

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
    """Read a recipe. overrides: see `_override`. UserError with file and line for what `read_yaml` refuses."""
    read = read_yaml(path)
    file = RecipeFile(read.path, read.values, read.lines, bool(overrides))
    if "extends" in file.values:
        file = _extended(file)
    for key, text in (overrides or {}).items():
        where = f"--set {key}={text}"
        _override(file, key, yaml_value(text, where), where)
    return file


def _extended(file: RecipeFile) -> RecipeFile:
    """The recipe that `file` extends, with `set` and `name` of `file` laid over it. Paths in it, and lines in messages
    about it, are those of the recipe that is extended."""
    file.check_keys(file.values, EXTENDING_KEYS, "a recipe that extends another")
    name, settings = file.values["extends"], file.values.get("set") or {}
    if not isinstance(name, str) or not name:
        raise file.error(f"`extends` must be a recipe, not {describe(name)}", "extends")
    if not isinstance(settings, dict):
        raise file.error(f"`set` must be a mapping of KEY: VALUE, not {describe(settings)}", "set")
    read = read_yaml(file.path.parent / name)
    if "extends" in read.values:
        raise file.error(f"{name} extends another recipe itself", "extends", mend="extend that one")
    base = RecipeFile(read.path, read.values, read.lines, True)
    base.values["name"] = file.values.get("name", file.path.stem)
    for key, value in settings.items():
        _override(base, key, value, file.where("set", key))
    return base


def _override(file: RecipeFile, key: str, value: Any, where: str) -> None:
    """KEY=VALUE: `seed`, `seeds`, `score.limit`, `race.first`, `models.base`, `data.corpus`, NODE.PARAMETER or
    NODE.matrix.AXIS."""
    head, _, rest = key.partition(".")
    if head in ("score", "race", "models", "data") and rest:
        section = file.values.setdefault(head, {})
        if isinstance(section, dict):
            section[rest] = value
        return
    if head in ("seed", "seeds", "name") and not rest:
        file.values[head] = value
        return
    steps = file.values.get("steps")
    nodes = [node for node in steps if isinstance(node, dict)] if isinstance(steps, list) else []
    names = [str(node.get("name")) for node in nodes]
    if not rest or head not in names:
        mend = "keys: seed, seeds, score.KEY, race.KEY, models.NAME, data.NAME, STEP.PARAMETER, STEP.matrix.AXIS"
        raise UserError(f"nothing is called `{head}`", where, mend, near_names(head, names))
    section, _, axis = rest.partition(".")
    section, rest = ("matrix", axis) if section == "matrix" and axis else ("with", rest)
    node = nodes[names.index(head)]
    parameters = node.setdefault(section, {})
    if isinstance(parameters, dict):
        parameters[rest] = value
