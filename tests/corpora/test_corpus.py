"""Cleaning of text as typed: languages, near duplicates, quality, copies, kills, and a recipe that takes the text."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.command import darumeru

pytest.importorskip("datatrove")

from lep_plugins.corpora import cleaning
from lep_plugins.corpora.documents import documents, read_lines
from lep_plugins.corpora.quality import RULES, fitted, quality_filter

ROOT = Path(__file__).parents[2]
PROSE = """старик рыбак учитель сосед мальчик доктор почтальон художник сторож капитан город река дом море мост поле
сад лес рынок читал ловил ждал чинил писал варил пел искал нашёл потерял лодку поезд письмо уху песню ключ хлеб молоко
дорогу утром вечером ночью зимой летом весной осенью тихо громко скоро медленно часто редко вместе один дождь снег ветер
солнце луна звезда собака кошка лошадь птица рыба стол окно дверь крыша книга тетрадь карта лампа свеча огонь вода
трава цветок яблоко груша соль сахар чай каша суп пирог шапка сапоги плащ зонт часы дверца улица площадь вокзал"""
WORDS = PROSE.split()
SMALL = list(RULES["ru"].stop_words)


def story(seed: int, sentences: int = 12) -> str:
    """Russian words in the shape of prose, others for each seed."""
    rng = random.Random(seed)
    lines = []
    for _ in range(sentences):
        said = [word for _ in range(4) for word in (rng.choice(WORDS), rng.choice(SMALL), rng.choice(WORDS))]
        lines.append(f"{' '.join(said).capitalize()}.")
    return " ".join(lines)


ENGLISH = (
    "The old man and the sea, that have been with us to this day, and to be of use to the people of the coast. " * 4
)
RUSSIAN = [story(seed) for seed in range(60)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """60 stories, 3 of them again with another last word and one twice, one in English, four of poor quality."""
    poor = [
        story(1000, 1),
        "\n".join(["Купить дёшево и не дорого, звоните, как и все, до вечера"] * 20) + ".",
        " ".join("### $$$ %%% &&& в и на с" for _ in range(30)) + " русский текст про кошку и собаку у реки",
        " ".join(f"слово{n} и не то {n} {n} {n} {n} {n} {n} {n} {n} {n}" for n in range(30)) + " кошка спит дома.",
    ]
    near = [f"{text[:-1]} снова." for text in RUSSIAN[:3]] + [RUSSIAN[0]]
    path = tmp_path / "text.jsonl"
    every = [*RUSSIAN, *near, ENGLISH, *poor]
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in every), "utf-8")
    return path


def dropped(output: Path) -> list[dict[str, Any]]:
    return read_lines(output / "dropped.jsonl")


def test_what_is_dropped_is_listed_with_its_reason(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    words = ("corpus", str(corpus), "--output", str(output), "--min-words", "20")
    said = darumeru(capsys, monkeypatch, *words)
    assert said.code == 0 and said.out.strip() == str(output / "text.jsonl"), said.err
    kept = read_lines(output / "text.jsonl")
    texts = [one["text"] for one in kept]
    gone = dropped(output)
    stages = Counter(one["stage"] for one in gone)
    assert stages["duplicates"] == 4, "one document of each cluster stays"
    assert Counter(one["duplicates"] for one in kept) == {1: 57, 2: 2, 3: 1}
    assert {one["number"]: one["stage"] for one in gone}[65] == "language"
    by_number = {one["number"]: one for one in gone}
    assert [by_number[number]["stage"] for number in (66, 67)] == ["quality", "quality"]
    assert by_number[66]["reason"] == "top_3_gram", "one of 12 words has a fifth of the characters"
    assert by_number[67]["reason"] in ("dup_line_frac", "top_2_gram")
    assert {68, 69} <= set(by_number) and len(texts) == 60 == len(set(texts))
    report = json.loads((output / "report.json").read_text())
    assert report["read"] == 69 and report["written"] == 60 and report["copies"] == 0
    assert sum(n for reasons in report["dropped"].values() for n in reasons.values()) == len(gone) == 9
    assert "60 of 69 documents stay" in said.err and "duplicates: 4 dropped (near duplicate 4)" in said.err
    assert not (output / "stages").exists()

    again = darumeru(capsys, monkeypatch, *words)
    assert again.code == 0 and read_lines(output / "text.jsonl") == kept
    other = darumeru(capsys, monkeypatch, *words, "--language", "en")
    assert other.code == 2 and "holds a cleaning of other text or other rules" in other.err


def test_a_cleaning_killed_anywhere_ends_as_an_undisturbed_one(corpus: Path, tmp_path: Path) -> None:
    """SIGKILL at a moment of each stage, seen by the files that it leaves; then the same command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = "import sys, lep_plugins.corpora.cleaning as c; c.SHARD = 8; from darumeru.cli.main import main; main()"

    def command(output: Path) -> list[str]:
        return [sys.executable, "-c", program, "corpus", str(corpus), "--output", str(output), "--min-words", "20"]

    output = tmp_path / "killed"
    for seen in ("read/000002.jsonl", "signatures/000003.done", "judged/000001.jsonl"):
        child = subprocess.Popen(command(output), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (output / "stages" / seen).exists() and child.poll() is None:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
    for place in (output, tmp_path / "whole"):
        subprocess.run(command(place), env=environment, check=True, capture_output=True)
    for name in ("text.jsonl", "dropped.jsonl", "report.json"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_recipe_trains_on_what_a_corpus_step_leaves(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`step.clean` stands for the cleaned file: the vocabulary is learnt from it, and it is no row of the board."""
    from tests.tiny_models import make_model

    make_model(tmp_path / "base", seed=1)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
models: {{base: base}}
data: {{raw: {corpus.name}}}
score: {{tasks: [perplexity/text_ru], data: bundled, engine: transformers, limit: 1, max_length: 256, resamples: 0}}
steps:
  - {{name: vocab, step: vocab_bpe, from: base, with: {{corpus: [step.clean], size: 700}}, score: false}}
  - {{name: clean, step: corpus, with: {{files: data.raw, min_words: 20}}}}
"""
    )
    output = tmp_path / "out"
    words = ("adapt", str(recipe), "--output", str(output))
    planned = darumeru(capsys, monkeypatch, *words, "--dry-run")
    assert planned.code == 0 and "clean [corpus] to do" in planned.out, planned.err
    said = darumeru(capsys, monkeypatch, *words, "--json")
    assert said.code == 0, said.err
    (row,) = json.loads(said.out)["candidates"]
    (text,) = output.glob("steps/clean-*/work/text.jsonl")
    assert row["label"] == "vocab" and row["parameters"]["corpus"] == [str(text.resolve())]
    assert row["parents"] == ["base", "clean"] and "60 of 69 documents stay" in said.err
    done = darumeru(capsys, monkeypatch, *words, "--dry-run")
    assert "clean [corpus] done" in done.out and "vocab [vocab_bpe] done" in done.out
    (tmp_path / "wrong.yaml").write_text(recipe.read_text().replace("from: base", "from: clean"))
    wrong = darumeru(capsys, monkeypatch, "adapt", str(tmp_path / "wrong.yaml"), "--dry-run")
    assert wrong.code == 2 and "`clean` makes text, and `vocab` takes a model (name it in a parameter" in wrong.err


def test_thresholds_fitted_to_good_text_are_its_tails() -> None:
    """Half of the reference has lines without punctuation at their ends; thresholds at its tails of 2 % let
    those pass that the authors' threshold drops; twelve thresholds together drop at most 24 % of it."""
    lists = ["\n".join(story(seed, 12).rstrip(".").split(". ")) for seed in range(100, 140)]
    before = [quality_filter(RULES["ru"])(text) for text in lists]
    assert set(before) == {"line_punct_ratio"}
    rules = fitted(RULES["ru"], [*lists, *RUSSIAN[:40]], 0.02)
    after = [quality_filter(rules)(text) for text in [*lists, *RUSSIAN[:40]]]
    assert np.mean([reason == "" for reason in after]) >= 0.76 and rules.line_end == 0.0
    words = [word for text in [*lists, *RUSSIAN[:40]] for word in text.split()]
    assert words.count(rules.stop_words[0]) >= words.count(rules.stop_words[-1])


def test_documents_of_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("раз\nдва\n\n\nтри\n \nчетыре", encoding="utf-8")
    assert [one.text for one in documents([path], "text", "blank")] == ["раз\nдва", "три", "четыре"]
    assert [(one.number, one.text) for one in documents([path], "text", "line")] == list(
        enumerate(["раз", "два", "три", "четыре"], 1)
    )


def test_copies_go_to_clusters_that_seldom_fail(tmp_path: Path) -> None:
    """40 single documents of which half failed, 40 clusters of 8 of which none did: the rate of all is 1/4, so that
    single ones stay single and the others come back 8 times, never more than there were."""
    job = cleaning.Job(("x",), "text", "blank", "ru", 0.5, True, RULES["ru"], 10)
    made = cleaning.Cleaning(job, tmp_path, lambda line: None)
    records = [
        {"source": "x", "number": n, "score": 1.0, "characters": 3, "stage": "quality" if n < 20 else "", "reason": "r",
         "duplicates": 1 if n < 40 else 9, "text": f"t{n}"}
        for n in range(80)
    ]  # fmt: skip
    cleaning.write_lines(made.work / "judged" / "000000.jsonl", records)
    made._write(0.5)
    counts = Counter(one["text"] for one in read_lines(made.text))
    assert counts["t30"] == 1 and counts["t70"] == 8 and "t0" not in counts
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["weights"] == {"1": 1, "8": 8} and report["rates"] == {"1": 0.5, "8": 0.0}
    assert report["written"] == 60 and report["copies"] == 40 * 7
