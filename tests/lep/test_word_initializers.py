"""`focus`, `ofa` and `zett`: rows from word vectors and from a trained hypernetwork."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lep_plugins.conversion import ConversionMatrix, Origin
from lep_plugins.initialization import initialize_embeddings
from lep_plugins.initialization.focus import similar_weights, sparsemax
from lep_plugins.initialization.ofa import coordinates, nearest_weights
from lep_plugins.initialization.options import InitOptions
from lep_plugins.initialization.word_vectors import corpus_vectors, vectors_by_id, vectors_by_word
from tests.cli.command import Said, darumeru
from tests.lep.test_initialization import EMBEDDING, HEAD, step_of, task_of
from tests.lep.texts import ENGLISH, RUSSIAN
from tests.lep.tokenizers import save_model, tokenizer_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(untied model, extended tokenizer, corpus)."""
    root = tmp_path_factory.mktemp("words")
    corpus = root / "ru.txt"
    corpus.write_text((RUSSIAN + ENGLISH) * 4, encoding="utf-8")
    made = save_model(root / "model", "llama3", rows=640)
    return made, step_of("extend", corpus).make_tokenizer(made, root / "new"), corpus


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


# FOCUS


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    """Against the sorted form of Martins and Astudillo (2016, algorithm 1)."""
    scores = torch.randn(40, 60, generator=torch.Generator().manual_seed(1))
    found = sparsemax(scores)
    for row, given in zip(found.double().numpy(), scores.double().numpy(), strict=True):
        ordered = np.sort(given)[::-1]
        support = max(k for k in range(1, 61) if 1 + k * ordered[k - 1] > ordered[:k].sum())
        tau = (ordered[:support].sum() - 1) / support
        assert np.allclose(row, np.maximum(given - tau, 0), atol=1e-6)
        assert 0 < (row > 0).sum() < 10
    assert torch.equal(sparsemax(torch.tensor([[5.0, 0.0]])), torch.tensor([[1.0, 0.0]]))


def test_vectors_of_a_corpus_put_tokens_of_the_same_use_together() -> None:
    """Twins that stand in the same places have nearly the same vector; a rare token has none."""
    tokenizer = tokenizer_of("llama3")
    rng = np.random.default_rng(0)
    subjects, verbs = ["A", "B", "C", "D"], ["x", "y", "z", "w"]
    lines = []
    for _ in range(4000):
        kind = int(rng.integers(2))
        lines.append("".join([subjects[2 * kind + int(rng.integers(2))], verbs[2 * kind + int(rng.integers(2))], ";"]))
    texts = ["".join(lines), "Q"]
    vectors = corpus_vectors(texts, tokenizer, 560, seed=3)
    ids = {letter: tokenizer.token_to_id(letter) for letter in "ABCDQ"}
    like = {pair: float(vectors[ids[pair[0]]] @ vectors[ids[pair[1]]]) for pair in ("AB", "CD", "AC", "BD")}
    assert min(like["AB"], like["CD"]) > 0.9 > 0.5 > max(like["AC"], like["BD"])
    assert not vectors[ids["Q"]].any() and np.allclose(np.linalg.norm(vectors[ids["A"]]), 1)
    assert np.array_equal(vectors, corpus_vectors(texts, tokenizer, 560, seed=3))


