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
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RecipeFile(YamlFile):
    """A YAML file that may name environment variables."""

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
    """Read a recipe. overrides: see `_override`. UserError with file and line for what `read_yaml` refuses."""
    read = read_yaml(path)
    file = RecipeFile(read.path, read.values, read.lines)
    for key, value in (overrides or {}).items():
        _override(file, key, value)
    return file


def _override(file: RecipeFile, key: str, text: str) -> None:
    """--set KEY=VALUE: `seed`, `score.limit`, `models.base`, `data.corpus`, or NODE.PARAMETER."""
    value = yaml_value(text, f"--set {key}={text}")
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
