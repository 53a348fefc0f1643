"""Initialization: which rows are copied, which are made, and that nothing else of the model changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken

import lep_plugins
from darumeru.adaptation.protocols import Candidate, Step, StepContext
from darumeru.core.errors import UserError
from darumeru.models.checkpoint import open_checkpoint
from darumeru.models.token_bytes import TokenTable, load_tokenizer
from lep_plugins.conversion import ConversionMatrix, Origin
from lep_plugins.initialization import initialize_embeddings
from lep_plugins.initialization.cw2v import convex_weights
from lep_plugins.initialization.multivariate import fitted, multivariate
from lep_plugins.initialization.omp import pursuit, sparse_weights
from lep_plugins.initialization.registry import INITIALIZERS
from lep_plugins.initialization.rows import OldRows, assembled
from lep_plugins.initialization.special_ids import NewIds
from lep_plugins.initialization.task import Task
from lep_plugins.vocabulary import steps
from lep_plugins.vocabulary.folder import open_model_tokenizer
from tests.lep.texts import ENGLISH, PROBES, RUSSIAN
from tests.lep.tokenizers import save_model, save_tokenizer, tokenizer_of

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CASES = {"llama3": ("extend", False), "qwen": ("bpe", True), "llama2": ("unigram", False)}
METHODS = ("mean", "multivariate", "cw2v", "omp", "focus", "distill")
SIZES = {"extend": 800, "bpe": 700, "unigram": 700, "optimize": 700}


def step_of(scheme: str, corpus: Path, **more: Any) -> Any:
    kinds = {
        "bpe": steps.VocabBpe,
        "unigram": steps.VocabUnigram,
        "extend": steps.VocabExtend,
        "optimize": steps.VocabOptimize,
        "trim": steps.VocabTrim,
    }
    size = {"size": SIZES[scheme]} if scheme in SIZES else {}
    return kinds[scheme](corpus=(str(corpus),), **size, **more)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "mixed.txt"
    path.write_text(RUSSIAN + ENGLISH, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, tuple[Path, Path]]:
    """kind -> (model, new tokenizer folder)."""
    root = tmp_path_factory.mktemp("models")
    made = {}
    for kind, (scheme, tied) in CASES.items():
        model = save_model(root / kind, kind, tied=tied, rows=640)
        made[kind] = model, step_of(scheme, corpus).make_tokenizer(model, root / f"{kind}-new")
    return made


def task_of(model: Path, tokenizer: Path, corpus: Path, seed: int = 0) -> Task:
    source = open_checkpoint(model)
    old = TokenTable.of(open_model_tokenizer(model).description.build())
    names = [source.embedding_name, *([source.head_name] if source.head_name else [])]
    new = load_tokenizer(tokenizer)
    tokens = np.arange(len(old))
    matrices = tuple(OldRows(source, name, tokens) for name in names)
    conversion, opened = ConversionMatrix.load(tokenizer), open_model_tokenizer(model)
    work = tokenizer.parent / "work"
    return Task(matrices, conversion, old, TokenTable.of(new), opened, new, tokenizer, work, (corpus,), seed=seed)


def trained(rows: torch.Tensor, model: Path) -> torch.Tensor:
    """Token rows without padding and without the row of the padding token, which transformers leaves at zero."""
    rows = rows[: len(open_model_tokenizer(model).description.table)].double()
    return rows[rows.norm(dim=1) > 0]


@pytest.mark.parametrize("kind", sorted(CASES))
@pytest.mark.parametrize("method", METHODS)
def test_shared_rows_are_bit_equal_and_the_rest_is_finite(
    kind: str, method: str, models: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """Invariant 10 for every method, on byte-level untied, byte-level tied and SentencePiece models; config, padding
    rows and the other tensors with it."""
    model, tokenizer = models[kind]
    output = initialize_embeddings(model, tokenizer, tmp_path / "out", method, [corpus])
    old, new = load_file(model / "model.safetensors"), load_file(output / "model.safetensors")
    conversion = ConversionMatrix.load(output)
    assert old.keys() == new.keys()
    assert (HEAD in new) == (not CASES[kind][1])
    for name, rows in new.items():
        if name not in (EMBEDDING, HEAD):
            assert torch.equal(rows, old[name])
            continue
        assert rows.dtype == torch.bfloat16 and rows.shape == (conversion.rows_new, 32)
        assert torch.isfinite(rows.float()).all()
        ids, sources = conversion.one_hot(Origin.COPIED)
        assert torch.equal(rows[ids], old[name][sources])
        mean = trained(old[name], model).mean(dim=0).float().to(rows.dtype)
        ids, sources = conversion.one_hot(Origin.SPECIAL)
        untrained = old[name][sources].norm(dim=1) == 0
        assert torch.equal(rows[ids], torch.where(untrained.unsqueeze(1), mean, old[name][sources]))
        filled = conversion.ids(Origin.PADDING, Origin.NEW)
        assert torch.equal(rows[filled], mean.expand(len(filled), -1))
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == conversion.rows_new and conversion.rows_new % 64 == 0


@pytest.mark.parametrize("kind", sorted(CASES))
def test_a_new_row_is_the_float32_mean_cast_once(
    kind: str, models: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """Invariant 10, against a computation of its own; embedding and head each from itself."""
    model, tokenizer = models[kind]
    output = initialize_embeddings(model, tokenizer, tmp_path / "out")
    old, new = load_file(model / "model.safetensors"), load_file(output / "model.safetensors")
    conversion = ConversionMatrix.load(output)
    for name in {EMBEDDING, HEAD} & new.keys():
        made = conversion.ids(Origin.MEAN)
        assert len(made) > 100
        exact = torch.stack([old[name][conversion.sources(int(n))].double().mean(dim=0) for n in made])
        # Sums of a few bfloat16 rows are exact in float32, so the mean is rounded twice: to float32, to bfloat16.
        assert torch.equal(new[name][made], exact.float().bfloat16())


@pytest.mark.parametrize("method", METHODS)
def test_tokens_beyond_the_rows_are_no_tokens_of_the_model(
    method: str, models: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    """A tokenizer with one id more than its model has rows: `vocab extend` and `vocab init`, with every method, take
    the token without a row for a new one, whose row is the mean."""
    model = shutil.copytree(models["llama3"][0], tmp_path / "model")
    grown = load_tokenizer(model)
    late = [f"<|extra_{place}|>" for place in range(640 - grown.get_vocab_size())] + ["<|late_pad|>"]
    grown.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in late])
    grown.save(str(model / "tokenizer.json"))
    assert grown.token_to_id("<|late_pad|>") == 640
    tokenizer = steps.VocabExtend(corpus=(str(corpus),), size=800).make_tokenizer(model, tmp_path / "new")
    output = initialize_embeddings(model, tokenizer, tmp_path / "out", method, [corpus])
    for folder in (tokenizer, output):
        conversion = ConversionMatrix.load(folder)
        assert conversion.rows_old == 640 and conversion.origins[640] == Origin.NEW
    tensors = load_file(output / "model.safetensors")
    old = load_file(model / "model.safetensors")
    for name in (EMBEDDING, HEAD):
        assert torch.equal(tensors[name][:560], old[name][:560])
        rows = old[name].double()
        mean = rows[rows.norm(dim=1) > 0].mean(dim=0).float().to(torch.bfloat16)
        assert torch.equal(tensors[name][640], mean)


def test_a_tokenizer_with_other_special_names_brings_its_ids(tmp_path: Path) -> None:
    """The case vocab_init_special_ids: bos, eos and pad are the new tokenizer's, read from its files."""
    model = save_model(tmp_path / "model", "llama2")
    other = tmp_path / "other"
    made = save_tokenizer(other, "qwen")
    end = made.token_to_id("<|im_end|>")
    said: list[str] = []
    output = initialize_embeddings(model, other, tmp_path / "out", say=said.append)
    config, generation = (json.loads((output / f"{name}.json").read_text()) for name in ("config", "generation_config"))
    assert (config["eos_token_id"], generation["eos_token_id"]) == (end, [end])
    assert config["bos_token_id"] is None  # this tokenizer names none
    warnings = [line for line in said if line.startswith("warning: ")]
    assert warnings == [
        f"warning: eos_token_id is now {end}, <|im_end|> of the new tokenizer: it has no token </s>",
        "warning: no token of the result stands for bos_token_id: 1 of the model",
    ]
    back = tmp_path / "back"
    begin = save_tokenizer(back, "gemma").token_to_id("<bos>")
    output = initialize_embeddings(model, back, tmp_path / "out2", "multivariate")
    assert json.loads((output / "config.json").read_text())["bos_token_id"] == begin


