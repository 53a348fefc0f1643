"""Old rows to initialize from, and the assembly of a new matrix row chunk by row chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lep_plugins.checkpoint import Checkpoint
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
    no part of means and fits."""

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
        return self.checkpoint.rows(self.name, 0, 1).dtype

    def gather(self, ids: Ids) -> torch.Tensor:
        """The rows `ids`, in that order, as they are. UserError for NaN or infinity in one of them."""
        unique, inverse = np.unique(ids, return_inverse=True)
        return self.checkpoint.gather(self.name, unique, finite=True)[torch.from_numpy(inverse)]

    def chunks(self) -> Iterator[torch.Tensor]:
        """All trained token rows in order, float32, a chunk at a time."""
        for start in range(0, len(self.tokens), CHUNK_ROWS):
            rows = self.gather(self.tokens[start : start + CHUNK_ROWS]).float()
            yield rows[rows.norm(dim=1) > self.near_zero]

    @cached_property
    def near_zero(self) -> float:
        """The norm below which a row counts as never trained."""
        total = 0.0
        for start in range(0, len(self.tokens), CHUNK_ROWS):
            total += float(self.gather(self.tokens[start : start + CHUNK_ROWS]).float().norm(dim=1).double().sum())
        return NEAR_ZERO * total / max(1, len(self.tokens))

    @cached_property
    def mean(self) -> torch.Tensor:
        """The mean of the trained token rows, float32, d."""
        total, count = torch.zeros(self.width, dtype=torch.float64), 0
        for rows in self.chunks():
            total += rows.double().sum(dim=0)
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
            kept = old.gather(conversion.indices[conversion.indptr[start + at_old]])
            trained = kept.float().norm(dim=1) > old.near_zero
            keep = trained.numpy() | (origins[at_old] == Origin.COPIED)
            rows[torch.from_numpy(at_old[keep])] = kept[torch.from_numpy(keep)]
        at_new = np.flatnonzero(origins == Origin.MEAN)
        if len(at_new):
            made = fresh((start + at_new).astype(np.int64))
            trained = (made.norm(dim=1) > old.near_zero).numpy()
            rows[torch.from_numpy(at_new[trained])] = made[torch.from_numpy(trained)].to(old.dtype)
        yield rows
