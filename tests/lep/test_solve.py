"""The least-squares solver against scipy's SVD-based one, in every way it can take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from lep_plugins.propagation.solve import Problem, Solution, solve

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MemoryRows:
    """Rows that are in memory already."""

    rows: torch.Tensor
    where: str = "memory"

    @property
    def height(self) -> int:
        return self.rows.shape[0]

    @property
    def width(self) -> int:
        return self.rows.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.rows.dtype

    def read(self, start: int, stop: int) -> torch.Tensor:
        return self.rows[start:stop].clone()

    def gather(self, ids: npt.NDArray[np.int64]) -> torch.Tensor:
        assert (np.diff(ids) >= 0).all()
        return self.rows[torch.from_numpy(ids)]


def averages(rng: np.random.Generator, height: int, used: int) -> Any:
    """A random T: each row the mean of one to four tokens, repeats allowed; every token is used."""
    matrix = np.zeros((height, used))
    for row in range(height):
        chosen = rng.integers(0, used, rng.integers(1, 5))
        chosen[0] = row % used
        np.add.at(matrix[row], chosen, 1 / len(chosen))
    return csr_matrix(matrix)


def problem(
    base: Matrix, target: Matrix, weights: Any, dtype: torch.dtype = torch.float32, shuffle: int = 0
) -> Problem:
    """The problem over all rows; the target's rows lie in another order."""
    order = np.random.default_rng(shuffle).permutation(len(base))
    placed = np.empty_like(target)
    placed[order] = target
    rows = [MemoryRows(torch.from_numpy(part).to(dtype)) for part in (base, placed)]
    return Problem(rows[0], rows[1], np.arange(len(base)), order.astype(np.int64), weights)


def direct(task: Problem) -> tuple[Matrix, Matrix]:
    """(A, Delta) by dense algebra in float64: gelsd takes the minimum-norm solution."""
    base, target = (rows.rows.double().numpy() for rows in (task.base, task.target))  # type: ignore[attr-defined]
    weights = task.weights.toarray()
    one, two = weights @ base[task.base_ids], weights @ target[task.target_ids]
    solution = scipy.linalg.lstsq(one, two - one, lapack_driver="gelsd", cond=1e-6)[0]
    return one, solution


def relative(found: Solution, expected: Matrix) -> float:
    return float(np.linalg.norm(found.delta.numpy() - expected) / max(np.linalg.norm(expected), 1e-300))


