"""The least-squares problem of Learned Embedding Propagation, at the cost of the tokens that matter.

With A = T X and B = T Y (X, Y: rows of base and target), D = argmin ||A D - B|| is found as I + Delta,

    Delta = argmin ||A Delta - (B - A)||,    A^T A = X_u^T S X_u,    A^T (B - A) = X_u^T S Z_u,

where u are the old tokens that T uses, Z = Y - X and S = T_u^T T_u (sparse). No matrix of V_new rows is built.
arXiv:2412.21140, section 2.2, in the difference form: the same D at full rank, and the identity on every direction
that A does not reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lep_plugins.propagation.phases import Phases
from lep_plugins.propagation.rows import Ids, Rows, blocks, gather_any

BLOCK_ROWS = 4096
BAG_ROWS = 256
FLOAT32_PIVOT = 1e-3
"""Smallest Cholesky pivot of the equilibrated Gram matrix at which fp32 products are exact enough."""

RANK_CUTOFF = 1e-12
"""Pivots and eigenvalues below this share of the largest count as zero."""

PROBES = 128
"""Random directions that estimate the residual (exact up to this width)."""

RESIDUAL_ROWS = 512

SMALL = 512
"""Width up to which the condition number is computed from all eigenvalues."""


@dataclass(frozen=True)
class Problem:
    """base, target: the rows of the two models. base_ids (ascending), target_ids: where the used old tokens have
    their rows. weights: T_u, a scipy CSR matrix, fit rows x used tokens."""

    base: Rows
    target: Rows
    base_ids: Ids
    target_ids: Ids
    weights: Any


@dataclass(frozen=True)
class Fit:
    """rank: of A. condition: of A with columns scaled to length one, over its rank. residual: ||A Delta - (B - A)|| /
    ||B - A|| (0 when B = A). delta_norm: ||Delta|| (Frobenius). solver: which way was taken."""

    rank: int
    condition: float
    residual: float
    delta_norm: float
    solver: str


@dataclass(frozen=True)
class Solution:
    """delta: d x d, float64, on the device of the products. fit: how good it is."""

    delta: torch.Tensor
    fit: Fit


def solve(
    problem: Problem, device: str = "cpu", block_rows: int = BLOCK_ROWS, phases: Phases | None = None
) -> Solution:
    """Solve the least-squares problem; products run on `device`. UserError for NaN or infinity in used rows."""
    phases = phases or Phases()
    with phases("reading rows"):
        used = _UsedRows.gather(problem, device, block_rows, phases)
    solved = None
    if problem.base.dtype != torch.float64 and min(problem.weights.shape) >= problem.base.width:
        equations, solver = _normal_equations(used, torch.float32), "float32 products, Cholesky"
        with phases("solving"):
            solved = _cholesky(equations, FLOAT32_PIVOT)
    if solved is None:
        equations, solver = _normal_equations(used, torch.float64), "float64 products, Cholesky"
        with phases("solving"):
            solved = _cholesky(equations, RANK_CUTOFF)
    if solved is None:
        solver = "float64 products, eigen-decomposition"
        with phases("solving"):
            solved = _eigen(equations)
    delta, rank, condition = solved
    probes = equations.probes
    del equations
    with phases("residual"):
        return Solution(delta, Fit(rank, condition, _residual(used, delta, probes), float(delta.norm()), solver))


@dataclass(frozen=True)
class _UsedRows:
    """The rows of the used tokens: base in memory in its stored dtype, target read block by block."""

    problem: Problem
    base: torch.Tensor
    overlap: Any
    device: str
    block_rows: int
    phases: Phases

    @classmethod
    def gather(cls, problem: Problem, device: str, block_rows: int, phases: Phases) -> _UsedRows:
        weights = problem.weights.tocsr()
        overlap = (weights.T @ weights).tocsr()
        return cls(problem, gather_any(problem.base, problem.base_ids), overlap, device, block_rows, phases)

    def put_base(self, start: int, stop: int, out: torch.Tensor) -> torch.Tensor:
        """Rows [start, stop) of X."""
        return out[: stop - start].copy_(self.base[start:stop])

    def put_change(self, start: int, stop: int, base: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Rows [start, stop) of Z, target minus base; `base` are the base's."""
        target = gather_any(self.problem.target, self.problem.target_ids[start:stop])
        return out[: stop - start].copy_(target).sub_(base)

    def put_mixed(self, start: int, stop: int, out: torch.Tensor) -> torch.Tensor:
        """Rows [start, stop) of S X. A used token meets itself, so a row of S with one entry has it on the diagonal."""
        part, mixed = self.overlap[start:stop], self.put_base(start, stop, out)
        own = torch.from_numpy(self.overlap.diagonal()[start:stop]).to(out)
        mixed.mul_(own[:, None])
        several = np.flatnonzero(np.diff(part.indptr) > 1)
        for low, high in blocks(len(several), BAG_ROWS):
            chosen = several[low:high]
            mixed[torch.from_numpy(chosen).to(out.device)] = self._mix(part[chosen], out.dtype)
        return mixed

    def _mix(self, part: Any, dtype: torch.dtype) -> torch.Tensor:
        near, places = np.unique(part.indices, return_inverse=True)
        rows = self.base[torch.from_numpy(near.astype(np.int64))].to(self.device).to(dtype)
        return torch.nn.functional.embedding_bag(
            torch.from_numpy(places.astype(np.int64)).to(self.device),
            rows,
            torch.from_numpy(part.indptr[:-1].astype(np.int64)).to(self.device),
            mode="sum",
            per_sample_weights=torch.from_numpy(part.data).to(dtype).to(self.device),
        )