def test_focus_rows_are_sparsemax_means_of_shared_rows(model: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """From a file of vectors by id, both matrices with the same weights; a token that it lacks keeps its mean."""
    folder, tokenizer, corpus = model
    task = task_of(folder, tokenizer, corpus)
    made = task.conversion.ids(Origin.MEAN)
    shared, sources = task.conversion.one_hot(Origin.COPIED)
    rng = np.random.default_rng(0)
    vectors = {int(token): rng.standard_normal(20) for token in [*shared[:200], *made[1:]]}
    file = tmp_path / "vectors.txt"
    lines = [f"{token} " + " ".join(f"{number:.6f}" for number in one) for token, one in vectors.items()]
    file.write_text(f"{len(vectors)} 20\n</s> {' '.join(['0.5'] * 20)}\n" + "\n".join(lines) + "\n", encoding="utf-8")
    options = InitOptions(vectors=str(file))
    output = initialize_embeddings(folder, tokenizer, tmp_path / "out", "focus", options=options)
    plain, new, old = (
        tensors(initialize_embeddings(folder, tokenizer, tmp_path / "m")),
        tensors(output),
        tensors(folder),
    )
    unit = {token: one / np.linalg.norm(one) for token, one in vectors.items()}
    for name in (EMBEDDING, HEAD):
        assert torch.equal(new[name][made[0]], plain[name][made[0]])
        for token in made[1:20]:
            likeness = np.array([unit[int(other)] @ unit[int(token)] for other in shared[:200]])
            ordered = np.sort(likeness)[::-1]
            support = max(k for k in range(1, 201) if 1 + k * ordered[k - 1] > ordered[:k].sum())
            weights = np.maximum(likeness - (ordered[:support].sum() - 1) / support, 0)
            expected = torch.from_numpy(weights) @ old[name][sources[:200]].double()
            assert torch.allclose(new[name][int(token)].double(), expected, atol=2e-4)
    weights = similar_weights(task, vectors_by_id(file, task.conversion.rows_new))
    assert np.allclose(weights[made].sum(axis=1), 1, atol=1e-5) and weights.data.min() >= 0


# OFA


def test_ofa_rows_are_means_of_the_nearest_in_low_rank(model: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """By hand: the weights from cosines, the factorization by numpy's SVD of the trained rows."""
    folder, tokenizer, corpus = model
    task = task_of(folder, tokenizer, corpus)
    rng = np.random.default_rng(1)
    words = sorted({word.strip(".,;:\"'()") for word in (RUSSIAN + ENGLISH).split()} - {""})[::2]
    file = tmp_path / "words.vec"
    file.write_text(
        "".join(f"{word} {' '.join(f'{x:.5f}' for x in rng.standard_normal(12))}\n" for word in words), encoding="utf-8"
    )
    old_tokenizer = task.source.description.build()
    sides = ((old_tokenizer, task.conversion.rows_old), (task.new_tokenizer, task.conversion.rows_new))
    old, new = vectors_by_word(file, sides)
    number = next(number for number in task.conversion.ids(Origin.MEAN) if new[number].any())
    table = {line.split()[0]: np.array(line.split()[1:], dtype=float) for line in file.read_text("utf-8").splitlines()}
    spelled = [
        vector
        for word, vector in table.items()
        if any(number in task.new_tokenizer.encode(form, add_special_tokens=False).ids for form in (word, f" {word}"))
    ]
    assert np.allclose(new[number], np.mean(spelled, axis=0) / np.linalg.norm(np.mean(spelled, axis=0)), atol=1e-5)
    weights = nearest_weights(task, old, new)
    likeness = old @ new[number]
    likeness[~old.any(axis=1)] = -9
    best = np.argsort(-likeness)[:10]
    expected = np.exp(likeness[best] / 0.1) / np.exp(likeness[best] / 0.1).sum()
    assert np.allclose(weights[number].toarray().ravel()[best], expected, atol=1e-4)
    options = InitOptions(vectors=str(file), rank=8)
    made = tensors(initialize_embeddings(folder, tokenizer, tmp_path / "out", "ofa", options=options))
    for name in (EMBEDDING, HEAD):
        rows = tensors(folder)[name][:568].double().numpy()
        trained = rows[np.linalg.norm(rows, axis=1) > 0]
        _, _, right = np.linalg.svd(trained, full_matrices=False)
        projected = (expected @ rows[best]) @ right[:8].T @ right[:8]
        assert np.allclose(made[name][int(number)].double().numpy(), projected, atol=1e-3)
    primitive, mean, spread = coordinates(task.matrices[0], 32)
    rows = tensors(folder)[EMBEDDING][:568].double()
    inside = rows[rows.norm(dim=1) > 0] @ primitive.double().T
    assert torch.allclose(inside.mean(dim=0).float(), mean, atol=1e-5)
    assert torch.allclose(inside.std(dim=0).float(), spread, atol=1e-5)
    bare = [number for number in task.conversion.ids(Origin.MEAN) if not new[number].any()]
    assert len(bare) > 5  # drawn, not left at zero
    assert (made[EMBEDDING][bare].double().norm(dim=1) > 0.3 * rows.norm(dim=1).mean() * (8 / 32) ** 0.5).all()


# ZeTT


class MeanNet(torch.nn.Module):
    """A hypernetwork whose right answer is known: the mean of the pieces, and its double for the output."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, pieces: torch.Tensor, mask: torch.Tensor) -> Any:
        weights = mask.unsqueeze(2).float()
        rows = (pieces * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return (rows, rows * 2) if self.outputs == 2 else rows


def exported(path: Path, width: int = 32, outputs: int = 2) -> Path:
    given = (torch.zeros(256, 7, width), torch.zeros(256, 7, dtype=torch.bool))
    torch.export.save(torch.export.export(MeanNet(outputs), given), str(path))
    return path


def test_zett_rows_are_what_the_hypernetwork_writes(model: tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder, tokenizer, _ = model
    options = InitOptions(hypernet=str(exported(tmp_path / "net.pt2")))
    made = tensors(initialize_embeddings(folder, tokenizer, tmp_path / "out", "zett", options=options))
    conversion, old = ConversionMatrix.load(tmp_path / "out"), tensors(folder)[EMBEDDING].double()
    ids = conversion.ids(Origin.MEAN)
    longest = max(len(conversion.sources(int(token))) for token in ids)
    assert longest > 7
    expected = torch.stack([old[conversion.sources(int(token))[:7]].mean(dim=0) for token in ids]).float()
    assert torch.allclose(made[EMBEDDING][ids].float(), expected, rtol=2**-8)
    assert torch.allclose(made[HEAD][ids].float(), expected * 2, rtol=2**-8)


# Refusals


def test_bad_input_is_one_line_and_exit_code_2(
    model: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tokenizer, _ = model

    def init(*more: str) -> Said:
        given = ("--model", str(folder), "--tokenizer", str(tokenizer), "--output", str(tmp_path / "out"))
        return darumeru(capsys, monkeypatch, "vocab", "init", *given, "--method", *more)

    def written(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    narrow, one = exported(tmp_path / "narrow.pt2", 16), exported(tmp_path / "one.pt2", outputs=1)
    cases = [
        (("focus",), "focus learns from text"),
        (("focus", "--vectors", str(tmp_path / "none")), "no such file of vectors"),
        (("focus", "--vectors", written("a", "дом 1 2\n")), '"дом" is no token id'),
        (("focus", "--vectors", written("b", "1 1 2\n2 1 nan\n")), "b:2: not a line of vectors"),
        (("focus", "--vectors", written("c", "2 2\n")), "holds no vectors"),
        (("focus", "--vectors", written("d", "799 1 2\n")), "no shared token has a vector"),
        (("ofa",), "ofa needs word vectors of both languages"),
        (("ofa", "--vectors", written("e", "дом 1 2\n"), "--rank", "99"), "rank 99 is above the hidden size 32"),
        (("ofa", "--vectors", written("f", "дом 1 2\nmill 1\n")), "f:2: not a line of vectors"),
        (("zett",), "zett needs a trained hypernetwork"),
        (("zett", "--hypernet", str(folder)), "weights without a program"),
        (("zett", "--hypernet", written("g.pt2", "x")), "not an exported program"),
        (("zett", "--hypernet", str(narrow)), "does not take 7 pieces of 32"),
        (("zett", "--hypernet", str(one)), "writes input rows alone"),
    ]
    for more, message in cases:
        said = init(*more)
        assert said.code == 2 and message in said.err, (more, said)
        assert [line for line in said.err.splitlines() if line.startswith("error: ")] == said.err.splitlines()[-1:]
        assert not (tmp_path / "out").exists()
