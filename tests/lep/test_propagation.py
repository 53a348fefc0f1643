"""Learned Embedding Propagation on tiny models: invariants 12 to 20 and 22 of the specification, and bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models

from darumeru.adaptation.protocols import Candidate, Step, StepContext
from darumeru.errors import UserError
from lep_plugins.checkpoint import open_checkpoint
from lep_plugins.conversion import Origin, conversion_matrix
from lep_plugins.propagation import PropagationReport, PropagationStep, propagate
from tests.lep.lep_models import (
    ADDED,
    Folders,
    edit_json,
    embedding,
    generator,
    make_base,
    make_donor,
    make_folders,
    make_target,
    padded,
    rewrite,
    russian_tokenizer,
    vocabulary_names,
    weights,
)

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
METHODS = ("swap", "overlap", "conversion", "chat_vector")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("untied"))


@pytest.fixture(scope="module")
def built_tied(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture
def folders(built: Folders, tmp_path: Path) -> Folders:
    """The three models, to be read only, and a free place for the result."""
    return replace(built, output=tmp_path / "result")


@pytest.fixture
def tied(built_tied: Folders, tmp_path: Path) -> Folders:
    return replace(built_tied, output=tmp_path / "result")


@pytest.fixture
def own(folders: Folders, tmp_path: Path) -> Folders:
    """Copies that a test may change."""
    places = {role: tmp_path / role for role in ("base", "target", "donor")}
    for role, place in places.items():
        shutil.copytree(getattr(folders, role), place)
    return Folders(**places, output=folders.output)


Result = tuple[dict[str, torch.Tensor], PropagationReport]


def run(folders: Folders, method: str = "conversion", force: bool = False) -> Result:
    report = propagate(folders.base, folders.target, folders.donor, folders.output, method, force)
    return weights(folders.output), report


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def added_names(folder: Path) -> list[str]:
    return [token.content for token in tokenizer(folder).get_added_tokens_decoder().values()]


def copied_rows(folders: Folders) -> dict[int, int]:
    """Result id -> target id of the target's added tokens, found by name."""
    result, target = tokenizer(folders.output), tokenizer(folders.target)
    return {result.token_to_id(name): target.token_to_id(name) for name in added_names(folders.target)}


def ordinary_rows(folders: Folders) -> list[int]:
    """The donor's ids that are no added token of the target."""
    donor = tokenizer(folders.donor)
    special = {donor.token_to_id(name) for name in added_names(folders.target)}
    return [token_id for token_id in range(max(donor.get_vocab().values()) + 1) if token_id not in special]


def assert_rows(one: torch.Tensor, other: torch.Tensor) -> None:
    assert torch.equal(one.view(torch.int16), other.view(torch.int16)), "rows are not bit-equal"


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


# Invariant 19: tied models, nested configs, scales


def test_a_tied_model_is_fitted_once_and_keeps_one_matrix(tied: Folders) -> None:
    from transformers import AutoModelForCausalLM

    result, report = run(tied)
    assert len(report.matrices) == 1 and report.tied and HEAD not in result
    model = AutoModelForCausalLM.from_pretrained(tied.output)
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()


def test_a_redundant_head_of_a_tied_target_is_not_written(tied: Folders, tmp_path: Path) -> None:
    target = Path(shutil.copytree(tied.target, tmp_path / "target"))
    rewrite(target, lambda tensors: tensors.update({HEAD: embedding(tensors).clone()}))
    result, _ = run(replace(tied, target=target))
    assert HEAD not in result and json.loads((target / "config.json").read_text())["tie_word_embeddings"]


def test_tied_and_untied_models_do_not_mix(folders: Folders, tied: Folders) -> None:
    refuse(replace(folders, base=tied.base), "base has tied embeddings, target untied")
    refuse(replace(folders, donor=tied.donor), "base has untied embeddings, donor tied")


def test_scales_of_embeddings_must_agree(own: Folders, tmp_path: Path) -> None:
    before, _ = run(own)
    for folder in (own.base, own.target, own.donor):
        edit_json(folder / "config.json", embedding_multiplier=12.0)
    after, _ = run(replace(own, output=tmp_path / "again"))
    assert_rows(after[EMBEDDING], before[EMBEDDING])  # a common factor cancels
    edit_json(own.target / "config.json", embedding_multiplier=6.0)
    refuse(
        replace(own, output=tmp_path / "no"), "embedding scales: embedding_multiplier 12.0 and embedding_multiplier 6.0"
    )


