"""Lazy reading of safetensors: one tensor, a run of its rows or scattered rows at a time.

Files are read with pread, not mapped: a file that shrinks under us is an error instead of a SIGBUS, and read pages
do not count as resident memory of the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from darumeru.core.errors import UserError
from darumeru.models.files import DAMAGED
from darumeru.models.weight_files import TensorEntry

FLOAT_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
"""The tensor kinds that can be computed with; all others only pass through as bytes."""

CHUNK_BYTES = 16 << 20
"""Default size of a read: large enough for disks, small enough for memory."""

CHECKED_ROWS = 128

GAP_BYTES = 64 << 10
"""Rows farther apart than this are read separately."""


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
