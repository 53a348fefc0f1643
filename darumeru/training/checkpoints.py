"""Checkpoint folders as a trainer leaves them, seen from outside."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from darumeru.core.errors import UserError

_STEP = re.compile(r"(?:.*\D)?(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """path: a model folder, or with `base` a PEFT adapter folder. step: the number at the end of the folder's name."""

    path: Path
    step: int
    base: str | None = None


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The folders inside `folder` whose names end in a number (checkpoint-500), by that number."""
    try:
        inside = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(folder), "give the trainer's output folder") from error
    found = [(path, match) for path in inside if (match := _STEP.fullmatch(path.name))]
    return sorted((_read(path, int(match[1])) for path, match in found), key=lambda one: (one.step, one.path.name))


def _read(path: Path, step: int) -> Checkpoint:
    adapter = path / "adapter_config.json"
    if not adapter.is_file() or (path / "config.json").is_file():
        return Checkpoint(path, step)
    try:
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None  # still being written, or broken: whoever loads it says which
    return Checkpoint(path, step, base)


def look(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files: equal looks some time apart mean that nobody is writing."""
    files = []
    for file in sorted(path.rglob("*")):
        try:
            status = file.stat()
        except OSError:
            continue
        files.append((str(file.relative_to(path)), status.st_size, status.st_mtime_ns))
    return tuple(files)
