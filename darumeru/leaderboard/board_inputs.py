"""What a board is made of: arguments of the command become runs and published tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.core.shipped import shipped
from darumeru.leaderboard.published import Published, is_published, load_published
from darumeru.runs.manifest import MANIFEST
from darumeru.runs.run import Run, load_run


def load_inputs(paths: Sequence[Path]) -> tuple[list[Run], list[Published]]:
    """Runs (a run folder, or a folder that holds run folders) and published tables (a JSON file, or a folder of such).

    Raises UserError for a path that is neither, a run that cannot be published, and a folder that is named twice.
    """
    runs: list[Run] = []
    published: list[Published] = []
    seen: set[Path] = set()
    for path in paths:
        for part in _expand(shipped(path.expanduser())):
            if part.resolve() in seen:
                raise UserError("is given twice", str(part))
            seen.add(part.resolve())
            if part.is_dir():
                runs.append(load_run(part))
            else:
                published.append(load_published(part))
    return runs, published


def _expand(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError("no such run folder", str(path))
    if path.is_file():
        return [path]
    if (path / MANIFEST).exists():
        return [path]
    runs = sorted(inner for inner in path.iterdir() if (inner / MANIFEST).is_file())
    tables = sorted(file for file in path.glob("*.json") if _is_table(file))
    if not runs and not tables:
        raise UserError("is neither a run (no manifest.json) nor a folder of runs or published tables", str(path))
    return runs + tables


def _is_table(path: Path) -> bool:
    try:
        return is_published(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
