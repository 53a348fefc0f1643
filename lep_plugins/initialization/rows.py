"""Old rows to initialize from, and the assembly of a new matrix row chunk by row chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from darumeru.core.errors import UserError
from darumeru.models.checkpoint import Checkpoint
from lep_plugins.conversion import ConversionMatrix, Origin

Ids = npt.NDArray[np.int64]
Fresh = Callable[[Ids], torch.Tensor]
"""Rows for new ids (ascending), float32, len(ids) x d."""

CHUNK_ROWS = 2048
NEAR_ZERO = 1e-4
"""A row shorter than this part of the mean row is taken as never trained."""


@dataclass(frozen=True)
class OldRows:
    """One vocabulary matrix of the old model. tokens: the ids that are tokens, ascending: padding rows and holes are
    no part of means and fits. The matrix is read whole, on first use, and kept until `release`."""

    checkpoint: Checkpoint
    name: str
    tokens: Ids

    @property
    def width(self) -> int:
        """d."""
        return self.checkpoint.hidden_size

    @property
    def dtype(self) -> torch.dtype:
        """The dtype on disk, which is also that of the result."""
        return self._matrix.dtype

    @cached_property
    def _matrix(self) -> torch.Tensor:
        return self.checkpoint.rows(self.name)

    def release(self) -> None:
        """Give the memory of the matrix back; what was computed from it stays."""
        self.__dict__.pop("_matrix", None)

    def gather(self, ids: Ids) -> torch.Tensor:
        """The rows `ids`, in that order, in the dtype on disk; not to be written to."""
        if len(ids) and ids[-1] - ids[0] + 1 == len(ids) and (np.diff(ids) == 1).all():
            return self._matrix[int(ids[0]) : int(ids[-1]) + 1]
        return self._matrix[torch.from_numpy(ids)]

    def chunks(self) -> Iterator[torch.Tensor]:
        """All trained token rows in order, float32, a chunk at a time."""
        trained = self.tokens[self.trained(self.tokens).numpy()]
        for start in range(0, len(trained), CHUNK_ROWS):
            yield self.gather(trained[start : start + CHUNK_ROWS]).float()

    def trained(self, ids: Ids) -> torch.Tensor:
        """Whether the rows `ids` are longer than near zero: bool, len(ids)."""
        return self.lengths[torch.from_numpy(ids)] > self.near_zero

    @cached_property
    def lengths(self) -> torch.Tensor:
        """The norm of each row, float32. UserError for NaN or infinity in the row of a token."""
        parts = self._matrix.split(CHUNK_ROWS)
        lengths = torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float32) for part in parts])
        broken = ~torch.isfinite(lengths[torch.from_numpy(self.tokens)])
        if broken.any():
            bad = int(self.tokens[int(torch.nonzero(broken)[0])])
            where = f"{self.checkpoint.path}: {self.name}"
            raise UserError(f"NaN or infinity in row {bad}", where, "the model's weights are damaged")
        return lengths

    @cached_property
    def near_zero(self) -> float:
        """The norm below which a row counts as never trained."""
        return NEAR_ZERO * float(self.lengths[torch.from_numpy(self.tokens)].double().mean())

    @cached_property
    def mean(self) -> torch.Tensor:
        """The mean of the trained token rows, float32, d."""
        total, count = torch.zeros(self.width, dtype=torch.float64), 0
        for rows in self.chunks():
            total += rows.sum(dim=0).double()
            count += len(rows)
        return (total / max(1, count)).float()


def weighted_rows(old: OldRows, weights: Any) -> Fresh:
    """Rows as weighted sums of old rows: weights is a scipy CSR matrix, new ids x old ids."""

    def fresh(ids: Ids) -> torch.Tensor:
        part = weights[ids]
        unique, inverse = np.unique(part.indices, return_inverse=True)
        if not len(unique):
            return torch.zeros(len(ids), old.width)
        return torch.nn.functional.embedding_bag(
            torch.from_numpy(inverse.astype(np.int64)),
            old.gather(unique.astype(np.int64)).float(),
            torch.from_numpy(part.indptr[:-1].astype(np.int64)),
            mode="sum",
            per_sample_weights=torch.from_numpy(part.data.astype(np.float32)),
        )

    return fresh


def assembled(old: OldRows, conversion: ConversionMatrix, fresh: Fresh) -> Iterator[torch.Tensor]:
    """The new matrix from its first row to its last, rows_new x d in chunks, in the old dtype.

    A shared token's row is the old row, bit for bit. MEAN rows come from `fresh`, cast once. A special token's row is
    the old row of that name unless it was never trained. All else (new specials, padding, near-zero rows of the two
    kinds just named) gets the mean of the old vocabulary."""
    mean = old.mean.to(old.dtype)
    for start in range(0, conversion.rows_new, CHUNK_ROWS):
        origins = conversion.origins[start : start + CHUNK_ROWS]
        rows = mean.repeat(len(origins), 1)
        at_old = np.flatnonzero(np.isin(origins, [int(Origin.COPIED), int(Origin.SPECIAL)]))
        if len(at_old):
            sources = conversion.indices[conversion.indptr[start + at_old]]
            keep = old.trained(sources).numpy() | (origins[at_old] == Origin.COPIED)
            rows[torch.from_numpy(at_old[keep])] = old.gather(sources[keep])
        at_new = np.flatnonzero(origins == Origin.MEAN)
        if len(at_new):
            made = fresh((start + at_new).astype(np.int64))
            alive = made.norm(dim=1) > old.near_zero
            rows[torch.from_numpy(at_new)[alive]] = made[alive].to(old.dtype)
        yield rows
    old.release()