def test_a_head_with_a_bias_is_refused_by_name(own: Folders) -> None:
    rewrite(own.target, lambda tensors: tensors.update({"lm_head.bias": torch.zeros(len(tensors[HEAD])).bfloat16()}))
    refuse(own, "lm_head.bias is not supported")


def test_a_model_with_a_nested_text_config(own: Folders, tmp_path: Path) -> None:
    plain, _ = run(own)
    for folder in (own.base, own.target, own.donor):

        def nest(tensors: dict[str, torch.Tensor]) -> None:
            for name in list(tensors):
                tensors[name.replace("model.", "model.language_model.")] = tensors.pop(name)
            tensors["model.vision_tower.embeddings.weight"] = torch.ones((4, 4))

        config = json.loads((folder / "config.json").read_text())
        file = folder / "model.safetensors"
        tensors = weights(folder)
        nest(tensors)
        save_file(tensors, str(file), metadata={"format": "pt"})
        outer = {"architectures": ["Seeing"], "text_config": config, "image_token_id": config["eos_token_id"]}
        (folder / "config.json").write_text(json.dumps(outer))
    nested, _ = run(replace(own, output=tmp_path / "again"))
    assert_rows(nested["model.language_model.embed_tokens.weight"], plain[EMBEDDING])
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["text_config"]["vocab_size"] == len(plain[EMBEDDING]) and "vocab_size" not in written
    end = tokenizer(tmp_path / "again").token_to_id("<|im_end|>")
    assert (written["image_token_id"], written["text_config"]["eos_token_id"]) == (end, end)


# Invariant 20: everything else is the target's


def test_every_other_tensor_is_the_targets_byte_for_byte(folders: Folders) -> None:
    result, _ = run(folders)
    target = weights(folders.target)
    assert result.keys() == target.keys()
    for name in result.keys() - {EMBEDDING, HEAD}:
        assert_rows(result[name], target[name])


def test_sharded_in_is_sharded_out(own: Folders, tmp_path: Path) -> None:
    plain, _ = run(own)
    tensors = list(weights(own.target).items())
    (own.target / "model.safetensors").unlink()
    names: dict[str, str] = {}
    for place in range(4):
        file = f"model-{place + 1:05}-of-00004.safetensors"
        part = dict(tensors[place::4])
        names |= dict.fromkeys(part, file)
        save_file(part, str(own.target / file), metadata={"format": "pt"})
    edit_json_new(own.target / "model.safetensors.index.json", {"metadata": {"total_size": 0}, "weight_map": names})
    sharded, _ = run(replace(own, output=tmp_path / "again"))
    assert sharded.keys() == plain.keys()
    assert all(torch.equal(sharded[name], plain[name]) for name in plain)
    assert sorted(path.name for path in (tmp_path / "again").glob("*.safetensors")) == sorted(set(names.values()))
    for name, file in names.items():
        same = {names[EMBEDDING], names[HEAD]}.isdisjoint({file})
        if same:
            assert (tmp_path / "again" / file).read_bytes() == (own.target / file).read_bytes(), name


