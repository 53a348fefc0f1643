"""Safetensors headers and lazy reading: one tensor, a run of its rows or scattered rows at a time.

Files are read with pread, not mapped: a file that shrinks under us is an error instead of a SIGBUS, and read pages
do not count as resident memory of the process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError

FLOAT_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
"""The tensor kinds that can be computed with; all others only pass through as bytes."""

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
HEADER_LIMIT = 100_000_000
"""The format's own limit on the header, in bytes."""

CHUNK_BYTES = 16 << 20
"""Default size of a read: large enough for disks, small enough for memory."""

CHECKED_ROWS = 128

GAP_BYTES = 64 << 10
"""Rows farther apart than this are read separately."""

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DAMAGED = "the file is damaged or was not downloaded to its end; fetch it again"


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies: shard file, safetensors dtype name, shape, first and last byte + 1 within the file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (of one number where there is one dimension, of all where there is none)."""
        return (self.end - self.begin) // max(1, self.height)

    @property
    def height(self) -> int:
        """Rows: the first dimension, or one where there is none."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True)
class Shard:
    """One safetensors file: its tensors in the order of their bytes, its metadata, its size in bytes."""

    file: Path
    tensors: tuple[TensorEntry, ...]
    metadata: Mapping[str, str]
    size: int


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. UserError: missing, not UTF-8, not JSON, not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("the file is missing", str(path)) from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", str(path), DAMAGED) from None
    except json.JSONDecodeError as error:
        raise UserError(f"not valid JSON: {error}", str(path), DAMAGED) from None
    if not isinstance(value, dict):
        raise UserError("a JSON object was expected", str(path))
    return value


