"""Similarity of a sentence and its translation in a model's hidden states, from the command and in training."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lep_plugins.probing.languages import (
    LanguageProbe,
    bundled_pairs,
    difference,
    probe_languages,
    read_pairs,
)
from tests.cli.command import darumeru
from tests.live.training import trainer
from tests.real.smollm2 import packages
from tests.tiny_models import make_model

PAIRS = bundled_pairs()[:12]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("probed") / "before", seed=1)


def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_cosines_are_those_of_one_sentence_at_a_time(folder: Path) -> None:
    """Each sentence alone, without padding, its mean over all but special tokens and the first; cosines in a loop."""
    import torch

    model, tokenizer = loaded(folder)
    probe = probe_languages(model, tokenizer, PAIRS)

    def vectors(text: str) -> list[Any]:
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            states = model.eval()(torch.tensor([ids]), output_hidden_states=True).hidden_states
        own = [place for place, one in enumerate(ids) if place and one not in tokenizer.all_special_ids]
        return [state[0, own].double().mean(0).numpy() for state in states]

    sides = [[vectors(text) for text in side] for side in zip(*PAIRS, strict=True)]
    for one in probe.layers:
        a, b = (np.stack([vector[one.layer] for vector in side]) for side in sides)
        cosine = [[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a]
        own = np.mean([cosine[i][i] for i in range(12)])
        rest = np.mean([cosine[i][j] for i in range(12) for j in range(12) if i != j])
        assert (one.parallel, one.unrelated) == pytest.approx((own, rest), abs=1e-5)
        assert one.gain == pytest.approx(own - rest, abs=1e-5) and one.low <= one.gain <= one.high
    assert len(probe.layers) == 3 and probe.gain == pytest.approx(
        np.mean([one.gain for one in probe.layers[1:]]), abs=1e-5
    )
    assert probe.gain == pytest.approx(np.mean(probe.gains), abs=1e-5)


def test_a_sentence_is_its_own_best_translation(folder: Path) -> None:
    """The same sentence on both sides has cosine 1 in every layer; against itself as before there is no difference."""
    model, tokenizer = loaded(folder)
    model.train()
    same = probe_languages(model, tokenizer, [(russian, russian) for russian, _ in PAIRS], "last")
    assert all(one.parallel == pytest.approx(1, abs=1e-5) for one in same.layers) and same.gain > 0.05
    assert model.training and difference(same, same) == (0, 0, 0)


def test_the_command_compares_models_and_draws_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    after = make_model(tmp_path / "after", seed=2)
    output = tmp_path / "out"
    words = ("probe", "languages", "--model", str(folder), "--model", str(after), "--output", str(output))
    said = darumeru(capsys, monkeypatch, *words)
    assert said.code == 0 and "before" in said.out and "after" in said.out, said.err
    report = json.loads((output / "languages.json").read_text())
    first, second = (report["models"][name] for name in ("before", "after"))
    assert first["pairs"] == 100 and [one["layer"] for one in first["layers"]] == [0, 1, 2]
    assert second["difference"][0] == pytest.approx(second["gain"] - first["gain"], abs=1e-4)
    assert second["difference"][1] <= second["difference"][0] <= second["difference"][2]
    assert (output / "languages.png").read_bytes().startswith(b"\x89PNG")
    assert "before, layer 2" in (output / "languages.html").read_text()
    again = darumeru(capsys, monkeypatch, *words, "--json")
    assert json.loads(again.out) == report


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pool", "max"), "--pool: unknown value `max`"),
        (("--pairs", "few.tsv"), "few.tsv: holds 2 pairs"),
        (("--pairs", "torn.tsv"), "torn.tsv:1: is not two sentences with a tab between"),
        (("--pairs", "none.tsv"), "none.tsv: cannot be read"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "few.tsv").write_text("а\tb\nв\tg\n", "utf-8")
    (tmp_path / "torn.tsv").write_text("без перевода\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    said = darumeru(capsys, monkeypatch, "probe", "languages", "--model", str(folder), *words)
    assert said.code == 2 and said.err.count("\n") == 1 and message in said.err, said.err


def test_a_trainer_keeps_the_checkpoint_with_the_best_similarity(folder: Path, tmp_path: Path) -> None:
    from lep_plugins.probing.callback import LanguageProbeCallback

    callback = LanguageProbeCallback(PAIRS, tmp_path / "probe")
    settings = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    made = trainer(
        folder, tmp_path / "out", [callback], **settings, metric_for_best_model="language_gain", greater_is_better=True
    )
    made.train()
    gains = {step: probe.gain for step, probe in callback.probes.items()}
    assert sorted(gains) == [2, 4] and made.state.best_metric == max(gains.values())
    lines = [json.loads(line) for line in (tmp_path / "probe" / "languages.jsonl").read_text().splitlines()]
    assert {one["step"]: one["gain"] for one in lines} == gains
    assert (tmp_path / "probe" / "languages" / "curve.png").is_file()


def test_the_bundled_pairs_are_a_hundred_different_ones(tmp_path: Path) -> None:
    pairs = bundled_pairs()
    assert len(pairs) == 100 == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert all(any("а" <= letter <= "я" for letter in a.lower()) and b.isascii() for a, b in pairs)
    copied = shutil.copy(Path(__file__).parents[2] / "lep_plugins" / "probing" / "pairs.tsv", tmp_path)
    assert read_pairs(Path(copied)) == pairs


def test_a_real_model_knows_its_translations() -> None:
    """SmolLM2 has read little Russian, but more than none: in its middle layers a sentence is nearer to its translation
    than to other sentences, and surely so."""
    place = packages() / "SmolLM2-135M-Instruct"
    if not (place / "config.json").is_file():
        if os.environ.get("CI"):
            pytest.fail("CI runs on the real model: `make real`")
        pytest.skip("needs the real model: `make real`")
    probe: LanguageProbe = probe_languages(*loaded(place), bundled_pairs())
    assert len(probe.layers) == 31 and probe.low > 0
    assert max(probe.layers, key=lambda one: one.gain).layer > 0