def edit_json_new(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def test_memory_is_of_the_order_of_the_embeddings_not_of_the_model(own: Folders, tmp_path: Path) -> None:
    big = torch.zeros((2048, 4096), dtype=torch.bfloat16)
    layers = {f"model.layers.9.big_{place}.weight": big.clone() for place in range(8)}
    tensors = weights(own.target)
    save_file(tensors, str(own.target / "small.safetensors"), metadata={"format": "pt"})
    save_file(layers, str(own.target / "large.safetensors"), metadata={"format": "pt"})
    (own.target / "model.safetensors").unlink()
    names = dict.fromkeys(tensors, "small.safetensors") | dict.fromkeys(layers, "large.safetensors")
    edit_json_new(own.target / "model.safetensors.index.json", {"weight_map": names})
    del layers, big
    status = Path("/proc/self/status").read_text()
    before = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    _, report = run(own)
    peaks = [cost.peak_bytes for cost in report.costs.values() if cost.peak_bytes is not None]
    assert peaks and max(peaks) - before < 60e6 < (own.target / "large.safetensors").stat().st_size / 2
    assert (own.output / "large.safetensors").stat().st_size == (own.target / "large.safetensors").stat().st_size


# Invariant 22: tokenizer, config and generation config agree by name


def test_ids_are_found_again_by_name(folders: Folders) -> None:
    run(folders)
    result, target = tokenizer(folders.output), tokenizer(folders.target)
    end = result.token_to_id("<|im_end|>")
    assert end != target.token_to_id("<|im_end|>") or end == 569
    config = json.loads((folders.output / "config.json").read_text())
    generation = json.loads((folders.output / "generation_config.json").read_text())
    old = json.loads((folders.target / "generation_config.json").read_text())
    by_name = [target.id_to_token(token_id) for token_id in old["eos_token_id"]]
    assert isinstance(generation["eos_token_id"], list)
    assert [result.id_to_token(token_id) for token_id in generation["eos_token_id"]] == by_name
    assert config["eos_token_id"] == end
    assert result.id_to_token(config["bos_token_id"]) == "<|begin_of_text|>"
    assert result.id_to_token(generation["pad_token_id"]) == "<|end_of_text|>"
    assert (generation["temperature"], generation["do_sample"]) == (0.6, True)
    unrelated = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_hidden_layers")
    before = json.loads((folders.target / "config.json").read_text())
    assert {key: config[key] for key in unrelated} == {key: before[key] for key in unrelated}


def test_the_tokenizer_is_the_donors_with_the_targets_tokens_and_template(folders: Folders) -> None:
    from transformers import AutoTokenizer

    run(folders)
    loaded, target = (AutoTokenizer.from_pretrained(folder) for folder in (folders.output, folders.target))
    donor = tokenizer(folders.donor)
    text = "Мельник и почтальон.\n\tdef f(x): return 1234"
    assert loaded(text)["input_ids"] == donor.encode(text).ids
    assert (loaded.eos_token, loaded.bos_token) == ("<|im_end|>", "<|begin_of_text|>")
    flags = {token.content: token for token in loaded.added_tokens_decoder.values()}
    assert [(flags[name].special, flags[name].normalized) for name, _ in ADDED] == [(flag, False) for _, flag in ADDED]
    talk = [{"role": "user", "content": "Привет"}]
    rendered = loaded.apply_chat_template(talk, tokenize=False)
    assert rendered == target.apply_chat_template(talk, tokenize=False) == "<|im_start|>Привет<|im_end|>"
    ids = loaded(rendered, add_special_tokens=False)["input_ids"]
    assert ids[0] == loaded.convert_tokens_to_ids("<|im_start|>") and ids[-1] == loaded.eos_token_id


def test_an_id_that_no_token_has_becomes_null_and_is_reported(own: Folders) -> None:
    edit_json(own.target / "generation_config.json", pad_token_id=575, forced_bos_token_id=-1, suppress_tokens=[575])
    _, report = run(own)
    generation = json.loads((own.output / "generation_config.json").read_text())
    assert (generation["pad_token_id"], generation["forced_bos_token_id"], generation["suppress_tokens"]) == (
        None,
        -1,
        [],
    )
    assert "no token of the result stands for pad_token_id: 575 of the target" in report.warnings


def test_report_and_audit_lie_in_the_result(folders: Folders) -> None:
    _, report = run(folders)
    assert json.loads((folders.output / "lep" / "report.json").read_text())["matrices"] == json.loads(
        json.dumps(report.to_json()["matrices"])
    )
    audit = json.loads((folders.output / "lep" / "vocabulary_delta.json").read_text())
    assert audit["counts"] == dict(report.tokens)
    part = report.matrices[0]
    assert len(part.moved) == 10
    donor, result = weights(folders.donor)[EMBEDDING].float(), weights(folders.output)[EMBEDDING].float()
    rows = torch.tensor(ordinary_rows(folders))
    moved = (result - donor[: len(result)])[rows].norm(dim=1)
    assert {token.id for token in part.moved} == set(rows[moved.topk(10).indices].tolist())
    assert part.moved[0].change == pytest.approx(float(moved.max()), rel=1e-2)
    from rich.console import Console

    with Console(width=100, record=True, file=open("/dev/null", "w")) as console:
        console.print(report.render())
    text = console.export_text()
    assert "rank" in text and "32 of 32" in text and "condition number" in text


# The step of a recipe


def test_the_step_yields_one_candidate(folders: Folders, tmp_path: Path) -> None:
    step = PropagationStep(method="overlap")
    assert isinstance(step, Step) and step.name == "lep"
    said: list[str] = []
    context = StepContext(tmp_path / "step", {"base": folders.base, "target": folders.target}, say=said.append)
    candidates = list(step.run(context, Candidate(folders.donor)))
    assert len(candidates) == 1 and candidates[0].path.parent == tmp_path / "step"
    assert candidates[0].parameters == {"method": "overlap", "force": False} and candidates[0].step == "lep"
    assert str(folders.donor) in candidates[0].parents and said
    assert open_checkpoint(candidates[0].path).vocab_rows == 576
    with pytest.raises(UserError, match="needs an input target"):
        list(step.run(StepContext(tmp_path / "other", {"base": folders.base}), Candidate(folders.donor)))
    with pytest.raises(UserError, match="did you mean overlap"):
        PropagationStep(method="overlp")


# Bad input


def refuse(folders: Folders, message: str, method: str = "conversion", force: bool = False) -> None:
    """The propagation is refused in one line with `message` in it, and nothing is written."""
    with pytest.raises(UserError) as caught:
        run(folders, method, force)
    assert message in caught.value.line() and "\n" not in caught.value.line()
    assert not folders.output.exists()
    assert not list(folders.output.parent.glob(".*partial*"))


def test_models_that_do_not_fit_are_refused(own: Folders, tmp_path: Path) -> None:
    qwen = make_base(tmp_path / "qwen", "qwen", False, 32, torch.bfloat16)
    wide = make_base(tmp_path / "wide", "llama3", False, 48, torch.bfloat16)
    refuse(replace(own, target=qwen), "base and target differ in architecture: LlamaForCausalLM and Qwen3ForCausalLM")
    refuse(replace(own, target=wide), "base and target differ in hidden size: 32 and 48")
    refuse(replace(own, donor=wide), "base and donor differ in hidden size: 32 and 48")
    refuse(replace(own, base=tmp_path / "nowhere"), "nowhere")


def test_a_donor_from_another_base_is_refused_unless_forced(own: Folders, tmp_path: Path) -> None:
    def strangers(tensors: dict[str, torch.Tensor]) -> None:
        tensors[EMBEDDING] = torch.randn(tensors[EMBEDDING].shape, generator=generator(5)).bfloat16()

    rewrite(own.donor, strangers)
    refuse(own, "the donor was not made from this base: rows of shared tokens differ")
    run(own, force=True)
    assert open_checkpoint(own.output).vocab_rows == 576


def test_a_donor_without_the_bases_special_tokens_is_refused(own: Folders) -> None:
    text = (own.donor / "tokenizer.json").read_text(encoding="utf-8")
    (own.donor / "tokenizer.json").write_text(text.replace("<|begin_of_text|>", "<|start_of_text|>"), encoding="utf-8")
    refuse(own, "the donor has no token <|begin_of_text|> of the base")


def test_a_tokenizer_of_an_unknown_kind_is_refused(own: Folders) -> None:
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(own.donor / "tokenizer.json"))
    refuse(own, "tokenizer of an unknown kind")
    (own.donor / "tokenizer.json").unlink()
    refuse(own, "no tokenizer.json")


