"""Files that come with the project: tasks, published results, recipes."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
FOLDERS = (("leaderboards",), ("recipes",))


def shipped(path: Path) -> Path:
    """The project's own file for a path like leaderboards/paper or recipes/nano.yaml that is not there, else `path`."""
    if path.exists() or path.parts[:1] not in FOLDERS:
        return path
    own = DATA / path
    return own if own.exists() else path


def tasks_folder() -> Path:
    """The folder of the project's own task definitions (`tasks/` of the repository, package data in a wheel)."""
    return DATA / "tasks"