def read_shard(path: Path) -> Shard:
    """Read the header of a safetensors file and check it against the file's size; no tensor is read.

    UserError: missing, truncated, header that is not one, offsets that overlap, leave gaps or miss the end.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > HEADER_LIMIT or 8 + length > size:
                raise UserError("not a whole safetensors file (its header is longer than the file)", str(path), DAMAGED)
            raw = stream.read(length)
    except FileNotFoundError:
        raise UserError("the safetensors file is missing", str(path)) from None
    try:
        header = json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise UserError("the safetensors header is not JSON", str(path), DAMAGED) from None
    if not isinstance(header, dict):
        raise UserError("the safetensors header is not a JSON object", str(path), DAMAGED)
    metadata = header.pop("__metadata__", {}) or {}
    entries = sorted((_entry(path, name, item, 8 + length) for name, item in header.items()), key=lambda e: e.begin)
    position = 8 + length
    for entry in entries:
        if entry.begin != position:
            raise UserError(f"the bytes of tensor {entry.name} overlap or leave a gap", str(path), DAMAGED)
        position = entry.end
    if position != size:
        kind = "truncated" if position > size else "longer than its header says"
        raise UserError(f"the safetensors file is {kind} ({size:,} bytes, {position:,} expected)", str(path), DAMAGED)
    return Shard(path, tuple(entries), metadata, size)


def _entry(path: Path, name: str, item: Any, base: int) -> TensorEntry:
    try:
        dtype, shape, (begin, end) = item["dtype"], tuple(map(int, item["shape"])), map(int, item["data_offsets"])
        bits = BITS[dtype] * prod(shape)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"the safetensors header describes tensor {name} wrongly", str(path), DAMAGED) from None
    if begin < 0 or (end - begin) * 8 != bits:
        raise UserError(f"tensor {name} has {end - begin:,} bytes for shape {list(shape)} {dtype}", str(path), DAMAGED)
    return TensorEntry(name, path, dtype, shape, base + begin, base + end)


def read_shards(folder: Path) -> tuple[tuple[Shard, ...], bool]:
    """All weight files of a model folder (headers only) and whether an index joins them.

    UserError: no safetensors (pickles are never read), an index that disagrees with the files.
    """
    if not folder.is_dir():
        raise UserError("no such model folder", str(folder))
    if not (folder / INDEX).is_file():
        if (folder / SINGLE).is_file():
            return (read_shard(folder / SINGLE),), False
        pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl") for path in folder.glob(pattern))
        if pickles:
            mend = "pickle files can run code and are not read; save the model again with safe_serialization=True"
            raise UserError(f"only pickle weights ({', '.join(pickles[:3])})", str(folder), mend)
        raise UserError(f"neither {SINGLE} nor {INDEX}", str(folder), "give a folder of a transformers model")
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise UserError("no weight_map in the index", str(folder / INDEX), DAMAGED)
    names = list(dict.fromkeys(weight_map.values()))
    if outside := [name for name in names if Path(name).name != name]:
        raise UserError(f"the index points outside the folder: {outside[0]}", str(folder / INDEX))
    shards = tuple(read_shard(folder / name) for name in names)
    held = {entry.name: shard.file.name for shard in shards for entry in shard.tensors}
    for tensor in sorted(weight_map.keys() | held.keys()):
        if held.get(tensor) != weight_map.get(tensor):
            raise UserError(f"index and files disagree about tensor {tensor}", str(folder / INDEX), DAMAGED)
    return shards, True


def read_bytes(entry: TensorEntry, begin: int, end: int, buffer: memoryview | None = None) -> memoryview:
    """Bytes [begin, end) of a tensor, into `buffer` where one is given. UserError when the file has fewer."""
    view = memoryview(bytearray(end - begin)) if buffer is None else buffer[: end - begin]
    handle = os.open(entry.file, os.O_RDONLY)
    try:
        done = 0
        while done < len(view):
            got = os.preadv(handle, [view[done:]], entry.begin + begin + done)
            if got == 0:
                raise UserError(f"the file ended inside tensor {entry.name}", str(entry.file), DAMAGED)
            done += got
    finally:
        os.close(handle)
    return view


def float_dtype(entry: TensorEntry) -> torch.dtype:
    """The torch dtype of a tensor to compute with. UserError for quantized or integer tensors."""
    if entry.dtype not in FLOAT_DTYPES:
        mend = "quantized embeddings are not supported; use the unquantized model"
        raise UserError(f"tensor {entry.name} is {entry.dtype}", str(entry.file), mend)
    return FLOAT_DTYPES[entry.dtype]


def read_rows(entry: TensorEntry, start: int, stop: int, out: torch.Tensor | None = None) -> torch.Tensor:
    """Rows [start, stop) of a tensor as its own dtype, (stop - start) x the rest of its shape; into `out`, which has
    that shape and dtype and is contiguous, where it is given."""
    dtype = float_dtype(entry)
    rows = torch.empty((stop - start, *entry.shape[1:]), dtype=dtype) if out is None else out
    if rows.numel():
        raw = memoryview(rows.view(torch.uint8).reshape(-1).numpy())
        read_bytes(entry, start * entry.row_bytes, stop * entry.row_bytes, raw)
    return rows


def row_chunks(entry: TensorEntry, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, torch.Tensor]]:
    """All rows in order, as (first row, rows), each chunk about `chunk_bytes` long."""
    step = max(1, chunk_bytes // max(1, entry.row_bytes))
    for start in range(0, entry.height, step):
        yield start, read_rows(entry, start, min(start + step, entry.height))


def gather_rows(
    entry: TensorEntry, ids: np.ndarray[Any, np.dtype[np.int64]], dtype: torch.dtype | None = None
) -> torch.Tensor:
    """The rows `ids` (ascending, may repeat), len(ids) x columns, in `dtype` (the tensor's own by default).

    Rows that lie close together are read at once with what is between them, others alone.
    """
    own = float_dtype(entry)
    gaps = np.diff(ids)
    if len(ids) and (ids[0] < 0 or ids[-1] >= entry.height or np.any(gaps < 0)):
        raise IndexError(f"row ids of {entry.name} must ascend within 0..{entry.height - 1}")
    result = torch.empty((len(ids), *entry.shape[1:]), dtype=dtype or own)
    ends = [*(np.flatnonzero(gaps > max(1, GAP_BYTES // max(1, entry.row_bytes))) + 1).tolist(), len(ids)]
    step = max(1, CHUNK_BYTES // max(1, entry.row_bytes))
    done = 0
    for end in ends:
        while done < end:
            first = int(ids[done])
            upto = min(end, int(np.searchsorted(ids, first + step)))
            last = int(ids[upto - 1])
            part = result[done:upto]
            if last - first == upto - done - 1 and part.dtype == own and gaps[done : upto - 1].all():
                read_rows(entry, first, last + 1, part)
            else:
                part.copy_(read_rows(entry, first, last + 1)[torch.from_numpy(ids[done:upto] - first)])
            done = upto
    return result


def check_finite(rows: torch.Tensor, name: str, ids: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """UserError when `rows` hold NaN or infinity. name, ids: the tensor and the rows' numbers in it, to tell where."""
    # A sum shows whether there is anything to look for, several times faster than looking at every number; small
    # parts, because a sum in another dtype first makes a copy in it.
    wide = torch.promote_types(rows.dtype, torch.float32)
    if all(torch.isfinite(part.sum(dtype=wide)) for part in rows.split(CHECKED_ROWS)):
        return
    finite = torch.isfinite(rows.reshape(len(rows), -1)).all(1)
    if not finite.all():
        bad = int(ids[int(torch.nonzero(~finite)[0])])
        raise UserError(f"NaN or infinity in row {bad}", name, "the model's weights are damaged")