def test_no_shared_tokens_for_overlap(own: Folders) -> None:
    """A donor whose every ordinary token is longer than any of the base's."""
    state = json.loads((own.donor / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = {piece * 40: token_id for piece, token_id in state["model"]["vocab"].items()}
    state["model"] |= {"vocab": vocab, "merges": []}
    (own.donor / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    refuse(own, "no shared tokens: nothing to fit", "overlap", force=True)
    run(own, "conversion", force=True)


@pytest.mark.parametrize("role", ["base", "target", "donor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_row(own: Folders, role: str, value: float) -> None:
    bad = conversion_matrix(tokenizer(own.base), tokenizer(own.donor)).one_hot(Origin.COPIED)[role != "donor"][40]

    def damage(tensors: dict[str, torch.Tensor]) -> None:
        tensors[HEAD][bad, 3] = value

    rewrite(getattr(own, role), damage)
    refuse(own, f"{HEAD}: NaN or infinity in row {bad}", force=True)


def test_damaged_files_and_used_outputs_are_refused(own: Folders) -> None:
    own.output.mkdir()
    (own.output / "mine").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        run(own)
    assert [path.name for path in own.output.iterdir()] == ["mine"]
    shutil.rmtree(own.output)
    refuse(own, "there are chat_vector, conversion, overlap, swap", "convert")
    (own.donor / "model.safetensors").write_bytes((own.donor / "model.safetensors").read_bytes()[:-7])
    refuse(own, "truncated")


def test_chat_vector_needs_all_layers(own: Folders) -> None:
    rewrite(own.donor, lambda tensors: tensors.pop("model.norm.weight"))  # type: ignore[arg-type, return-value]
    refuse(own, "no tensor model.norm.weight", "chat_vector")
