"""Files of a model's folder: read without trust, written for people."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError, near_names

DAMAGED = "the file is damaged or was not downloaded to its end; fetch it again"
MOST_SHOWN = 100


def require_regular(path: Path) -> None:
    """UserError unless `path` is a regular file or a link to one: a pipe or a device would never end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError("the file is missing", str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from None
    if not stat.S_ISREG(mode):
        raise UserError("is not a regular file", str(path))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. UserError, with the line where there is one: missing, a pipe or the like, not UTF-8,
    not JSON, not an object."""
    require_regular(path)
    return parse_json(path.read_bytes(), path)


def optional_json(path: Path) -> dict[str, Any]:
    """`read_json`, and an empty object where there is no such file."""
    return read_json(path) if path.exists() else {}


def parse_json(raw: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in `raw`; see `read_json`. path: the file that holds it."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", str(path), DAMAGED) from None
    except json.JSONDecodeError as error:
        raise UserError(f"broken JSON: {error.msg}", f"{path}:{error.lineno}", DAMAGED) from None
    except (RecursionError, ValueError):  # brackets without end; a number of more digits than Python takes
        raise UserError("broken JSON: nested too deep, or a number too long", str(path), DAMAGED) from None
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", str(path))
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object. Infinity, which some families' configurations hold, is written as Python does."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def shown(value: Any) -> str:
    """A value from a file as it may stand in a message of one line."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def near_folders(path: Path) -> list[str]:
    """Folders beside `path`, which does not exist, with a name like its own."""
    parent = path.expanduser().parent
    if not parent.is_dir():
        return []
    folders = [child.name for child in parent.iterdir() if child.is_dir() and not child.name.startswith(".")]
    return [str(parent / name) for name in near_names(path.name, folders)]
