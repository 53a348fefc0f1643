"""Writing files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from darumeru.core.errors import RunFailed

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# Of a name in the name of its temporary file.
_LONGEST = 60

# Outside of ASCII's controls, which JSON escapes by itself.
_STEERING = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary file beside `path`, flush it to disk, rename it over `path`. RunFailed on a full disk. What
    a process that was killed here left behind is removed by the next one that writes the same file."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    remove_leftovers(path.parent, f".{path.name[:_LONGEST]}.partial-")
    temporary = path.with_name(f".{path.name[:_LONGEST]}.partial-{os.getpid()}-{threading.get_ident()}")
    try:
        with full_disk_fails(path.parent), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def no_empty_folders(folder: Path) -> Iterator[None]:
    """What is made of `folder` and the ones around it, and is still empty when the work fails, is removed."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first that is not empty ends it
            for one in new:
                one.rmdir()
        raise


@contextmanager
def full_disk_fails(place: Path) -> Iterator[None]:
    """A disk without room is no bug and no mistake: RunFailed with one line, after which the same command goes on."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise RunFailed(no_room(place)) from error
        raise


def no_room(place: str | Path) -> str:
    """What is said of a disk without room."""
    return f"no space left on {place}; everything finished is stored; the same command goes on"


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Delete what lies in `folder` under PREFIX and the id of a process that lives no more (PREFIX-PID or
    PREFIX-PID-MORE)."""
    for path in folder.glob(f"{glob.escape(prefix)}*"):
        owner = path.name.removeprefix(prefix).split("-")[0]
        if owner.isdecimal() and not _lives(int(owner)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def to_json(value: Any) -> str:
    """JSON for people: indented, Cyrillic as it is, what steers a terminal and lone surrogates as escapes; NaN and
    infinity are refused."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def json_line(value: Any) -> str:
    """Compact JSON of one value and a line feed; Cyrillic as it is, unless lone surrogates make all of it escapes. NaN
    and infinity are refused."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text + "\n"


def has_half_character(value: Any) -> bool:
    """Whether a text, or a JSON value with texts in it, holds half a character ("\\ud800"): JSON can, a tokenizer
    cannot."""
    return bool(_HALF.search(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))


def parse_json(text: str | bytes) -> Any:
    """The value of JSON text; ValueError for what is none, NaN and numbers without end among it."""
    return json.loads(text, parse_constant=_no_number, parse_float=_finite)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(word: str) -> float:
    value = float(word)
    return value if math.isfinite(value) else _no_number(word)


def content_hash(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
