"""All names that lm-eval knows, from its YAML files, without importing it; the index of its own files is cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.lm_eval_bridge.versions import require_lm_eval, tasks_root
from darumeru.tasks.registry import is_lm_eval_file

SCHEMA = 3
IGNORED = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Name:
    """One name. kind: "task", "python" (a class), "group" or "tag". path: of its YAML file, None for a tag.
    members: names that a group or tag holds, as far as its own file says. unsafe: it runs generated code."""

    name: str
    kind: str
    path: str | None
    output_type: str = ""
    dataset: str = ""
    subset: str = ""
    members: tuple[str, ...] = ()
    unsafe: bool = False


@dataclass
class Catalogue:
    """names: by name. broken: "file:line" -> why that file cannot be read (lm-eval drops such files silently)."""

    names: dict[str, Name] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def own_catalogue() -> Catalogue:
    """lm-eval's own tasks; read once for each version of lm-eval, then from the user's cache folder."""
    version, root = require_lm_eval(), tasks_root()
    key = [SCHEMA, version, str(root), root.stat().st_mtime_ns]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = cache_folder() / f"lm-eval-{version}-{digest}.json"
    found = _read_cache(path)
    if found is None:
        found = read_folder(root)
        _write_cache(path, found)
    return found


def cache_folder() -> Path:
    """darumeru's folder in the user's cache folder ($XDG_CACHE_HOME or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "darumeru"


def _read_cache(path: Path) -> Catalogue | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        names = [_from_cache(*values) for values in document["names"]]
        return Catalogue({name.name: name for name in names}, dict(document["broken"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _from_cache(
    name: str, kind: str, path: str | None, output: str, dataset: str, subset: str, members: list[str], unsafe: bool
) -> Name:
    return Name(name, kind, path, output, dataset, subset, tuple(members), unsafe)


def _write_cache(path: Path, found: Catalogue) -> None:
    from darumeru.core.files import write_atomically

    document = {"names": [astuple(name) for name in found.names.values()], "broken": found.broken}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, ensure_ascii=False))
    except OSError:
        return  # A cache folder that cannot be written costs time, nothing else.


def read_folder(root: Path, keep: Callable[[Path], bool] = lambda path: True) -> Catalogue:
    """The names that the YAML files below `root` define, by lm-eval's own rules: files in order of their path, and the
    first file of a name counts. keep: which files are read."""
    found = Catalogue()
    tags: dict[str, list[str]] = {}
    reader = YamlReader()
    for path in filter(keep, yaml_files(root)):
        try:
            name = _named(reader.read(path), path)
        except BrokenYaml as error:
            found.broken[error.where] = error.reason
            continue
        if name is None or name[0].name in found.names:
            continue
        found.names[name[0].name] = name[0]
        for tag in name[1]:
            known = found.names.setdefault(tag, Name(tag, "tag", None))
            if known.kind == "tag":
                tags.setdefault(tag, []).append(name[0].name)
    for tag, members in tags.items():
        found.names[tag] = Name(tag, "tag", None, members=tuple(sorted(members)))
    return found


def yaml_files(root: Path) -> list[Path]:
    """All YAML files below a folder, in the order in which lm-eval reads them."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in IGNORED]
        found += [Path(folder, name) for name in files if name.endswith(".yaml")]
    return sorted(found, key=lambda path: path.as_posix())


def _named(config: Mapping[str, Any], path: Path) -> tuple[Name, Sequence[str]] | None:
    """The name that a file defines, with the tags of a task; None for a file that only others include."""
    is_group = "group" in config and "class" not in config
    name = config.get("group") if is_group else config.get("task")
    if not isinstance(name, str):
        return None
    if is_group:
        return Name(name, "group", str(path), members=tuple(_members(config.get("task")))), ()
    tags = config.get("tag") or []
    kind = "python" if "class" in config else "task"
    output = str(config.get("output_type", "generate_until" if kind == "task" else ""))
    dataset, subset = (str(config.get(f"dataset_{part}") or "") for part in ("path", "name"))
    made = Name(name, kind, str(path), output, dataset, subset, unsafe=bool(config.get("unsafe_code")))
    return made, [tags] if isinstance(tags, str) else [str(tag) for tag in tags]


def _members(listed: Any) -> Iterator[str]:
    for member in listed if isinstance(listed, list) else ():
        if isinstance(member, str):
            yield member
        elif isinstance(member, Mapping):
            held = member.get("task")
            if isinstance(held, str):
                yield held
            elif isinstance(held, list):
                yield from _members(held)
            elif isinstance(member.get("group"), str):
                yield str(member["group"])


class BrokenYaml(Exception):
    """where: "file:line"; reason: why it cannot be read."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}")


class YamlReader:
    """Reads lm-eval's YAML with its `include:` lines; included files are read once. `!function` values stay text."""

    def __init__(self) -> None:
        import yaml

        base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        loader: Any = type("Loader", (base,), {})
        self.loader = loader
        loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
        self._included: dict[Path, Mapping[str, Any]] = {}

    def read(self, path: Path, above: tuple[Path, ...] = ()) -> Mapping[str, Any]:
        """The file's fields over those of the files that it includes. BrokenYaml names file and line."""
        own = self._parsed(path)
        includes = own.pop("include", None)
        merged: dict[str, Any] = {}
        for include in [includes] if isinstance(includes, str) else includes or ():
            place = Path(os.path.normpath(path.parent / str(include)))
            if place in above or place == path:
                raise BrokenYaml(f"{path}:{_line(path, 'include')}", f"includes itself through {include}")
            if place not in self._included:
                if not place.is_file():
                    raise BrokenYaml(f"{path}:{_line(path, 'include')}", f"includes {include}, which does not exist")
                self._included[place] = self.read(place, (*above, path))
            merged |= {key: value for key, value in self._included[place].items() if key != "task_list"}
        return merged | own

    def _parsed(self, path: Path) -> dict[str, Any]:
        import yaml

        try:
            document = yaml.load(path.read_bytes(), Loader=self.loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            # What is missing at the end of a file is reported behind its last line.
            last = len(path.read_bytes().splitlines())
            raise BrokenYaml(f"{path}:{min(mark.line + 1, last) if mark else 1}", f"is not YAML: {problem}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenYaml(f"{path}:1", f"cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise BrokenYaml(f"{path}:1", "is not a mapping of fields")
        return document


def _line(path: Path, key: str) -> int:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if line.startswith(f"{key}:")), 1)


def catalogue(include: Sequence[str] = ()) -> Catalogue:
    """lm-eval's own names, overridden by those of lm-eval's YAML files in `include` (files and folders).

    UserError for a file of the user's that is broken, naming file and line.
    """
    found = own_catalogue()
    for place in include:
        path = Path(place).expanduser().resolve()
        if path.is_dir():
            own = read_folder(path, is_lm_eval_file)
        elif not is_lm_eval_file(path):
            continue
        else:
            try:
                named = _named(YamlReader().read(path), path)
            except BrokenYaml as error:
                raise UserError(error.reason, error.where) from error
            own = Catalogue({named[0].name: named[0]} if named else {})
        for where, reason in own.broken.items():
            raise UserError(reason, where)
        found.names.update(own.names)
    return found
