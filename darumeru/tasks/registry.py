"""The task registry: YAML files of the project and of plugins, chosen by name, group or glob."""

from __future__ import annotations

import fnmatch
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names
from darumeru.core.registry import OWN, PluginWarning, Registry
from darumeru.core.yaml_file import YamlFile, read_yaml, yaml_bytes
from darumeru.tasks.formats import check_format
from darumeru.tasks.profiles import profile_named
from darumeru.tasks.published import with_published_texts
from darumeru.tasks.rubrics import FOLDER as RUBRICS
from darumeru.tasks.rubrics import check_rubric
from darumeru.tasks.spec import TaskSpec, parse_spec
from darumeru.tasks.suites import FOLDER as SUITES
from darumeru.tasks.suites import PREFIX, Suite, read_suites

EVERYTHING = "all"
BENCHMARK = "darumeru"


@dataclass(frozen=True)
class TaskFile:
    """One YAML file with one task. origin: who brought it."""

    file: YamlFile
    origin: str

    @property
    def name(self) -> str:
        return str(self.file.values["name"])


class TaskRegistry:
    """All tasks that are known, each with the given profile applied."""

    def __init__(
        self, files: Iterable[TaskFile], profile: str = "darumeru", suites: Mapping[str, Suite] | None = None
    ) -> None:
        profile_named(profile)
        self.suites = dict(suites or {})
        self.profile = profile
        self.specs: dict[str, TaskSpec] = {}
        self.origins: dict[str, str] = {}
        self.files: dict[str, YamlFile] = {}
        for one in files:
            if one.name in self.specs:
                what = f"task `{one.name}` is defined twice, by {self.origins[one.name]} and {one.origin}"
                raise one.file.error(what, "name")
            self.specs[one.name] = with_published_texts(parse_spec(one.file, profile))
            self.origins[one.name] = one.origin
            self.files[one.name] = one.file

    @property
    def groups(self) -> dict[str, list[str]]:
        """Group name -> task names, in the order of the registry."""
        groups: dict[str, list[str]] = {}
        for spec in self.specs.values():
            groups.setdefault(spec.group, []).append(spec.name)
        return groups

    def select(self, patterns: Sequence[str]) -> list[TaskSpec]:
        """The tasks that the patterns name: a task, its last name part, a group, a glob, "darumeru" (the 17 of the
        leaderboard), "all" or "suite:NAME" (a published configuration, tasks with its settings). Raises UserError with
        the nearest names for a pattern that names nothing."""
        chosen: dict[str, TaskSpec] = {}
        for pattern in patterns:
            if suite := self.suites.get(pattern.removeprefix(PREFIX)) if pattern.startswith(PREFIX) else None:
                chosen |= {spec.name: spec for spec in suite.specs(self.specs, self.profile)}
                continue
            names = self._matching(pattern)
            if not names:
                known = [*self.specs, *self.groups, BENCHMARK, EVERYTHING, *(f"{PREFIX}{name}" for name in self.suites)]
                raise UserError(
                    f"unknown task or group `{pattern}`",
                    near=near_names(pattern, known),
                    mend="see `darumeru tasks list`",
                )
            for name in names:
                check_format(self.specs[name], self.files[name], self.profile)
                check_rubric(self.specs[name], self.files[name], self.profile)
                chosen[name] = self.specs[name]
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
            return self._leading(by_group[pattern.casefold()])
        if any(mark in pattern for mark in "*?["):
            grouped = [names for group, names in by_group.items() if fnmatch.fnmatchcase(group, pattern.casefold())]
            found = {name for names in grouped for name in self._leading(names)}
            return [name for name in self.specs if name in found or fnmatch.fnmatchcase(name, pattern)]
        return [name for name in self.specs if name.rsplit("/", 1)[-1] == pattern][:1] if "/" not in pattern else []

    def _leading(self, names: Sequence[str]) -> list[str]:
        """A group's tasks on the leaderboard, or all where it has none."""
        return [name for name in names if self.specs[name].leaderboard] or list(names)


LEADERBOARD_GROUPS = ("DaruMMLU", "DaruMERA", "DaruSum", "DaruCopy-EN", "DaruCopy-RU")


def load_registry(profile: str = "darumeru", include: Sequence[str] = ()) -> TaskRegistry:
    """The project's tasks, those of plugins (entry points "darumeru.tasks": a folder or a callable that returns
    one), and those of the folders or files in `include`. A plugin that cannot be used is a PluginWarning."""
    files: list[TaskFile] = []
    suites: dict[str, Suite] = {}
    folders = folder_registry()
    for name, folder in folders.available().items():
        origin = folders.origin(name)
        if origin == OWN:
            suites |= read_suites(_located(folder))
            files += sorted(_folder_files(_located(folder), origin), key=_order)
        else:
            files += _plugin_files(name, _located(folder), origin, profile)
    for place in include:
        path = Path(place).expanduser()
        if not path.exists():
            raise UserError("no such task file or folder", place)
        found = sorted(path.glob("**/*.yaml")) if path.is_dir() else [path]
        files += [read_task_file(one, place) for one in found if not is_lm_eval_file(one)]
    return TaskRegistry(files, profile, suites)


Folder = str | os.PathLike[str] | Callable[[], str | os.PathLike[str]]


@cache
def folder_registry() -> Registry[Folder]:
    """Folders of task files by name: the project's own and those of plugins."""
    return Registry("darumeru.tasks", "task folder", {OWN: "darumeru.core.shipped:tasks_folder"}, _problem)


def _problem(name: str, folder: Any) -> str:
    try:
        place = folder() if callable(folder) else folder
    except Exception as error:  # whatever a stranger's function raises must not stop the others
        return f"{type(error).__name__}: {error}"
    if not isinstance(place, str | os.PathLike):
        return f"is a {type(place).__name__}, not a folder of task files or a function that returns one"
    return "" if Path(place).is_dir() else f"no such folder: {place}"


def _located(folder: Folder) -> Path:
    return Path(folder() if callable(folder) else folder)


def _plugin_files(name: str, folder: Path, origin: str, profile: str) -> Iterator[TaskFile]:
    """A plugin's task files; each that is wrong is a warning and left out."""
    for path in _task_paths(folder):
        try:
            one = read_task_file(path, origin)
            parse_spec(one.file, profile)
        except UserError as error:
            message = f"a task of `{name}` of {origin} is left out: {error.line()}"
            warnings.warn(message, PluginWarning, stacklevel=2)
        else:
            yield one


def _order(one: TaskFile) -> tuple[int, str]:
    group = str(one.file.values.get("group"))
    place = LEADERBOARD_GROUPS.index(group) if group in LEADERBOARD_GROUPS else len(LEADERBOARD_GROUPS)
    return (place, one.name)


def _folder_files(folder: Path, origin: str) -> Iterator[TaskFile]:
    for path in _task_paths(folder):
        yield read_task_file(path, origin)


def _task_paths(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("**/*.yaml")):
        if not {"lm_eval", RUBRICS, SUITES} & set(path.relative_to(folder).parts):
            yield path


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
        for event in yaml.parse(yaml_bytes(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
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
    except (yaml.YAMLError, UserError):
        return fields
    return fields


def read_task_file(path: Path, origin: str = "") -> TaskFile:
    """One YAML file; UserError names file and line when it cannot be read or has no name."""
    file = read_yaml(path)
    if not isinstance(file.values.get("name"), str):
        raise file.error("the task needs `name`, a text", "name", mend="add `name: ...`")
    return TaskFile(file, origin or str(path))
