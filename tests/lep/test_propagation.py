"""What propagation does to rows: invariants 12 to 18 of the specification, on tiny models."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from tokenizers import AddedToken

from darumeru.models.checkpoint import open_checkpoint
from lep_plugins.conversion import Origin, conversion_matrix
from tests.lep.lep_models import (
    ADDED,
    EMBEDDING,
    HEAD,
    METHODS,
    Folders,
    assert_rows,
    copied_rows,
    generator,
    make_base,
    make_donor,
    make_target,
    ordinary_rows,
    padded,
    rewrite,
    run,
    russian_tokenizer,
    tokenizer,
    vocabulary_names,
    weights,
)

# The result of the fit


def exact_result(folders: Folders, name: str, shared_only: bool) -> torch.Tensor:
    """donor x D in float64, D by dense least squares: the definition, with nothing of the code under test but T."""
    base, target, donor = (weights(folder)[name].double() for folder in (folders.base, folders.target, folders.donor))
    matrix = conversion_matrix(tokenizer(folders.base), tokenizer(folders.donor), len(base), len(donor))
    dense = matrix.matrix.toarray()
    fitted = [row for row in ordinary_rows(folders) if not shared_only or matrix.origins[row] == Origin.COPIED]
    one, two = dense[fitted] @ base.numpy(), dense[fitted] @ target[: len(base)].numpy()
    solution = scipy.linalg.lstsq(one, two, lapack_driver="gelsd")[0]
    return donor @ torch.from_numpy(solution)


@pytest.mark.parametrize("method", ["conversion", "overlap"])
@pytest.mark.parametrize("shape", ["untied", "tied"])
def test_the_result_is_the_direct_least_squares_one(
    request: pytest.FixtureRequest, tmp_path: Path, method: str, shape: str
) -> None:
    folders = replace(request.getfixturevalue("built" if shape == "untied" else "built_tied"), output=tmp_path / "out")
    result, report = run(folders, method)
    assert [part.tensor for part in report.matrices] == ([EMBEDDING, HEAD] if shape == "untied" else [EMBEDDING])
    for part in report.matrices:
        rows = ordinary_rows(folders)
        exact = exact_result(folders, part.tensor, method == "overlap")[rows]
        floor = (exact.bfloat16().double() - exact).norm()
        assert (result[part.tensor][rows].double() - exact).norm() < 1.02 * floor
        assert part.precision == "bfloat16 products on cpu" or "AVX512" not in torch.backends.cpu.get_cpu_capability()


def test_a_large_change_is_applied_in_float32(own: Folders) -> None:
    shutil.rmtree(own.target)
    make_target(own.base, own.target, change=1.0)
    result, report = run(own)
    rows = ordinary_rows(own)
    exact = exact_result(own, EMBEDDING, False)[rows]
    assert report.matrices[0].precision == "float32 products on cpu"
    assert (result[EMBEDDING][rows].double() - exact).norm() < 1.02 * (exact.bfloat16().double() - exact).norm()
    assert any("rows changed by" in warning for warning in report.warnings)


def test_a_linear_map_is_recovered_and_applied(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama3", False, 32, torch.float32)
    target = make_target(base, tmp_path / "target", change=0.8, noise=0, added=False)
    donor = make_donor(base, tmp_path / "donor", russian_tokenizer("llama3"))
    folders = Folders(base, target, donor, tmp_path / "out")
    result, _ = run(folders)
    for name in (EMBEDDING, HEAD):
        one, two, three = (weights(folder)[name].double() for folder in (base, target, donor))
        mapping = torch.linalg.lstsq(one, two).solution
        assert (one @ mapping - two).abs().max() < 1e-4  # the target really is a linear map of the base
        rows = ordinary_rows(folders)
        assert (result[name][rows] - three[rows] @ mapping).abs().max() < 1e-4


# Invariant 12: the same model twice changes nothing


@pytest.mark.parametrize("method", METHODS)
def test_base_as_target_gives_the_donor(folders: Folders, method: str) -> None:
    folders = replace(folders, target=folders.base)
    result, report = run(folders, method)
    donor = weights(folders.donor)
    rows = ordinary_rows(folders)
    for name in (EMBEDDING, HEAD):
        assert_rows(result[name][rows], donor[name][rows])
    assert all(part.change == 0 and part.moved == () for part in report.matrices)


@pytest.mark.parametrize("method", ["overlap", "conversion"])
def test_base_as_target_gives_the_donor_also_where_tokens_are_fewer_than_columns(tmp_path: Path, method: str) -> None:
    base = make_base(tmp_path / "base", "llama3", False, 640, torch.bfloat16)
    donor = make_donor(base, tmp_path / "donor", russian_tokenizer("llama3"))
    folders = Folders(base, base, donor, tmp_path / "out")
    result, report = run(folders, method)
    rows = ordinary_rows(folders)
    for part in report.matrices:
        assert part.rank is not None and part.rank < part.width
        assert_rows(result[part.tensor][rows], weights(donor)[part.tensor][rows])
    assert any("has rank" in warning for warning in report.warnings)


# Invariants 14 and 15


def test_overlap_looks_at_shared_tokens_only(own: Folders, tmp_path: Path) -> None:
    before, _ = run(own, "overlap")
    base, donor = tokenizer(own.base), tokenizer(own.donor)
    shared = conversion_matrix(base, donor).one_hot()[1]
    outside = sorted(set(range(base.get_vocab_size())) - set(shared.tolist()))
    assert len(outside) > 50
    for place, folder in enumerate((own.base, own.target)):

        def disturb(tensors: dict[str, torch.Tensor], seed: int = place) -> None:
            for name in (EMBEDDING, HEAD):
                shape = (len(outside), tensors[name].shape[1])
                tensors[name][outside] = 9 * torch.randn(shape, generator=generator(seed)).bfloat16()

        rewrite(folder, disturb)
    after, _ = run(replace(own, output=tmp_path / "again"), "overlap")
    changed, _ = run(replace(own, output=tmp_path / "conversion"), "conversion")
    for name in (EMBEDDING, HEAD):
        assert_rows(after[name], before[name])
        assert not torch.equal(changed[name], before[name])


def test_conversion_is_overlap_where_the_vocabularies_are_equal(own: Folders, tmp_path: Path) -> None:
    shutil.rmtree(own.donor)
    make_donor(own.base, own.donor, tokenizer(own.base))
    one, report = run(own, "conversion")
    other, _ = run(replace(own, output=tmp_path / "overlap"), "overlap")
    assert report.tokens["mean"] == 0
    for name in (EMBEDDING, HEAD):
        assert_rows(one[name], other[name])


def test_swap_returns_the_donor(folders: Folders) -> None:
    result, report = run(folders, "swap")
    rows = ordinary_rows(folders)
    for name in (EMBEDDING, HEAD):
        assert_rows(result[name][rows], weights(folders.donor)[name][rows])
    assert all(part.rank is None and part.change == 0 for part in report.matrices)


def test_chat_vector_moves_every_tensor_by_target_minus_base(folders: Folders) -> None:
    result, _ = run(folders, "chat_vector")
    base, target, donor = (weights(folder) for folder in (folders.base, folders.target, folders.donor))
    for name in result.keys() - {EMBEDDING, HEAD}:
        expected = donor[name].float() + (target[name].float() - base[name].float())
        assert_rows(result[name], expected.bfloat16())
    matrix = conversion_matrix(tokenizer(folders.base), tokenizer(folders.donor), len(base[EMBEDDING]))
    rows = ordinary_rows(folders)
    for name in (EMBEDDING, HEAD):
        change = matrix.matrix.toarray() @ (target[name][: len(base[name])].double() - base[name].double()).numpy()
        expected = donor[name].double()[rows] + torch.from_numpy(change)[rows]
        error = (result[name][rows].double() - expected).norm() / (expected.bfloat16().double() - expected).norm()
        assert error < 1.001


# Invariant 16: rows that are the target's


@pytest.mark.parametrize("method", METHODS)
def test_added_and_special_rows_are_the_targets(folders: Folders, method: str) -> None:
    result, report = run(folders, method)
    target = weights(folders.target)
    pairs = copied_rows(folders)
    assert len(pairs) == 8 + len(ADDED)
    assert report.appended == tuple(name for name, _ in ADDED)
    for name in (EMBEDDING, HEAD):
        assert_rows(result[name][list(pairs)], target[name][list(pairs.values())])


def test_no_row_comes_from_uninitialized_memory(folders: Folders, tmp_path: Path) -> None:
    before, _ = run(folders)
    torch.use_deterministic_algorithms(True)  # torch then fills every new buffer with NaN
    try:
        assert torch.empty(3).isnan().all()
        after, _ = run(replace(folders, output=tmp_path / "poisoned"))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, tensor in before.items():
        assert torch.isfinite(tensor).all()
        assert_rows(after[name], tensor)


def test_more_added_tokens_than_padding_grow_the_matrix_by_mean_rows(own: Folders) -> None:
    grown = tokenizer(own.target)
    names = [f"<|tool_{place}|>" for place in range(70)]
    grown.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    grown.save(str(own.target / "tokenizer.json"))

    def grow(tensors: dict[str, torch.Tensor]) -> None:
        for name in (EMBEDDING, HEAD):
            extra = torch.randn((128, tensors[name].shape[1]), generator=generator(7)).bfloat16()
            tensors[name] = torch.cat([tensors[name], extra])

    rewrite(own.target, grow)
    result, report = run(own)
    written = tokenizer(own.output)
    donor_rows = len(weights(own.donor)[EMBEDDING])
    tokens = written.get_vocab_size()
    assert report.rows == padded(tokens) > donor_rows and tokens < report.rows
    assert open_checkpoint(own.output).config["vocab_size"] == report.rows
    for name in (EMBEDDING, HEAD):
        pairs = copied_rows(own)
        assert_rows(result[name][list(pairs)], weights(own.target)[name][list(pairs.values())])
        first = max(tokens, donor_rows)
        mean = result[name][: tokenizer(own.donor).get_vocab_size()].double().mean(0)
        assert_rows(result[name][first:], mean.bfloat16().expand(report.rows - first, -1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [7e5, float("nan")])
def test_padding_rows_of_the_donor_never_reach_the_result(
    own: Folders, tmp_path: Path, method: str, value: float
) -> None:
    """The case lep_padding_rows: padding rows hold the mean of the other rows, whatever the donor holds there."""
    before, _ = run(own, method)
    tokens = tokenizer(own.donor).get_vocab_size()

    def pad(tensors: dict[str, torch.Tensor]) -> None:
        for name in (EMBEDDING, HEAD):
            assert len(tensors[name]) > tokens
            tensors[name][tokens:] = value

    rewrite(own.donor, pad)
    after, report = run(replace(own, output=tmp_path / "again"), method)
    appended = len(report.appended)
    for name in (EMBEDDING, HEAD):
        assert_rows(after[name], before[name])
        first = tokens + appended
        mean, others = after[name][:tokens].double().mean(0), after[name][:first].double()
        assert torch.allclose(
            after[name][first:].double(), mean.expand(len(after[name]) - first, -1), rtol=2**-7, atol=1e-6
        )
        assert after[name].double().norm(dim=1)[first:].max() <= others.norm(dim=1).max()
    counts = report.rows_by_origin()
    assert sum(counts.values()) == report.rows and counts["padding"] == report.rows - first


def test_holes_among_the_donors_ids_get_the_mean_of_the_rows_before_them(own: Folders) -> None:
    """A hole is a padding row too."""
    path = own.donor / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    inner = {part for merge in state["model"]["merges"] for part in merge}
    leaf = next(p for p in reversed(state["model"]["vocab"]) if p not in inner and len(p) > 1)
    hole = state["model"]["vocab"].pop(leaf)
    state["model"]["merges"] = [merge for merge in state["model"]["merges"] if "".join(merge) != leaf]
    path.write_text(json.dumps(state), encoding="utf-8")

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for name in (EMBEDDING, HEAD):
            tensors[name][hole] = 7e5

    rewrite(own.donor, spoil)
    result, _ = run(own)
    for name in (EMBEDDING, HEAD):
        assert result[name].abs().max() < 100


# Invariant 17: sizes and orders


def reordered(folder: Path, seed: int) -> list[int]:
    """Give the ordinary tokens of a byte-level model other ids; returns the new id of each old one."""
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    order = np.random.default_rng(seed).permutation(len(state["model"]["vocab"])).tolist()
    state["model"]["vocab"] = {piece: order[token_id] for piece, token_id in state["model"]["vocab"].items()}
    path.write_text(json.dumps(state), encoding="utf-8")

    def permute(tensors: dict[str, torch.Tensor]) -> None:
        for name in vocabulary_names(tensors):
            rows = tensors[name].clone()
            rows[order] = tensors[name][: len(order)]
            tensors[name] = rows

    rewrite(folder, permute)
    return order


@pytest.mark.parametrize("method", METHODS)
def test_ids_of_the_target_in_another_order_change_nothing(own: Folders, tmp_path: Path, method: str) -> None:
    before, _ = run(own, method)
    reordered(own.target, 1)
    after, _ = run(replace(own, output=tmp_path / "again"), method)
    for name in (EMBEDDING, HEAD):
        assert_rows(after[name], before[name])


@pytest.mark.parametrize("method", METHODS)
def test_ids_of_the_donor_in_another_order_reorder_the_result(own: Folders, tmp_path: Path, method: str) -> None:
    before, _ = run(own, method)
    order = reordered(own.donor, 2)
    after, _ = run(replace(own, output=tmp_path / "again"), method)
    for name in (EMBEDDING, HEAD):
        error = (after[name][order].double() - before[name][: len(order)].double()).abs()
        assert (error <= 2**-7 * before[name][: len(order)].double().abs()).all()  # sums in another order
        assert (error > 0).double().mean() < 0.01


def test_a_base_with_fewer_rows_than_the_target(own: Folders, tmp_path: Path) -> None:
    before, _ = run(own)

    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        for name in (EMBEDDING, HEAD):
            tensors[name] = tensors[name][: tokenizer(own.base).get_vocab_size()].clone()

    def pad(tensors: dict[str, torch.Tensor]) -> None:
        for name in (EMBEDDING, HEAD):
            tensors[name] = torch.cat([tensors[name], torch.full_like(tensors[name][:64], 1000.0)])

    rewrite(own.base, shrink)
    rewrite(own.target, pad)
    after, _ = run(replace(own, output=tmp_path / "again"))
    for name in (EMBEDDING, HEAD):
        assert_rows(after[name], before[name])  # padding rows, however large, take no part