def test_an_end_list_keeps_what_the_new_tokenizer_knows(tmp_path: Path) -> None:
    """Ids by name first: only what is lost is replaced by the tokenizer's own."""
    old, new = TokenTable.of(tokenizer_of("llama3")), TokenTable.of(tokenizer_of("gemma"))
    ids = NewIds(old, new, {"eos_token": "<eos>"})
    letter, lost = old.ids_by_bytes[b"Q"], old.special_ids["<|eot_id|>"]
    end, kept = new.special_ids["<eos>"], new.ids_by_bytes[b"Q"]
    changed, said = ids.applied(
        {"eos_token_id": [letter, lost], "text_config": {"eos_token_id": lost}, "pad_token_id": lost}
    )
    assert changed == {"eos_token_id": [kept, end], "text_config": {"eos_token_id": end}, "pad_token_id": None}
    assert said[-1] == f"no token of the result stands for pad_token_id: {lost} of the model"


def changed(model: Path, output: Path, name: str, change: Any) -> Path:
    """A copy of a model with one tensor changed."""
    output.mkdir()
    for path in model.iterdir():
        (output / path.name).write_bytes(path.read_bytes())
    tensors = load_file(model / "model.safetensors")
    tensors[name] = change(tensors[name].clone())
    save_file(tensors, str(output / "model.safetensors"), {"format": "pt"})
    return output


