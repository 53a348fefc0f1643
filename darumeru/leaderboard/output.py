"""Files that boards and reports are written into: never over what a run, a pipeline or a model consists of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from darumeru.core.errors import UserError
from darumeru.core.files import write_atomically

OWNERS = {"manifest.json": "a run", "recipe.yaml": "a pipeline", "config.json": "a model"}
PAGES = (".html", ".htm", ".md", ".csv", ".tex")
# How what is written here begins: pages, boards in each format, a model's card.
OURS = (
    b'<meta name="generator" content="darumeru">',
    b"| # | Model |",
    b"rank,model,marks",
    b"% needs \\usepackage{booktabs,graphicx}",
    b'"sorted_by"',
    b"model-index:",
)
_HEAD = 4096


def check_output(path: Path, inputs: Iterable[Path] = (), new_folder: bool = True, force: bool = False) -> Path:
    """The path, when a page or table can be written there; UserError says why not.

    inputs: what it is made from, which it may not replace. new_folder: whether its folder may be missing. force:
    replace a file that was not written by Darumeru; never one of a run, a pipeline, a model or the inputs.
    """
    path = path.expanduser()
    if path.is_dir():
        raise UserError("is a folder, --output is a file", str(path), "name a file, such as board.html")
    if not new_folder and not path.parent.is_dir():
        raise UserError("no such folder", str(path.parent), "make it, or choose another --output")
    folder = next((one for one in path.absolute().parents if one.exists()), path.parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError("cannot be written", str(path.parent), "choose another --output")
    if path.exists():
        _check_replaced(path, inputs, force)
    return path


def _check_replaced(path: Path, inputs: Iterable[Path], force: bool) -> None:
    elsewhere = "choose another --output"
    if not path.is_file():
        raise UserError("is not a regular file", str(path), elsewhere)
    if any(one.exists() and path.samefile(one) for one in inputs):
        raise UserError("is what the board is made from", str(path), elsewhere)
    for above in list(path.resolve().parents)[:2]:
        owner = next((who for name, who in OWNERS.items() if (above / name).is_file()), None)
        if owner and path.suffix.lower() not in PAGES:
            raise UserError(f"is a file of {owner}", str(path), elsewhere)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head and not force and not any(mark in head for mark in OURS):
        raise UserError("was not written by darumeru", str(path), f"{elsewhere}, or --force")


def write_output(path: Path, text: str) -> None:
    """Write the file whole, or leave the old one; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(path), "choose another --output") from error