@settings(deadline=None, max_examples=40)
@example(seed=6, used=38, height=1, width=37, block=1, dtype=torch.float64)  # singular, with pivots that look sound
@given(
    seed=st.integers(0, 1000),
    used=st.integers(1, 90),
    height=st.integers(1, 150),
    width=st.integers(1, 40),
    block=st.sampled_from([1, 7, 64, 4096]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_is_the_minimum_norm_least_squares_solution(
    seed: int, used: int, height: int, width: int, block: int, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(seed)
    base, target = rng.standard_normal((2, used, width))
    task = problem(base, target, averages(rng, max(height, used), used), dtype, seed)
    one, expected = direct(task)
    found = solve(task, block_rows=block)
    if found.fit.condition < 1e4:  # beyond that the comparison, not the solver, is at its end
        squared = found.fit.condition**2 * torch.finfo(torch.float32).eps  # what fp32 products may lose
        assert relative(found, expected) < (1e-5 + squared if "float32" in found.fit.solver else 1e-4)
    singular = np.linalg.svd(one, compute_uv=False)
    singular /= max(singular.max(), 1e-300)
    if not ((singular > 1e-7) & (singular < 1e-5)).any():  # between these what counts as zero is a matter of scaling
        assert found.fit.rank == (singular > 1e-6).sum()


def well_conditioned(width: int = 24, used: int = 90, seed: int = 0) -> tuple[Matrix, Matrix, Any]:
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((used, width)) + 0.3
    return base, base + 0.1 * rng.standard_normal((used, width)), averages(rng, 200, used)


def test_a_linear_map_is_recovered() -> None:
    base, _, weights = well_conditioned()
    mapping = np.random.default_rng(1).standard_normal((24, 24))
    for dtype, limit in ((torch.float64, 1e-8), (torch.float32, 1e-5)):
        found = solve(problem(base, base @ mapping, weights, dtype))
        assert np.abs(found.delta.numpy() + np.eye(24) - mapping).max() < limit
        assert found.fit.residual < limit and found.fit.rank == 24


def test_the_size_of_a_block_does_not_matter() -> None:
    task = problem(*well_conditioned())
    whole = solve(task).delta
    for block in (1, 13, 89, 90):
        assert (solve(task, block_rows=block).delta - whole).abs().max() < 1e-6


def test_no_change_gives_exactly_no_change() -> None:
    base, _, weights = well_conditioned()
    deficient = base.copy()
    deficient[:, 3] = deficient[:, 4]
    for rows in (base, deficient, base[:10]):
        found = solve(problem(rows, rows, csr_matrix(weights[:, : len(rows)].toarray())))
        assert torch.count_nonzero(found.delta) == 0 and found.fit.residual == 0


def nearly_dependent(gap: float) -> Problem:
    base, target, weights = well_conditioned()
    base[:, 1] = base[:, 0] + gap * base[:, 1]
    return problem(base, target, weights, torch.float64 if gap < 1e-4 else torch.float32)


@pytest.mark.parametrize(
    ("gap", "solver", "limit"),
    [
        (1.0, "float32 products, Cholesky", 1e-5),
        (1e-2, "float64 products, Cholesky", 1e-7),
        (1e-4, "float64 products, Cholesky", 1e-5),
    ],
)
def test_the_closer_columns_are_to_dependence_the_more_careful_the_way(gap: float, solver: str, limit: float) -> None:
    task = nearly_dependent(gap)
    one, expected = direct(task)
    found = solve(task)
    assert found.fit.solver == solver
    assert relative(found, expected) < limit
    scaled = one / np.linalg.norm(one, axis=0)
    assert found.fit.condition == pytest.approx(np.linalg.cond(scaled), rel=1e-2)


def damaged(kind: str) -> Problem:
    base, target, weights = well_conditioned()
    if kind == "dead column":
        base[:, 5] = 0
    elif kind == "two equal columns":
        base[:, 5] = base[:, 6]
    elif kind == "fewer tokens than columns":
        base, target, weights = base[:10], target[:10], csr_matrix(weights[:, :10].toarray())
    elif kind == "fewer fitted than columns":
        weights = weights[:12]
    else:
        base[:, 3:9] = base[:, 9:15] @ np.random.default_rng(3).standard_normal((6, 6)) * 100
    return problem(base, target, weights)


@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        ("dead column", 23),
        ("two equal columns", 23),
        ("fewer tokens than columns", 10),
        ("fewer fitted than columns", 12),
        ("columns of other scale that depend", 18),
    ],
)
def test_what_the_base_does_not_reach_stays_untouched(kind: str, rank: int) -> None:
    task = damaged(kind)
    one, expected = direct(task)
    found = solve(task)
    assert (found.fit.rank, found.fit.solver) == (rank, "float64 products, eigen-decomposition")
    assert relative(found, expected) < 1e-4  # float32 rows are dependent to 1e-7 only
    outside = scipy.linalg.null_space(one, rcond=1e-5)
    assert outside.shape[1] == 24 - rank
    assert np.abs(outside.T @ found.delta.numpy()).max() < 1e-5 * np.abs(expected).max()


def test_columns_of_any_scale_are_equal() -> None:
    base, target, weights = well_conditioned()
    scale = 10.0 ** np.linspace(-5, 5, 24)
    task = problem(base * scale, (base + 0.1 * (target - base)) * scale, weights)
    plain = direct(problem(base, base + 0.1 * (target - base), weights, torch.float64))[1]
    found = solve(task)
    assert found.fit.solver == "float32 products, Cholesky"
    assert np.abs(found.delta.numpy() * scale[:, None] / scale - plain).max() < 1e-5


def test_condition_and_residual_of_wide_models_are_estimated_well() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((1000, 600)) @ np.diag(np.linspace(1, 8, 600)) + 1
    target = base + 0.1 * rng.standard_normal(base.shape)
    task = problem(base, target, averages(rng, 1200, 1000))
    one, expected = direct(task)
    found = solve(task)
    goal = task.weights @ (target - base)
    residual = np.linalg.norm(one @ expected - goal) / np.linalg.norm(goal)
    assert relative(found, expected) < 1e-4
    assert found.fit.condition == pytest.approx(np.linalg.cond(one / np.linalg.norm(one, axis=0)), rel=0.03)
    assert found.fit.residual == pytest.approx(residual, rel=0.03)
    assert found.fit.delta_norm == pytest.approx(np.linalg.norm(expected), rel=1e-4)


def test_bf16_rows_are_read_as_they_are_stored() -> None:
    task = problem(*well_conditioned(), torch.bfloat16)
    assert relative(solve(task), direct(task)[1]) < 1e-5


def test_the_worked_example_of_the_documentation_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "adaptation.md").read_text(encoding="utf-8")
    code, shown = re.findall(r"```python\n(import numpy.*?)```\s+```text\n(.*?)```", text, re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert capsys.readouterr().out == shown
    found = solve(problem(names["base"], names["target"], csr_matrix(names["T"]), torch.float64))
    assert np.allclose(found.delta.numpy(), names["delta"])
