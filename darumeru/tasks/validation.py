"""Checking task files before they are used."""

from __future__ import annotations

from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.metrics import metric
from darumeru.tasks.formats import check_format
from darumeru.tasks.registry import read_task_file
from darumeru.tasks.spec import TaskSpec, parse_spec


def read_tasks(place: str, profile: str) -> list[TaskSpec]:
    """All tasks of a YAML file or folder, formats, their options and metrics checked; UserError for the first wrong."""
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError("no such task file or folder", place)
    files = [path] if path.is_file() else sorted(path.glob("**/*.yaml"))
    if not files:
        raise UserError("holds no .yaml file", place)
    specs = []
    for one in files:
        file = read_task_file(one).file
        spec = parse_spec(file, profile)
        check_format(spec, file, profile)
        for name in spec.metrics:
            try:
                metric(name)
            except UserError as error:
                raise file.error(error.what, "metrics", mend=error.mend, near=error.near) from error
        specs.append(spec)
    return specs
