"""Disks that fill up at a chosen write: whole rows only, one line, and the same command goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from unittest import mock

from darumeru.runs import store
from tests.torture.command import complaint, darumeru
from tests.torture.servers import PATIENT, FakeServer, Scores, scores, words

_whole, _fsync = store._write_whole, os.fsync


@contextmanager
def full_after(writes: int) -> Iterator[None]:
    """After so many writes the disk takes half of the next one and then nothing."""
    left = writes

    def takes() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    def write(file: IO[bytes], data: bytes) -> None:
        if takes():
            return _whole(file, data)
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def sync(handle: int) -> None:
        if takes():
            return _fsync(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    with mock.patch.object(store, "_write_whole", write), mock.patch.object(os, "fsync", sync):
        yield


def whole_lines(folder: Path) -> bool:
    """Whether every file of answers consists of whole lines."""
    return all(path.read_bytes()[-1:] in (b"\n", b"") for path in folder.glob("samples/*.jsonl"))


def leftovers(folder: Path) -> list[str]:
    """Temporary files that nobody needs any more."""
    return [path.name for path in folder.rglob("*.partial-*")]


def check(server: FakeServer, writes: int, folder: Path, right: Scores) -> str:
    """What is wrong after the disk filled up in `run`; "" when nothing is, as when it was large enough."""
    command = words(server.url("normal"), folder, PATIENT)
    with full_after(writes):
        said = darumeru(*command)
    if wrong := complaint(said, (0, 1)):
        return wrong
    if said.code == 1 and said.err.count("no space left on") != 1:
        return "the disk is not named in one line"
    if not whole_lines(folder) or leftovers(folder):
        return f"left behind: {leftovers(folder) or 'half a line'}"
    if wrong := complaint(darumeru(*command), (0,)):
        return f"with room again: {wrong}"
    return "" if scores(folder) == right else f"with room again: {scores(folder)}"


def check_written(verb: tuple[str, ...], written: Path) -> str:
    """What is wrong after the disk filled up in a verb that writes one file; the old file must be whole."""
    before = written.read_bytes() if written.exists() else None
    with full_after(0):
        said = darumeru(*verb)
    if wrong := complaint(said, (1,)):
        return wrong
    after = written.read_bytes() if written.exists() else None
    return "" if before == after and not leftovers(written.parent) else "the old file is not whole"
