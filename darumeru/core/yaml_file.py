"""A YAML file as plain values that remember their lines, read safely: one reader for tasks, recipes and `--config`."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError

Place = tuple[str | int, ...]

MOST_BYTES = 1 << 20
MOST_NODES = 100_000
"""Values in a file after its aliases are written out."""
MOST_DEPTH = 64
MOST_DIGITS = 100

_TAG = "tag:yaml.org,2002:"
# YAML 1.2 reads 1e-4 as a number, PyYAML's YAML 1.1 as text.
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


@dataclass(frozen=True)
class YamlFile:
    """path: the file. values: what it says, as plain mappings with text keys, lists, texts, numbers, booleans and None
    (a date is the text that stands there). lines: place in `values` -> line."""

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


def read_yaml(path: str | Path) -> YamlFile:
    """Read one YAML mapping. UserError with file and line for a file that cannot be read, is not a regular one, not
    UTF-8, not YAML, not a mapping, too large or too deep, and for a key that stands twice."""
    path = Path(path)
    try:
        text = yaml_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError("is not UTF-8", f"{path}:{line}") from error
    lines: dict[Place, int] = {}
    values = _parsed(text, path, lines)
    if not isinstance(values, dict):
        raise UserError(f"must be a mapping of fields, not {describe(values)}", str(path))
    return YamlFile(path, values, lines)


def yaml_bytes(path: Path) -> bytes:
    """The bytes of a regular file of a reasonable size; UserError for any other."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError("is not a regular file", str(path))
        if about.st_size > MOST_BYTES:
            raise UserError(f"holds {about.st_size} bytes; a YAML file may hold {MOST_BYTES}", str(path))
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from error


def yaml_value(text: str, where: str) -> Any:
    """A value given as YAML text, for example on the command line; UserError names `where`."""
    return _parsed(text, Path(where), {})


def describe(value: Any) -> str:
    """A value's kind in the words of YAML, for messages."""
    if value is None:
        return "empty"
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a whole number"}
    kind = kinds.get(type(value), "a number" if isinstance(value, float) else type(value).__name__)
    if isinstance(value, dict | list):
        return kind
    shown = repr(value)
    return f"{kind} ({shown if len(shown) <= 60 else shown[:57] + '...'})"


def _parsed(text: str, path: Path, lines: dict[Place, int]) -> Any:
    import yaml

    try:
        _check_extent(text, path)
        # Its constructors and its composer, on libyaml's parser where there is one.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        try:
            root = loader.get_single_node()
            return None if root is None else _Reader(loader, path, lines).value(root, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        # What is never closed is missed after the last line.
        where = f"{path}:{min(mark.line + 1, len(text.splitlines()))}" if mark else str(path)
        raise UserError(f"is not YAML: {reason}", where) from error


def _check_extent(text: str, path: Path) -> None:
    """Refuse, before anything is built, what is too deep or explodes when its aliases are written out."""
    import yaml

    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    event: Any
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        where = f"{path}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                # Either unknown, which the composer names, or a value that holds itself.
                if any(anchor == event.anchor for anchor, _ in open_nodes):
                    raise UserError(f"the alias *{event.anchor} stands inside its own value", where)
                continue
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        if len(open_nodes) > MOST_DEPTH:
            raise UserError(f"is nested deeper than {MOST_DEPTH} levels", where)
        if total > MOST_NODES:
            raise UserError(f"holds more than {MOST_NODES} values when its aliases are written out", where)


@dataclass(frozen=True)
class _Reader:
    """Nodes of a file -> plain values; `lines` is filled on the way."""

    loader: Any
    path: Path
    lines: dict[Place, int]

    def value(self, node: Any, place: Place) -> Any:
        import yaml

        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(child, (*place, number)) for number, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise self._error(f"the tag `{node.tag.removeprefix(_TAG)}` is not known here", node)

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                several = isinstance(value_node, yaml.SequenceNode)
                for one in value_node.value if several else [value_node]:
                    if not isinstance(one, yaml.MappingNode):
                        raise self._error("`<<` takes a mapping", one)
                    inherited = {**self._mapping(one, place), **inherited}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error("a key must be text", key_node)
            key = key_node.value
            if key in values:
                raise self._error(f"the key `{key}` stands twice", key_node)
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            values[key] = self.value(value_node, (*place, key))
        return {**inherited, **values}

    def _scalar(self, node: Any) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in ("int", "float") and len(node.value) > MOST_DIGITS:
            raise self._error(f"a number of {len(node.value)} digits; at most {MOST_DIGITS} are read", node)
        if kind in ("str", "timestamp"):
            plain = not node.style and kind == "str"
            is_number = plain and len(node.value) <= MOST_DIGITS and _EXPONENT.fullmatch(node.value)
            return float(node.value) if is_number else node.value
        if kind not in ("int", "float", "bool", "null"):
            raise self._error(f"the tag `{kind}` is not known here", node)
        try:
            return self.loader.construct_object(node)
        except (ValueError, KeyError) as error:
            # `!!int x`, or a number in base 60 that is none.
            raise self._error(f"{node.value!r} is not of the kind {kind}", node) from error

    def _error(self, what: str, node: Any) -> UserError:
        return UserError(what, f"{self.path}:{node.start_mark.line + 1}")
