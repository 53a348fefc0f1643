"""A vocabulary matrix as something whose rows can be asked for, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from darumeru.models.checkpoint_read import check_finite, float_dtype, gather_rows, read_rows
from darumeru.models.weight_files import TensorEntry

Ids = npt.NDArray[np.int64]


class Rows(Protocol):
    """height x width numbers of one dtype; `where` names them in messages."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def where(self) -> str: ...

    def read(self, start: int, stop: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """Rows [start, stop), in `out` where it is given."""
        ...

    def gather(self, ids: Ids) -> torch.Tensor:
        """The rows `ids`, which ascend."""
        ...


@dataclass(frozen=True)
class StoredRows:
    """A tensor of a safetensors file."""

    entry: TensorEntry

    @property
    def height(self) -> int:
        return self.entry.shape[0]

    @property
    def width(self) -> int:
        return self.entry.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return float_dtype(self.entry)

    @property
    def where(self) -> str:
        return f"{self.entry.file}: {self.entry.name}"

    def read(self, start: int, stop: int, out: torch.Tensor | None = None) -> torch.Tensor:
        return read_rows(self.entry, start, stop, out)

    def gather(self, ids: Ids) -> torch.Tensor:
        return gather_rows(self.entry, ids)


@dataclass(frozen=True)
class LowRankRows:
    """Rows plus a LoRA change: base + scale x left @ right, added in fp32 and cast once to the dtype of the base.

    left: height x r. right: r x width.
    """

    base: Rows
    left: torch.Tensor
    right: torch.Tensor
    scale: float

    @property
    def height(self) -> int:
        return self.base.height

    @property
    def width(self) -> int:
        return self.base.width

    @property
    def dtype(self) -> torch.dtype:
        return self.base.dtype

    @property
    def where(self) -> str:
        return self.base.where

    def read(self, start: int, stop: int, out: torch.Tensor | None = None) -> torch.Tensor:
        rows = self._changed(self.base.read(start, stop), self.left[start:stop])
        return rows if out is None else out.copy_(rows)

    def gather(self, ids: Ids) -> torch.Tensor:
        return self._changed(self.base.gather(ids), self.left[torch.from_numpy(ids)])

    def _changed(self, rows: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        change = (left.float() @ self.right.float()) * self.scale
        return (rows.float() + change).to(rows.dtype)


def gather_any(rows: Rows, ids: Ids) -> torch.Tensor:
    """The rows `ids` in the order asked for, which need not ascend. UserError for NaN or infinity among them."""
    order = np.argsort(ids, kind="stable")
    found = rows.gather(ids[order])
    check_finite(found, rows.where, ids[order])
    if np.array_equal(order, np.arange(len(ids))):
        return found
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return found[torch.from_numpy(back)]


def blocks(count: int, step: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive blocks."""
    for start in range(0, count, step):
        yield start, min(start + step, count)