@dataclass(frozen=True)
class _Probes:
    """Directions in which the residual is looked at, d x k, and Z in them, used tokens x k."""

    directions: torch.Tensor
    change: torch.Tensor


@dataclass(frozen=True)
class _Equations:
    """gram: A^T A with rows and columns divided by `scales` (column lengths of A; one for a column of zeros).
    right: A^T (B - A) with rows divided by them. All float64."""

    gram: torch.Tensor
    right: torch.Tensor
    scales: torch.Tensor
    probes: _Probes


def _normal_equations(used: _UsedRows, dtype: torch.dtype) -> _Equations:
    """X^T S X and X^T S Z, d x d, float64: products in `dtype` over row blocks, accumulated in float64."""
    width = used.base.shape[1]
    gram = torch.zeros((width, width), dtype=torch.float64, device=used.device)
    right = torch.zeros_like(gram)
    directions = _directions(width, used.device)
    seen = []
    panels = list(blocks(width, max(256, -(-width // 8))))
    # Buffers for all blocks: new memory for each would cost as much as the sparse products.
    height = min(used.block_rows, used.base.shape[0])
    buffers = [torch.empty((height, width), dtype=dtype, device=used.device) for _ in range(3)]
    for start, stop in blocks(used.base.shape[0], used.block_rows):
        with used.phases("sparse products"):
            mixed = used.put_mixed(start, stop, buffers[0])
        with used.phases("Gram matrix"):
            rows = used.put_base(start, stop, buffers[1])
            for low, high in panels:  # symmetric: only what lies right of the panel's diagonal
                gram[low:high, low:].add_(rows[:, low:high].T @ mixed[:, low:])
        with used.phases("reading rows"):
            change = used.put_change(start, stop, rows, buffers[2])
        with used.phases("right-hand side"):
            for low, high in panels:
                right[low:high].add_(mixed[:, low:high].T @ change)
        with used.phases("residual"):
            seen.append(change.to(directions.dtype) @ directions)
    for low, high in panels:
        block = gram[low:high, low:high]
        gram[low:high, low:high] = (block + block.T) / 2
        gram[high:, low:high] = gram[low:high, high:].T
    scales = gram.diagonal().clamp_min(0).sqrt()
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    gram.div_(scales[:, None]).div_(scales)
    return _Equations(gram, right.div_(scales[:, None]), scales, _Probes(directions, torch.cat(seen)))


def _directions(width: int, device: str) -> torch.Tensor:
    """All columns in float64 when there are few, else random combinations of them in float32."""
    if width <= PROBES:
        return torch.eye(width, dtype=torch.float64, device=device)
    return torch.randn((width, PROBES), generator=torch.Generator().manual_seed(0)).to(device)


def _cholesky(equations: _Equations, smallest_pivot: float) -> tuple[torch.Tensor, int, float] | None:
    """(Delta, rank, condition), or None when a pivot of the Gram matrix is below `smallest_pivot`, or its smallest
    eigenvalue below the rank cutoff: rounding can leave a singular matrix with pivots that look sound."""
    factor, info = torch.linalg.cholesky_ex(equations.gram)
    if int(info) != 0 or not float(factor.diagonal().min()) ** 2 >= smallest_pivot:
        return None
    condition = _condition(equations.gram, factor)
    if condition**2 * RANK_CUTOFF > 1:
        return None
    delta = torch.cholesky_solve(equations.right, factor)
    return delta.div_(equations.scales[:, None]), factor.shape[0], condition


def _condition(gram: torch.Tensor, factor: torch.Tensor) -> float:
    """Square root of the ratio of the extreme eigenvalues: the condition number of A, its columns scaled."""
    width = gram.shape[0]
    if width <= SMALL:
        values = torch.linalg.eigvalsh(gram)
        return float((values[-1] / values[0].clamp_min(torch.finfo(values.dtype).tiny)).sqrt())
    from scipy.sparse.linalg import LinearOperator, eigsh

    def times(vector: Any) -> Any:
        return (gram @ torch.from_numpy(vector).to(gram.device).reshape(-1, 1)).cpu().numpy()

    def divide(vector: Any) -> Any:
        # Not cholesky_solve, which copies the factor for every vector.
        column = torch.from_numpy(vector).to(factor.device).reshape(-1, 1)
        column = torch.linalg.solve_triangular(factor, column, upper=False)
        return torch.linalg.solve_triangular(factor.mT, column, upper=True).cpu().numpy()

    first = np.random.default_rng(0).standard_normal(width)
    extremes = [
        float(eigsh(LinearOperator((width, width), matvec, dtype=np.float64), 1, v0=first, tol=1e-2)[0][0])
        for matvec in (times, divide)
    ]
    return float(np.sqrt(extremes[0] * extremes[1]))


def _eigen(equations: _Equations) -> tuple[torch.Tensor, int, float]:
    """(Delta, rank, condition) of the minimum-norm solution over the eigenvalues above the cutoff."""
    scales = equations.scales[:, None]
    values, vectors = torch.linalg.eigh(equations.gram)
    kept = values > RANK_CUTOFF * values[-1].clamp_min(0)
    rank = int(kept.sum())
    if rank == 0:
        return torch.zeros_like(equations.gram), 0, 1.0
    values, vectors = values[kept], vectors[:, kept]
    delta = vectors @ ((vectors.T @ equations.right) / values[:, None]) / scales
    # Scaling skewed the null space: back into the row space of A, so that what A does not reach stays untouched.
    reached, _ = torch.linalg.qr(vectors * scales)
    return reached @ (reached.T @ delta), rank, float((values[-1] / values[0]).sqrt())


def _residual(used: _UsedRows, delta: torch.Tensor, probes: _Probes) -> float:
    """||A Delta - (B - A)|| / ||B - A||, on all columns when d <= PROBES, else on PROBES random combinations of them.

    The residual itself is projected, not its square's two large parts, so nothing cancels.
    """
    dtype = probes.directions.dtype
    projected = (delta @ probes.directions.double()).to(dtype)
    count = used.base.shape[0]
    buffer = torch.empty((min(RESIDUAL_ROWS, count), delta.shape[0]), dtype=dtype, device=delta.device)
    fitted = [used.put_base(*block, buffer) @ projected for block in blocks(count, RESIDUAL_ROWS)]
    weights = used.problem.weights.astype(np.float64 if dtype == torch.float64 else np.float32)
    goal = weights @ probes.change.cpu().numpy()
    size = float(np.linalg.norm(goal))
    return float(np.linalg.norm(weights @ torch.cat(fitted).cpu().numpy() - goal)) / size if size > 0 else 0.0
