"""What a board is made of: arguments of the command become runs and published tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.core.shipped import shipped
from darumeru.leaderboard.published import Published, is_published, load_published
from darumeru.runs.run import Run, any_run, load_run, run_folders


def load_inputs(
    paths: Sequence[Path], skip: Callable[[str], None] | None = None, partial: bool = False
) -> tuple[list[Run], list[Published]]:
    """Runs (a run folder, or a folder that holds run folders) and published tables (a JSON file, or a folder of such).

    skip: is told of each path that is no finished run and no table, which is then left out; None: such a path is an
    error. partial: runs that are not finished are shown with what is answered. Raises UserError for a path that does
    not exist, a folder that is named twice, and where everything would be left out.
    """
    runs: list[Run] = []
    published: list[Published] = []
    seen: set[Path] = set()
    left_out: list[UserError] = []
    for path in paths:
        if not shipped(path.expanduser()).exists():
            raise UserError("no such run folder", str(path))
        try:
            parts = _expand(shipped(path.expanduser()))
        except UserError as error:
            left_out.append(error)
            continue
        for part in parts:
            if part.resolve() in seen:
                raise UserError("is given twice", str(part))
            seen.add(part.resolve())
            try:
                if part.is_dir():
                    runs.append(any_run(part) if partial else load_run(part))
                else:
                    published.append(load_published(part))
            except UserError as error:
                left_out.append(error)
    if left_out and (skip is None or not (runs or published)):
        raise left_out[0]
    if skip is not None:
        for one in left_out:
            skip(f"left out: {one.line()}")
    return runs, published


def _expand(path: Path) -> list[Path]:
    runs = run_folders(path)
    if path.is_file() or runs == [path]:
        return [path]
    tables = sorted(file for file in path.glob("*.json") if _is_table(file))
    if not runs and not tables:
        raise UserError("is neither a run (no manifest.json) nor a folder of runs or published tables", str(path))
    return runs + tables


def _is_table(path: Path) -> bool:
    try:
        return is_published(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
