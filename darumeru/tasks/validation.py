"""Checking task files before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.metrics import metric
from darumeru.tasks.formats import check_format
from darumeru.tasks.registry import TaskRegistry, read_task_file
from darumeru.tasks.spec import TaskSpec, placed


def read_tasks(place: str, profile: str, include: Sequence[str] = ()) -> list[TaskSpec]:
    """All tasks of a YAML file or folder, and of the `include`d ones beside it, with formats, their options and
    metrics checked; UserError for the first that is wrong and for a name that two of them have."""
    paths = {path.resolve(): path for one in (place, *include) for path in _files(one)}
    registry = TaskRegistry((read_task_file(path) for path in paths.values()), profile)
    for spec in registry.specs.values():
        file = registry.files[spec.name]
        check_format(spec, file, profile)
        for name in spec.metrics:
            try:
                metric(name)
            except UserError as error:
                at = placed(file, profile, "metrics")
                raise file.error(error.what, *at, mend=error.mend, near=error.near) from error
    return list(registry.specs.values())


def _files(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError("no such task file or folder", place)
    files = sorted(path.glob("**/*.yaml")) if path.is_dir() else [path]
    if not files:
        raise UserError("holds no .yaml file", place)
    return files
