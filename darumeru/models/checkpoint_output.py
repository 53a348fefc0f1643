"""Safe and fast writing: direct I/O, links instead of copies, a folder that appears whole or not at all."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from darumeru.core.errors import UserError
from darumeru.core.files import remove_leftovers

BUFFER_BYTES = 16 << 20
ALIGNMENT = 4096
FICLONE = 0x40049409
"""Linux ioctl number: share another file's blocks, copy on write (btrfs, XFS)."""

REFUSED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class DirectWriter:
    """A file written front to back past the page cache (O_DIRECT), through one reused page-aligned buffer.

    Where the file system refuses O_DIRECT the same buffer is written the usual way. On leaving the block the file is
    complete and on the disk (fsync).
    """

    def __init__(self, path: Path, wrote: Callable[[int], None] | None = None) -> None:
        self.path = path
        self._wrote = wrote or (lambda count: None)
        self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._filled = 0
        self._size = 0
        self._direct = hasattr(os, "O_DIRECT")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self._handle = os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o644)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self._direct = False
            self._handle = os.open(path, flags & ~os.O_EXCL, 0o644)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes (they are copied; the caller may reuse its memory)."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            count = min(len(view) - done, BUFFER_BYTES - self._filled)
            self._view[self._filled : self._filled + count] = view[done : done + count]
            self._filled += count
            done += count
            if self._filled == BUFFER_BYTES:
                self._flush(BUFFER_BYTES)

    def _flush(self, padded: int) -> None:
        done = 0
        while done < padded:
            try:
                done += os.write(self._handle, self._view[done:padded])
            except OSError as error:
                if not (self._direct and error.errno in REFUSED):
                    raise
                self._buffered()
        self._size += self._filled
        self._wrote(self._filled)
        self._filled = 0

    def _buffered(self) -> None:
        import fcntl

        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        fcntl.fcntl(self._handle, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self._direct = False

    def __enter__(self) -> DirectWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                # O_DIRECT takes whole blocks only: write the tail padded, then cut the file to its true size.
                self._flush(-(-self._filled // ALIGNMENT) * ALIGNMENT)
                os.ftruncate(self._handle, self._size)
                os.fsync(self._handle)
        finally:
            os.close(self._handle)


def link_or_copy(source: Path, output: Path) -> str:
    """Give `output` the bytes of `source` as cheaply as the file system allows; returns "clone", "link" or "copy"."""
    source = source.resolve()  # files of the Hub cache are symbolic links; the link itself must not be linked
    if _clone(source, output):
        return "clone"
    try:
        os.link(source, output)
        return "link"
    except OSError as error:
        if error.errno not in REFUSED | {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES}:
            raise
    shutil.copyfile(source, output)
    sync(output)
    return "copy"


def _clone(source: Path, output: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    with source.open("rb") as reader, output.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            return True
        except OSError:
            pass
    output.unlink()
    return False


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_output(output: Path) -> None:
    """UserError unless `output` is free: it does not exist or is an empty folder, in a folder that can be written."""
    if output.is_dir() and any(output.iterdir()):
        raise UserError("the output folder is not empty", str(output), "give another --output or remove it")
    if output.exists() and not output.is_dir():
        raise UserError("the output exists and is not a folder", str(output))
    parent = next(part for part in output.absolute().parents if part.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError("cannot write here", str(parent))


def check_disk(output: Path, needed: int) -> None:
    """UserError when the disk of `output` has fewer than `needed` bytes free."""
    parent = next(part for part in output.absolute().parents if part.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        mend = "free some space or give an --output on another disk"
        raise UserError(
            f"the result needs {needed / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB", str(output), mend
        )


def available_memory() -> int | None:
    """Bytes of memory this process may still take: free memory of the machine or of its control group; None where
    the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and (ceiling := limit.read_text(encoding="ascii").strip()) != "max":
        free = min(free, max(0, int(ceiling) - int(used.read_text(encoding="ascii"))))
    return free


def check_memory(needed: int, task: str) -> None:
    """UserError when fewer than `needed` bytes of memory are free for `task`."""
    free = available_memory()
    if free is not None and free < needed:
        raise UserError(f"{task} needs {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are free")


@contextmanager
def appearing_folder(output: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `output` that takes its name when the block ends well and vanishes when it does not.

    replace: in the place of what is there. UserError: `output` is not free; the disk fills up (nothing is left
    behind).
    """
    if not replace:
        check_output(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(output.absolute().parent, f".{output.name}.partial-")
    temporary = output.absolute().parent / f".{output.name}.partial-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync(temporary)
        if replace:
            shutil.rmtree(output, ignore_errors=True)
        os.rename(temporary, output)
        sync(output.absolute().parent)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError("the disk is full; nothing was kept", str(output), "free some space and start again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