@pytest.mark.parametrize("method", ["mean", "multivariate"])
def test_padding_rows_stay_out_and_matrices_are_independent(
    method: str, models: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """Invariants 10 and 11."""
    model, tokenizer = models["llama3"]
    tokens = len(open_model_tokenizer(model).description.table)

    def poison(rows: torch.Tensor) -> torch.Tensor:
        rows[tokens:] = 1000.0
        return rows

    plain = load_file(initialize_embeddings(model, tokenizer, tmp_path / "a", method) / "model.safetensors")
    padded = changed(model, tmp_path / "padded", EMBEDDING, poison)
    after = load_file(initialize_embeddings(padded, tokenizer, tmp_path / "b", method) / "model.safetensors")
    assert torch.equal(plain[EMBEDDING], after[EMBEDDING])
    doubled = changed(model, tmp_path / "doubled", HEAD, lambda rows: rows * 2)
    after = load_file(initialize_embeddings(doubled, tokenizer, tmp_path / "c", method) / "model.safetensors")
    assert torch.equal(plain[EMBEDDING], after[EMBEDDING])
    assert not torch.equal(plain[HEAD], after[HEAD])


def test_rows_that_were_never_trained_get_the_mean(models: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    """Special tokens and means only: a shared token stays bit-equal whatever it holds."""
    model, tokenizer = models["llama3"]
    table = TokenTable.of(tokenizer_of("llama3"))
    special, letter = table.special_ids["<|reserved_3|>"], table.ids_by_bytes[b"Q"]

    def kill(rows: torch.Tensor) -> torch.Tensor:
        rows[special] = 1e-12
        rows[letter] = 0
        return rows

    dead = changed(model, tmp_path / "dead", EMBEDDING, kill)
    output = initialize_embeddings(dead, tokenizer, tmp_path / "out")
    rows, new = load_file(output / "model.safetensors")[EMBEDDING], TokenTable.of(load_tokenizer(output))
    assert torch.equal(rows[new.ids_by_bytes[b"Q"]], torch.zeros(32, dtype=torch.bfloat16))
    old = load_file(dead / "model.safetensors")[EMBEDDING]
    mean = trained(torch.where(old.abs() > 1e-11, old, 0), dead).mean(dim=0).float().to(torch.bfloat16)
    assert torch.equal(rows[new.special_ids["<|reserved_3|>"]], mean)


def test_multivariate_draws_from_the_fitted_normal(models: dict[str, tuple[Path, Path]], corpus: Path) -> None:
    """arXiv:2407.05841: mean and covariance of the old rows; one stream a row, so chunks do not matter."""
    task = task_of(*models["llama3"], corpus)
    old = task.matrices[0]
    mean, factor = fitted(old)
    rows = trained(load_file(models["llama3"][0] / "model.safetensors")[EMBEDDING], models["llama3"][0])
    assert torch.allclose(mean.double(), rows.mean(dim=0), atol=1e-7)
    assert torch.allclose((factor.T @ factor).double(), torch.cov(rows.T), atol=1e-7)
    fresh = multivariate(task)[EMBEDDING]
    ids = np.arange(20_000, dtype=np.int64)
    drawn = fresh(ids).double()
    assert torch.allclose(torch.cov(drawn.T), torch.cov(rows.T), atol=0.05 * float(rows.var()))
    assert torch.allclose(fresh(ids[7:9]).double(), drawn[7:9], atol=1e-7)
    assert not torch.equal(multivariate(task_of(*models["llama3"], corpus, seed=1))[EMBEDDING](ids[:2]), fresh(ids[:2]))


def test_a_singular_covariance_is_no_obstacle(tmp_path: Path, models: dict[str, tuple[Path, Path]]) -> None:
    model, tokenizer = models["llama3"]
    flat = changed(model, tmp_path / "flat", EMBEDDING, lambda rows: rows[:, :1].repeat(1, 32))
    output = initialize_embeddings(flat, tokenizer, tmp_path / "out", "multivariate")
    rows = load_file(output / "model.safetensors")[EMBEDDING].float()
    assert torch.isfinite(rows).all() and (rows.max(dim=1).values - rows.min(dim=1).values).max() < 1e-3


@pytest.mark.parametrize("kind", ["llama3", "llama2"])
def test_cw2v_rows_are_convex_combinations_learnt_from_the_text(
    kind: str, models: dict[str, tuple[Path, Path]], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(*models[kind], corpus)
    weights = convex_weights(task)
    made = task.conversion.ids(Origin.MEAN)
    assert weights[made].data.min() >= 0
    assert np.allclose(weights[made].sum(axis=1), 1, atol=1e-9)
    used = weights[made].astype(bool)
    own = task.conversion.matrix[made].astype(bool)
    assert (used - used.multiply(own)).nnz > 0 and (own - own.multiply(used)).nnz == 0
    for number in made[:50]:  # only old tokens that occur in the token
        token = task.new.tokens[int(number)]
        assert isinstance(token, bytes)
        assert all(bytes(task.old.tokens[column] or b"") in token for column in weights[int(number)].indices)  # type: ignore[arg-type]
    assert abs(weights - convex_weights(task)).max() < 1e-6  # the same seed, the same weights
    monkeypatch.setattr("lep_plugins.initialization.cw2v.STEPS", 0)
    assert abs(weights - convex_weights(task)).max() > 0.02  # and the text changed them


def test_pursuit_finds_the_atoms_and_coefficients_that_made_a_row() -> None:
    generator = torch.Generator().manual_seed(5)
    atoms = torch.randn(3, 40, 64, generator=generator) * (0.5 + torch.rand(3, 40, 1, generator=generator))
    true = torch.zeros(3, 40, dtype=torch.float64)
    for row, places in enumerate(([1, 7, 30], [0, 2, 39], [5, 6, 8])):
        true[row, places] = torch.tensor([3.0, -2.0, 5.0], dtype=torch.float64)
    wanted = torch.einsum("np,npd->nd", true.float(), atoms)
    chosen, coefficients = pursuit(wanted, atoms, 12)
    found = torch.zeros(3, 40, dtype=torch.float64).scatter_(1, chosen, coefficients)
    assert torch.allclose(found, true, atol=1e-3)
    assert all(len(set(row.tolist())) == chosen.shape[1] == 12 for row in chosen)


def test_pursuit_chooses_as_the_definition_has_it() -> None:
    """Greedy choice of the atom most like what is left, least squares over the chosen ones after every choice."""
    generator = torch.Generator().manual_seed(8)
    atoms, wanted = torch.randn(4, 30, 16, generator=generator), torch.randn(4, 16, generator=generator)
    chosen, coefficients = pursuit(wanted, atoms, 10)
    for row in range(4):
        dictionary, target, picked = atoms[row].double().numpy(), wanted[row].double().numpy(), list[int]()
        left = target
        for _ in range(10):
            likeness = np.abs(dictionary @ left) / np.linalg.norm(dictionary, axis=1)
            likeness[picked] = -1
            picked.append(int(likeness.argmax()))
            best, *_ = np.linalg.lstsq(dictionary[picked].T, target, rcond=None)
            left = target - dictionary[picked].T @ best
        assert chosen[row].tolist() == picked
        assert np.allclose(coefficients[row], best, atol=1e-3)


def test_omp_takes_coefficients_from_a_donor_that_has_rows_for_the_new_tokens(
    models: dict[str, tuple[Path, Path]], tmp_path: Path, corpus: Path
) -> None:
    """arXiv:2506.06607: what holds between rows of the donor is made to hold between rows of the model."""
    model, tokenizer = models["llama3"]
    donor = initialize_embeddings(model, tokenizer, tmp_path / "donor", "multivariate", seed=3)
    task = task_of(model, donor, corpus)
    weights = sparse_weights(task, atoms=8)
    made = task.conversion.ids(Origin.MEAN)
    assert np.diff(weights[made].indptr).max() == 8
    shared_new, shared_old = task.conversion.one_hot(Origin.COPIED)
    rows = load_file(donor / "model.safetensors")[EMBEDDING].double().numpy()
    by_old = np.zeros((task.conversion.rows_old, 32))
    by_old[shared_old] = rows[shared_new]
    left = np.linalg.norm(weights[made] @ by_old - rows[made], axis=1) / np.linalg.norm(rows[made], axis=1)
    # Eight of 560 anchors in 32 dimensions: far closer than the best single anchor can be.
    unit = by_old[shared_old] / np.linalg.norm(by_old[shared_old], axis=1, keepdims=True)
    single = np.sqrt(1 - (np.abs(rows[made] @ unit.T).max(axis=1) / np.linalg.norm(rows[made], axis=1)) ** 2)
    assert left.mean() < 0.6 * single.mean()
    without = sparse_weights(task_of(model, tokenizer, corpus), atoms=8)
    assert abs(weights - without).max() > 0.05


def test_omp_refuses_a_damaged_donor_and_ignores_its_padding(
    models: dict[str, tuple[Path, Path]], tmp_path: Path, corpus: Path
) -> None:
    """A row that holds NaN would make every new row that draws on it the mean, in silence."""
    model, tokenizer = models["llama3"]
    donor = initialize_embeddings(model, tokenizer, tmp_path / "donor", "multivariate", seed=3)
    task = task_of(model, donor, corpus)
    number, padding = int(task.conversion.ids(Origin.MEAN)[7]), int(task.conversion.ids(Origin.PADDING)[0])

    def spoiled(row: int) -> Any:
        def spoil(rows: torch.Tensor) -> torch.Tensor:
            rows[row, 3] = torch.nan
            return rows

        return spoil

    bad = changed(donor, tmp_path / "bad", EMBEDDING, spoiled(number))
    with pytest.raises(UserError, match=f"NaN or infinity in row {number}"):
        initialize_embeddings(model, bad, tmp_path / "out", "omp")
    padded = changed(donor, tmp_path / "padded", EMBEDDING, spoiled(padding))
    assert abs(sparse_weights(task_of(model, padded, corpus)) - sparse_weights(task)).max() == 0


def test_omp_without_a_donor_rebuilds_the_sub_token_means(models: dict[str, tuple[Path, Path]], corpus: Path) -> None:
    task = task_of(*models["llama3"], corpus)
    made = task.conversion.ids(Origin.MEAN)
    rows = load_file(models["llama3"][0] / "model.safetensors")[EMBEDDING].double().numpy()
    weights = sparse_weights(task)
    assert np.allclose(weights[made] @ rows, task.conversion.matrix[made] @ rows, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(CASES))
def test_ids_agree_by_name_and_transformers_loads_the_result(
    kind: str, models: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = models[kind]
    output = initialize_embeddings(model, tokenizer, tmp_path / "out")
    loaded, info = AutoModelForCausalLM.from_pretrained(output, output_loading_info=True)
    assert not any(info.values()), info
    made = AutoTokenizer.from_pretrained(output)
    for role in ("bos", "eos", "pad"):
        expected = getattr(made, f"{role}_token_id")
        if expected is not None and getattr(AutoTokenizer.from_pretrained(model), f"{role}_token") is not None:
            assert getattr(loaded.config, f"{role}_token_id") in (expected, None)
    assert loaded.config.eos_token_id == made.eos_token_id
    assert loaded.generation_config.eos_token_id == [made.eos_token_id]
    assert loaded.generation_config.temperature == 0.6
    for text in PROBES[:4]:
        ids = made(text, return_tensors="pt")["input_ids"]
        assert int(ids.max()) < len(made) and torch.isfinite(loaded(ids).logits).all()
    if CASES[kind][0] == "extend":  # English text: the same ids, so the same logits over the old tokens
        old = AutoModelForCausalLM.from_pretrained(model)
        ids = made("The river runs slowly.", return_tensors="pt")["input_ids"]
        assert torch.equal(loaded(ids).logits[..., :568], old(ids).logits[..., :568])


@pytest.mark.parametrize("scheme", ["bpe", "unigram", "extend", "optimize", "trim"])
def test_each_scheme_is_a_step_that_yields_a_whole_model(
    scheme: str, models: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    step = step_of(scheme, corpus)
    assert isinstance(step, Step) and step.name == f"vocab_{scheme}"
    said: list[str] = []
    context = StepContext(tmp_path, say=said.append)
    (candidate,) = step.run(context, Candidate(models["llama3"][0], label="base"))
    assert candidate.path.is_relative_to(tmp_path) and candidate.parents == ("base",)
    assert json.loads(json.dumps(dict(candidate.parameters)))["corpus"] == [str(corpus)]
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(candidate.path),
        AutoTokenizer.from_pretrained(candidate.path),
    )
    ids = tokenizer(RUSSIAN[:200], return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(ids).logits).all()
    assert len(said) == 2 and "copied" in said[0]


def test_bad_input_is_one_clear_line_and_nothing_is_written(
    models: dict[str, tuple[Path, Path]], corpus: Path, tmp_path: Path
) -> None:
    model, tokenizer = models["llama3"]

    def refused(match: str, *arguments: Any, source: Path = model, **more: Any) -> None:
        with pytest.raises(UserError, match=match):
            initialize_embeddings(source, tokenizer, tmp_path / "out", *arguments, **more)
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))

    refused("unknown initialization method `menas`; did you mean mean", "menas")
    refused("cw2v learns from text", "cw2v")
    with pytest.raises(UserError, match="no such model folder"):
        initialize_embeddings(tmp_path / "none", tokenizer, tmp_path / "out")

    def damage(rows: torch.Tensor) -> torch.Tensor:
        rows[77, 3] = torch.nan
        return rows

    for method in ("mean", "multivariate", "omp"):
        damaged = changed(model, tmp_path / f"damaged-{method}", EMBEDDING, damage)
        refused("NaN or infinity in row 77", method, source=damaged)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="not empty"):
        initialize_embeddings(model, tokenizer, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["kept.txt"]
    assert lep_plugins.initialize_embeddings is initialize_embeddings


def test_chunks_do_not_matter(
    models: dict[str, tuple[Path, Path]], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is that of a chunk; the rows are the same whatever its size."""
    import lep_plugins.initialization.rows as rows

    def run() -> torch.Tensor:
        task = task_of(*models["llama2"], corpus)
        old = task.matrices[0]
        chunks = list(assembled(old, task.conversion, INITIALIZERS.get("mean")(task)[EMBEDDING]))
        assert all(len(chunk) <= rows.CHUNK_ROWS for chunk in chunks)
        return torch.cat(chunks)

    whole = run()
    monkeypatch.setattr(rows, "CHUNK_ROWS", 37)
    assert torch.equal(run(), whole)
