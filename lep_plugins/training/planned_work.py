"""How much text a step will read, as far as that can be said before it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

BYTES_A_TOKEN = 5.0
UNPACKED = {".xz": 4.0, ".gz": 4.0}


def tokens_in(files: Sequence[str]) -> float | None:
    """About: 5 bytes of text are a token, packed files unpack to 4 times their size. None where a file is not there yet
    (an earlier step makes it)."""
    paths = [Path(one) for one in files]
    if not all(path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size * UNPACKED.get(path.suffix, 1.0) for path in paths) / BYTES_A_TOKEN
