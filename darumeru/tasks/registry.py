"""The task registry: YAML files of the project and of plugins, chosen by name, group or glob."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.shipped import DATA
from darumeru.tasks.profiles import profile_named
from darumeru.tasks.spec import TaskSpec, parse_spec

EVERYTHING = "all"
BENCHMARK = "darumeru"


def tasks_folder() -> Path:
    """The folder of the project's own task definitions (`tasks/` of the repository, package data in a wheel)."""
    return DATA / "tasks"


@dataclass(frozen=True)
class TaskFile:
    """One YAML file with one task. origin: who brought it."""

    path: Path
    document: Mapping[str, Any]
    origin: str

    @property
    def name(self) -> str:
        return str(self.document["name"])


class TaskRegistry:
    """All tasks that are known, each with the given profile applied."""

    def __init__(self, files: Iterable[TaskFile], profile: str = "darumeru") -> None:
        profile_named(profile)
        self.profile = profile
        self.specs: dict[str, TaskSpec] = {}
        self.origins: dict[str, str] = {}
        for file in files:
            if file.name in self.specs:
                raise UserError(
                    f"task `{file.name}` is defined twice, by {self.origins[file.name]} and {file.origin}",
                    str(file.path),
                )
            self.specs[file.name] = parse_spec(file.document, profile, str(file.path))
            self.origins[file.name] = file.origin

    @property
    def groups(self) -> dict[str, list[str]]:
        """Group name -> task names, in the order of the registry."""
        groups: dict[str, list[str]] = {}
        for spec in self.specs.values():
            groups.setdefault(spec.group, []).append(spec.name)
        return groups

    def select(self, patterns: Sequence[str]) -> list[TaskSpec]:
        """The tasks that the patterns name: a task, its last name part, a group, a glob, "darumeru" (the 17 of the
        leaderboard) or "all". Raises UserError with the nearest names for a pattern that names nothing."""
        chosen: dict[str, TaskSpec] = {}
        for pattern in patterns:
            names = self._matching(pattern)
            if not names:
                known = [*self.specs, *self.groups, BENCHMARK, EVERYTHING]
                raise UserError(
                    f"unknown task or group `{pattern}`",
                    near=near_names(pattern, known),
                    mend="see `darumeru tasks list`",
                )
            chosen.update({name: self.specs[name] for name in names})
        return list(chosen.values())

    def _matching(self, pattern: str) -> list[str]:
        if pattern == EVERYTHING:
            return list(self.specs)
        if pattern == BENCHMARK:
            return [name for name, spec in self.specs.items() if spec.leaderboard and spec.group in LEADERBOARD_GROUPS]
        if pattern in self.specs:
            return [pattern]
        by_group = {group.casefold(): names for group, names in self.groups.items()}
        if pattern.casefold() in by_group:
            leading = [name for name in by_group[pattern.casefold()] if self.specs[name].leaderboard]
            return leading or by_group[pattern.casefold()]
        if any(mark in pattern for mark in "*?["):
            return [name for name in self.specs if fnmatch.fnmatchcase(name, pattern)]
        return [name for name in self.specs if name.rsplit("/", 1)[-1] == pattern][:1] if "/" not in pattern else []


LEADERBOARD_GROUPS = ("DaruMMLU", "DaruMERA", "DaruSum", "DaruCopy-EN", "DaruCopy-RU")


def load_registry(profile: str = "darumeru", include: Sequence[str] = ()) -> TaskRegistry:
    """The project's tasks, those of plugins (entry points "darumeru.tasks": a folder or a callable that returns
    one), and those of the folders or files in `include`."""
    files = list(_folder_files(tasks_folder(), "darumeru"))
    files.sort(key=lambda file: _order(file))
    for entry in entry_points(group="darumeru.tasks"):
        target = entry.load()
        folder = Path(target() if callable(target) else target)
        files += _folder_files(folder, entry.dist.name if entry.dist else entry.name)
    for place in include:
        path = Path(place).expanduser()
        if not path.exists():
            raise UserError("no such task file or folder", place)
        found = sorted(path.glob("**/*.yaml")) if path.is_dir() else [path]
        files += [read_task_file(one, place) for one in found if not is_lm_eval_file(one)]
    return TaskRegistry(files, profile)


def _order(file: TaskFile) -> tuple[int, str]:
    group = str(file.document.get("group"))
    place = LEADERBOARD_GROUPS.index(group) if group in LEADERBOARD_GROUPS else len(LEADERBOARD_GROUPS)
    return (place, file.name)


def _folder_files(folder: Path, origin: str) -> Iterable[TaskFile]:
    if not folder.is_dir():
        raise UserError("no such task folder", str(folder))
    for path in sorted(folder.glob("**/*.yaml")):
        if "lm_eval" not in path.relative_to(folder).parts:
            yield read_task_file(path, origin)


LM_EVAL_FIELDS = frozenset({"task", "include", "output_type", "dataset_path"})


def is_lm_eval_file(path: Path) -> bool:
    """Whether a YAML file is written for lm-eval: it has lm-eval's fields and no `name`."""
    fields = _top_fields(path)
    return "name" not in fields and bool(fields & LM_EVAL_FIELDS)


def _top_fields(path: Path) -> set[str]:
    """Field names of a YAML file, as far as it can be read; values, and tags such as `!function`, are not looked at."""
    import yaml

    fields: set[str] = set()
    depth = nodes = 0
    try:
        for event in yaml.parse(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif not isinstance(event, yaml.NodeEvent):
                continue
            if depth == 1:
                # Keys and values of the outer mapping take turns.
                if nodes % 2 == 0:
                    fields.add(str(getattr(event, "value", "")))
                nodes += 1
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return fields
    return fields


def read_task_file(path: Path, origin: str = "") -> TaskFile:
    """One YAML file; UserError names file and line when it is not YAML or has no name."""
    import yaml

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"is not YAML: {getattr(error, 'problem', error)}", f"{path}{line}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", str(path)) from error
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise UserError("field `name` is missing", str(path))
    return TaskFile(path, document, origin or str(path))
