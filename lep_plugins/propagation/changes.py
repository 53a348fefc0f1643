"""What happens to the donor's rows: nothing, donor + donor Delta, or donor + the mean change of the old tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lep_plugins.propagation.rows import Ids, Rows, gather_any

SMALL_CHANGE = 0.2
"""Relative size of the change up to which a Delta rounded to bf16 adds less than 2 % to the rounding of the output:
the two errors add in quadrature, and sqrt(1 + 0.2^2) = 1.02."""

SAMPLE_ROWS = 1024


class Change(Protocol):
    """A change of the donor's rows."""

    @property
    def precision(self) -> str:
        """How the products run, for the report."""
        ...

    def apply(self, start: int, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Put the changed rows into `out`, in its dtype, rounding once; `rows` are the donor's from id `start`."""
        ...


@dataclass(frozen=True)
class Unchanged:
    """The donor's rows as they are."""

    precision: str = "exact"

    def apply(self, start: int, rows: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(rows)


@dataclass(frozen=True)
class Linear:
    """donor + donor Delta. delta: d x d on `device`, in the dtype in which the products run."""

    delta: torch.Tensor
    device: str

    @classmethod
    def of(cls, delta: torch.Tensor, donor: Rows, tokens: Ids, dtype: torch.dtype, device: str) -> Linear:
        """Choose the precision: bf16 products where input and output are bf16, the change is small against the rows
        (`tokens`, those of the donor that are no padding) and the processor multiplies bf16; float64 for float64
        output; else float32."""
        if dtype == torch.float64:
            return cls(delta.to(device), device)
        single = delta.to(device, torch.float32)
        half = dtype == donor.dtype == torch.bfloat16 and device == "cpu" and multiplies_bf16()
        if half and _relative_change(single, donor, tokens) <= SMALL_CHANGE:
            return cls(single.bfloat16(), device)
        return cls(single, device)

    @property
    def precision(self) -> str:
        return f"{str(self.delta.dtype).removeprefix('torch.')} products on {self.device}"

    def apply(self, start: int, rows: torch.Tensor, out: torch.Tensor) -> None:
        # In bf16, oneDNN adds the donor to its fp32 sums and rounds once; a separate product would round twice.
        moved = rows.to(self.device, self.delta.dtype)
        if out.dtype == moved.dtype and out.device == moved.device:
            torch.addmm(moved, moved, self.delta, out=out)
        else:
            out.copy_(torch.addmm(moved, moved, self.delta))


def multiplies_bf16() -> bool:
    """Whether products in bfloat16 are faster here than in float32."""
    return torch.backends.mkldnn.is_available() and "AVX512" in torch.backends.cpu.get_cpu_capability()


def _relative_change(delta: torch.Tensor, donor: Rows, tokens: Ids) -> float:
    """||x Delta|| / ||x|| over token rows spread evenly over the donor."""
    places = np.unique(np.linspace(0, len(tokens) - 1, SAMPLE_ROWS).astype(np.int64))
    rows = gather_any(donor, tokens[places]).to(delta.device).float()
    size = float(rows.norm())
    return float((rows @ delta).norm()) / size if size > 0 else 0.0


@dataclass(frozen=True)
class MeanDifference:
    """donor + T (target - base). weights: T over the used old tokens, donor rows x used, scipy CSR; base, target: the
    rows of the used tokens, in their stored dtype."""

    weights: Any
    base: torch.Tensor
    target: torch.Tensor
    precision: str = "float32 sums"

    @classmethod
    def of(cls, weights: Any, base: Rows, target: Rows, base_ids: Ids, target_ids: Ids) -> MeanDifference:
        """Read the rows of the used tokens. UserError for NaN or infinity among them."""
        return cls(weights, gather_any(base, base_ids), gather_any(target, target_ids))

    def apply(self, start: int, rows: torch.Tensor, out: torch.Tensor) -> None:
        part = self.weights[start : start + rows.shape[0]]
        near, places = np.unique(part.indices, return_inverse=True)
        chosen = torch.from_numpy(near.astype(np.int64))
        wide = torch.float64 if out.dtype == torch.float64 else torch.float32
        difference = self.target[chosen].to(wide) - self.base[chosen].to(wide)
        change = torch.nn.functional.embedding_bag(
            torch.from_numpy(places.astype(np.int64)),
            difference,
            torch.from_numpy(part.indptr[:-1].astype(np.int64)),
            mode="sum",
            per_sample_weights=torch.from_numpy(part.data).to(wide),
        )
        out.copy_(change.add_(rows))
