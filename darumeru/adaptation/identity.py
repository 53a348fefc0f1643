"""Hashes by which the output of a step is found again: equal work has an equal key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from darumeru.adaptation.variants import Variant
from darumeru.core.files import content_hash
from darumeru.core.options import to_plain

WHOLE = 1 << 28
PIECE = 1 << 20
PIECES = 64


def fingerprint(path: Path) -> str:
    """sha256 over a file, or over names and contents of all files of a folder. Of files above 256 MiB: the size and
    64 evenly spread MiB."""
    if path.is_dir():
        names = sorted(file for file in path.rglob("*") if file.is_file() and ".cache" not in file.parts)
        return content_hash([[str(file.relative_to(path)), fingerprint(file)] for file in names])
    stat = path.stat()
    return _file(path, stat.st_size, stat.st_mtime_ns)


@cache
def _file(path: Path, size: int, _changed: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE:
            while piece := file.read(PIECE):
                digest.update(piece)
        else:
            for number in range(PIECES):
                file.seek(number * (size - PIECE) // (PIECES - 1))
                digest.update(file.read(PIECE))
    return digest.hexdigest()


def step_key(variant: Variant, parent: str, inputs: Mapping[str, str]) -> str:
    """Hash over all that the step's output depends on. parent, inputs: identities of the models it is made from
    ("" for none). Files that parameters name count by content, wherever they lie."""
    step = variant.step
    return content_hash(
        {
            "step": step.name,
            "version": getattr(step, "version", 1),
            "parameters": {name: _content(value) for name, value in asdict(step).items()},
            "seed": variant.node.seed,
            "parent": parent,
            "inputs": dict(inputs),
        }
    )


def _content(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_content(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _content(one) for key, one in value.items()}
    if isinstance(value, Path) or (isinstance(value, str) and "\n" not in value and 0 < len(value) < 4096):
        path = Path(value)
        if path.is_absolute() and path.exists():
            return f"content {fingerprint(path)}"
    return to_plain(value)
