"""What a model is, by content alone: every byte counts, and no path, no time, no way of cutting weights into files.

Hashes of large files are remembered in the user's cache folder by the file's identity (device, inode, size, times), so
that a model is read once and not at every run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from darumeru.core.errors import UserError
from darumeru.core.files import content_hash, write_atomically
from darumeru.models.config_file import telling
from darumeru.models.files import read_json, require_regular
from darumeru.models.weight_files import Shard, TensorEntry, read_shard

BLOCK = 4 << 20
THREADS = 2
REMEMBERED_FROM = 1 << 20
"""Smaller files are hashed faster than remembered."""

RESTING_SECONDS = 2.0
"""A file that changed within this time is not remembered: it could change again without its times showing it."""

_DIGEST = re.compile("[0-9a-f]{64}")
_TELLING_JSON = ("tokenizer_config.json",)


def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of the names and contents of all files of a folder (but for .cache)."""
    if not path.is_dir():
        return _file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and ".cache" not in file.parts)
    return content_hash([[file.relative_to(path).as_posix(), _file(file)] for file in files])


def fingerprint_model(shards: Iterable[Shard], *configs: Mapping[str, Any], code: Iterable[Path] = ()) -> str:
    """Hash of a model: names, types, shapes and bytes of all tensors, however they are cut into files; what its
    configurations say about the computation; its own code."""
    own_code = [[path.name, _file(path)] for path in sorted(code)]
    return content_hash([fingerprint_weights(shards), [telling(config) for config in configs], own_code])


def fingerprint_weights(shards: Iterable[Shard]) -> str:
    """Hash of all tensors: the sum over their own hashes, which does not depend on their order or files."""
    return _sum(_remembered(shard.file, "tensors", partial(_tensors, shard)) for shard in shards)


def fingerprint_tokenizer(files: Iterable[Path]) -> str:
    """Hash of tokenizer files by name; of tokenizer_config.json only what says how text is cut and rendered."""
    return content_hash(
        [
            [path.name, telling(read_json(path)) if path.name in _TELLING_JSON else _file(path)]
            for path in sorted(files, key=lambda path: path.name)
        ]
    )


def _file(path: Path) -> str:
    """Of a safetensors file its tensors count, so that its hash is the one a model's fingerprint is made of."""
    require_regular(path)
    if path.suffix == ".safetensors":
        try:
            shard = read_shard(path)
        except UserError:
            return _remembered(path, "bytes", partial(_bytes, path))
        return fingerprint_weights([shard])
    return _remembered(path, "bytes", partial(_bytes, path))


def _bytes(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors(shard: Shard) -> str:
    # hashlib lets go of the interpreter while it works: threads help where there are cores.
    with ThreadPoolExecutor(THREADS) as threads:
        return _sum(threads.map(_tensor, shard.tensors))


def _tensor(entry: TensorEntry) -> str:
    named = json.dumps([entry.name, entry.dtype, entry.shape]).encode()
    digest = hashlib.sha256(hashlib.sha256(named).digest())
    with entry.file.open("rb", buffering=0) as file:
        file.seek(entry.begin)
        left = entry.end - entry.begin
        buffer = memoryview(bytearray(min(BLOCK, left)))
        while left:
            count = file.readinto(buffer[: min(BLOCK, left)])
            if not count:
                raise UserError(f"the file ended inside tensor {entry.name}", str(entry.file))
            digest.update(buffer[:count])
            left -= count
    return digest.hexdigest()


def _sum(digests: Iterable[str]) -> str:
    total = sum(int(digest, 16) for digest in digests)
    return f"{total % (1 << 256):064x}"


def _remembered(path: Path, kind: str, compute: Callable[[], str]) -> str:
    before = path.stat()
    if before.st_size < REMEMBERED_FROM:
        return compute()
    entry = _cache_folder() / content_hash([kind, *_identity(before)])
    try:
        known = entry.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        known = ""
    if _DIGEST.fullmatch(known):
        return known
    digest = compute()
    after = path.stat()
    resting = time.time() - max(after.st_mtime, after.st_ctime) > RESTING_SECONDS
    if resting and _identity(before) == _identity(after):
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(entry, digest)
        except OSError:
            pass  # a home that cannot be written only costs the time of hashing again
    return digest


def _identity(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "darumeru" / "fingerprints"
