"""The rows of the result, streamed: the donor's changed, the target's copied and appended, the padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from darumeru.models.checkpoint_read import FLOAT_DTYPES, check_finite
from darumeru.models.checkpoint_write import Replacement
from lep_plugins.conversion import Origin
from lep_plugins.propagation.changes import Change
from lep_plugins.propagation.methods import Setting
from lep_plugins.propagation.rows import Ids, blocks, gather_any

APPLY_ROWS = 4096
MEASURE_ROWS = 256


@dataclass
class Movement:
    """How far the donor's rows moved, filled while they are written. change, size: length of each donor row's change
    and of the row itself; rows copied from the target count as unmoved."""

    change: torch.Tensor
    size: torch.Tensor

    @property
    def norm(self) -> float:
        """||output - donor|| / ||donor|| (Frobenius)."""
        size = float(self.size.norm())
        return float(self.change.norm()) / size if size > 0 else 0.0

    def most(self, count: int) -> list[tuple[int, float, float]]:
        """(id, length of the change, length of the donor's row) of the rows that moved most, none that did not."""
        order = torch.argsort(self.change, descending=True, stable=True)[:count].tolist()
        found = [(int(row), float(self.change[row]), float(self.size[row])) for row in order]
        return [item for item in found if item[1] > 0]


@dataclass(frozen=True)
class ResultRows:
    """One matrix of the result. setting: which matrix of which models. change: what happens to the donor's rows."""

    setting: Setting
    change: Change
    movement: Movement = field(init=False)

    def __post_init__(self) -> None:
        height = self.setting.donor.height
        object.__setattr__(self, "movement", Movement(torch.zeros(height), torch.zeros(height)))

    def replacement(self) -> Replacement:
        """The matrix as `write_checkpoint` takes it, in the target's dtype."""
        dtype = next(name for name, dtype in FLOAT_DTYPES.items() if dtype == self.setting.target.dtype)
        shape = (self.setting.relation.rows, self.setting.target.width)
        return Replacement(shape, dtype, self._chunks)

    def _chunks(self) -> Iterator[torch.Tensor]:
        relation, donor, target = self.setting.relation, self.setting.donor, self.setting.target
        copied = gather_any(target, relation.copied_from)
        total, count = torch.zeros(target.width, dtype=torch.float64), 0
        padding = relation.conversion.ids(Origin.PADDING)
        fillers = np.setdiff1d(padding, relation.copied_ids)
        # Two buffers for all chunks: new memory for each would cost more than all arithmetic but the product.
        given = torch.empty((min(APPLY_ROWS, donor.height), donor.width), dtype=donor.dtype)
        result = torch.empty(given.shape, dtype=target.dtype)
        for start, stop in blocks(donor.height, APPLY_ROWS):
            rows = result[: stop - start]
            with self.setting.phases("applying"):
                before = donor.read(start, stop, given[: stop - start])
                before[_within(padding, start, stop)] = 0  # what the donor holds there takes no part in anything
                self.change.apply(start, before, rows)
                self._measure(start, before, rows)
                self._copy(rows, start, copied)
                tokens = rows[: max(0, relation.donor_tokens - start)]
                for part in tokens.split(MEASURE_ROWS):
                    total += part.sum(0, dtype=torch.float32)
                empty = _within(fillers, start, stop)
                count += len(tokens) - int((empty < len(tokens)).sum())
                rows[empty] = (total / max(1, count)).to(target.dtype)
            yield rows
        if relation.rows > donor.height:
            mean = (total / max(1, count)).to(target.dtype)
            tail = mean.repeat(relation.rows - donor.height, 1)
            self._copy(tail, donor.height, copied)
            yield tail

    def _measure(self, start: int, before: torch.Tensor, after: torch.Tensor) -> None:
        """Note how far rows moved. UserError: the donor's rows, or the product, hold NaN or infinity."""
        for low, high in blocks(len(before), MEASURE_ROWS):
            old, new = before[low:high].float(), after[low:high].float()
            self.movement.size[start + low : start + high] = torch.linalg.vector_norm(old, dim=1)
            self.movement.change[start + low : start + high] = torch.linalg.vector_norm(new - old, dim=1)
        if not torch.isfinite(self.movement.change[start : start + len(before)]).all():
            check_finite(after, self.setting.donor.where, np.arange(start, start + len(before)))

    def _copy(self, rows: torch.Tensor, start: int, copied: torch.Tensor) -> None:
        """Put the target's rows where they belong among `rows`, which begin at id `start`."""
        ids = self.setting.relation.copied_ids
        inside = np.flatnonzero((ids >= start) & (ids < start + rows.shape[0]))
        rows[torch.from_numpy(ids[inside] - start)] = copied[torch.from_numpy(inside)]
        moved = ids[inside][ids[inside] < len(self.movement.change)]
        self.movement.change[torch.from_numpy(moved)] = 0


def _within(ids: Ids, start: int, stop: int) -> torch.Tensor:
    """Those of `ids` that lie in [start, stop), counted from `start`."""
    return torch.from_numpy(ids[(ids >= start) & (ids < stop)] - start)
