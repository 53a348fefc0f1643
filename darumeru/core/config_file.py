"""Options in a YAML file: read with file and line of every mistake, written with a sentence above each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import near_names
from darumeru.core.options import Declared, declared, to_plain
from darumeru.core.secrets import without_secrets
from darumeru.core.yaml_file import YamlFile, read_yaml

_WORD = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
_NO_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


@dataclass(frozen=True)
class ConfigFile:
    """values: option -> value, each of its type and in its range."""

    file: YamlFile
    values: dict[str, Any]

    def where(self, name: str) -> str:
        """File, line and field."""
        return f"{self.file.where(name)}: {name}"


def read_config(config: type[Any], path: str | Path) -> ConfigFile:
    """Read options of a config class. UserError with file, line and field for an unknown key and a value that will not
    do."""
    read = ConfigFile(file := read_yaml(path), file.values)
    known = {one.name: one for one in declared(config)}
    for name, value in file.values.items():
        if name not in known:
            raise file.error(f"no option `{name}`", name, near=near_names(name, known))
        if fault := known[name].fault(value):
            raise file.error(f"{name}: {fault}", name)
    return read


def config_text(config: type[Any], values: Mapping[str, Any], title: str) -> str:
    """The options as YAML that read_config reads back to the same ones; those without a value are defaults, required
    ones a comment. Keys and passwords are left out."""
    lines = [f"# {title}", ""]
    for one in declared(config):
        lines += [*_lines(one, values), ""]
    return "\n".join(lines)


def _lines(one: Declared, values: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {one.option.help}"
    if one.required and one.name not in values:
        yield f"# {one.name}:"
        return
    value, left_out = without_secrets(to_plain(values.get(one.name, one.default)))
    if left_out:
        hidden = ", ".join(f"{name}: ***" for name in left_out)
        yield f"# Not written here: {hidden}. Keys are given through the environment, for example OPENAI_API_KEY."
    yield f"{one.name}: {_flow(value)}"


def _flow(value: Any) -> str:
    """A value on one line. JSON would do, but for its escapes of characters beyond 16 bits, which YAML has not."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(name)}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _WORD.fullmatch(value) and value.lower() not in _NO_TEXT:
        return value
    import yaml

    quoted: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.rstrip("\n")
