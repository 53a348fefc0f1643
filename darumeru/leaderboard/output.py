"""Files that boards and reports are written into: never over what a run, a pipeline or a model consists of."""

from __future__ import annotations

import os
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.core.files import write_atomically

OWNERS = {"manifest.json": "a run", "recipe.yaml": "a pipeline", "config.json": "a model"}
PAGES = (".html", ".htm", ".md", ".csv", ".tex")


def check_output(path: Path, new_folder: bool = True) -> Path:
    """The path, when a page or table can be written there; UserError says why not. new_folder: whether its folder may
    be missing."""
    path = path.expanduser()
    if path.is_dir():
        raise UserError("is a folder, --output is a file", str(path), "name a file, such as board.html")
    if not new_folder and not path.parent.is_dir():
        raise UserError("no such folder", str(path.parent), "make it, or choose another --output")
    folder = next((one for one in path.absolute().parents if one.exists()), path.parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError("cannot be written", str(path.parent), "choose another --output")
    for above in list(path.resolve().parents)[:2]:
        owner = next((who for name, who in OWNERS.items() if (above / name).is_file()), None)
        if owner and path.exists() and path.suffix.lower() not in PAGES:
            raise UserError(f"is a file of {owner}", str(path), "choose another --output")
    return path


def write_output(path: Path, text: str) -> None:
    """Write the file whole, or leave the old one; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(path), "choose another --output") from error
