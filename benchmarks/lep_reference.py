"""What the propagation is measured against: the exact solution, the machine's limits, the obvious algorithm."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CHECK_ROWS = 2048


def check(folder: Path) -> dict[str, Any]:
    """||stored - exact|| / ||bf16(exact) - exact|| on rows spread over the donor."""
    import numpy as np
    import torch

    from darumeru.models.checkpoint import open_checkpoint
    from lep_plugins.conversion import Origin
    from lep_plugins.propagation.models import open_trio
    from lep_plugins.propagation.relation import relate
    from lep_plugins.propagation.rows import Rows
    from lep_plugins.propagation.solve import solve

    @dataclass(frozen=True)
    class Doubled:
        rows: Rows
        where: str = ""
        dtype: torch.dtype = torch.float64

        @property
        def width(self) -> int:
            return self.rows.width

        @property
        def height(self) -> int:
            return self.rows.height

        def read(self, start: int, stop: int) -> torch.Tensor:
            return self.rows.read(start, stop).double()

        def gather(self, ids: Any) -> torch.Tensor:
            return self.rows.gather(ids)

    trio = open_trio(folder / "base", folder / "target", folder / "donor")
    relation = relate(trio)
    ordinary = np.setdiff1d(np.arange(relation.donor_tokens), relation.copied_ids)
    picked = ordinary[np.unique(np.linspace(0, len(ordinary) - 1, CHECK_ROWS).astype(np.int64))]
    ratios = {}
    for matrix in trio.matrices:
        problem = relation.problem(trio, matrix, Origin.COPIED, Origin.MEAN)
        solution = solve(replace(problem, base=Doubled(problem.base), target=Doubled(problem.target)))
        donor = trio.donor.rows(matrix).gather(picked).double()
        exact = donor + donor @ solution.delta
        stored = open_checkpoint(folder / "out").gather(trio.target.tensor_name(matrix), picked).double()
        ratios[matrix] = float((stored - exact).norm() / (exact.bfloat16().double() - exact).norm())
    return {"error_over_rounding_floor": ratios}


def machine_speed(width: int) -> dict[str, Any]:
    """GFLOP/s of a square matrix product in each precision."""
    import torch

    speeds = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        one, two = (torch.randn((width, width)).to(dtype) for _ in range(2))
        best = min(_seconds(lambda one=one, two=two: one @ two) for _ in range(4))  # type: ignore[misc]
        speeds[str(dtype).removeprefix("torch.")] = 2 * width**3 / best / 1e9
    return {"machine_gflops": speeds}


def reference(folder: Path, width: int, rows: int) -> dict[str, Any]:
    """Seconds of the obvious way, extrapolated to all rows and both matrices: means in a loop, lstsq in float64."""
    import torch

    from darumeru.models.checkpoint import open_checkpoint
    from darumeru.models.token_bytes import load_tokenizer
    from lep_plugins.conversion import Origin, conversion_matrix

    matrix = conversion_matrix(load_tokenizer(folder / "base"), load_tokenizer(folder / "donor"))
    fitted = matrix.ids(Origin.COPIED, Origin.MEAN)
    sample = fitted[:: max(1, len(fitted) // rows)][:rows].tolist()
    name = "model.embed_tokens.weight"
    sides = [open_checkpoint(folder / model).rows(name) for model in ("base", "target")]
    one, two = (torch.empty((len(sample), width), dtype=torch.float64) for _ in range(2))

    def means() -> None:
        for place, token_id in enumerate(sample):
            sources = matrix.sources(token_id)
            one[place] = sides[0][sources].mean(0)
            two[place] = sides[1][sources].mean(0)

    averaging = _seconds(means)
    sides.clear()
    solving = _seconds(lambda: torch.linalg.lstsq(one, two, driver="gelsy"))
    # Householder QR of n x d takes 2 d^2 (n - d / 3) operations; means take as long a token everywhere.
    more_rows = len(fitted) / len(sample)
    more_work = (len(fitted) - width / 3) / (len(sample) - width / 3)
    return {
        "reference": {
            "measured_rows": len(sample),
            "measured_means_seconds": averaging,
            "measured_lstsq_seconds": solving,
            "all_seconds": 2 * (more_rows * averaging + more_work * solving),
            "extrapolated": len(sample) < len(fitted),
        }
    }


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
