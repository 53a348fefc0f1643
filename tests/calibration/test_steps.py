"""Both calibrations from their data to a scored model, and what they refuse before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darumeru.adaptation.protocols import Candidate, Step
from darumeru.core.errors import UserError
from lep_plugins.training.conversations import read_conversations
from lep_plugins.training.instruction_calibration import InstructionCalibration
from lep_plugins.training.keyed_log import KeyedLog
from lep_plugins.training.self_calibration import SelfCalibration
from tests.calibration.judge_server import judge_server
from tests.calibration.models import RUSSIAN, chat_model, context, silent, without_template, write_lines, write_pairs
from tests.cli.command import darumeru
from tests.tiny_models import TEXTS

SMALL: dict[str, Any] = {
    "copies": 6,
    "copy_min_tokens": 5,
    "copy_max_tokens": 60,
    "max_length": 256,
    "batch_size": 4,
    "micro_batch": 2,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("models") / "target")


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("models") / "adapted", seed=1)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return str(write_lines(tmp_path / "corpus.jsonl", ({"text": text} for text in TEXTS)))


def instruction(tmp_path: Path, corpus: str, **more: Any) -> InstructionCalibration:
    data = write_pairs(tmp_path / "data.jsonl", 6)
    return InstructionCalibration(**{"data": str(data), "copy_corpus": (corpus,), **SMALL, **more})


def test_instruction_calibration_gives_a_model_that_is_scored(
    tmp_path: Path, donor: Path, corpus: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = instruction(
        tmp_path, corpus, epochs=2, filters=("rules",), filter_options={"rules": {"max_characters": 500}}
    )
    assert isinstance(step, Step) and step.name == "instruction_calibration"
    made = list(step.run(context(tmp_path / "out"), Candidate(donor, label="donor")))
    assert [each.training_step for each in made] == [3, 6] and made[-1].path == tmp_path / "out" / "model"
    assert made[-1].parents == ("donor",) and made[-1].step == step.name and json.dumps(dict(made[-1].parameters))
    report = json.loads((tmp_path / "out" / "data" / "report.json").read_text())
    assert report["trained_on"] == {"data": 6, "copy": 6} and report["kept"] == 6
    copies = [each for each in read_conversations(tmp_path / "out" / "data" / "train.jsonl") if "\n\n" in each.question]
    assert len(copies) == 6 and all(each.question.split("\n\n", 1)[1] == each.answer for each in copies)
    capsys.readouterr()
    options = ["--engine", "transformers", "--data", "bundled", "--tasks", "darumeru/parus", "--limit", "4", "--json"]
    said = darumeru(
        capsys, monkeypatch, "run", "--model", str(made[-1].path), "--output", str(tmp_path / "run"), *options
    )
    assert said.code == 0, said.err
    assert "parus" in said.out


def test_the_same_seed_mixes_the_same_data(tmp_path: Path, donor: Path, corpus: str) -> None:
    step = instruction(tmp_path, corpus)
    mixed = []
    for place, seed in enumerate((7, 7, 8)):
        where = replace(context(tmp_path / f"out{place}"), seed=seed)
        next(iter(step.run(where, Candidate(donor))))
        mixed.append((where.output / "data" / "train.jsonl").read_bytes())
    assert mixed[0] == mixed[1] != mixed[2]


def test_self_calibration_learns_the_answers_that_pass_the_judge(
    tmp_path: Path, model: Path, donor: Path, corpus: str
) -> None:
    prompts = write_lines(tmp_path / "prompts.jsonl", ({"instruction": f"Вопрос {number}"} for number in range(6)))
    with judge_server() as server:
        step = SelfCalibration(
            prompts=str(prompts),
            engine="transformers",
            filters=("rules", "judge"),
            filter_options={"judge": {"url": server.url}},
            copy_corpus=(corpus,),
            **SMALL,
        )
        where = context(tmp_path / "out", target=model)
        (where.output / "data").mkdir()
        # A random model writes nothing that a filter would keep, so these stand for what it said before a kill.
        with KeyedLog(where.output / "data" / "answers.jsonl", step._synthesis(where)._job()) as log:
            from lep_plugins.training.conversations import read_prompts

            said = (RUSSIAN, "невпопад", "да " * 9, "The cat sleeps on the window.", "Да")
            for question, answer in zip(read_prompts(prompts), said, strict=False):
                log.add(question.key, {"answer": answer, "finish_reason": "stop"})
        heard: list[str] = []
        (made,) = step.run(replace(where, say=heard.append), Candidate(donor))
    assert any("5 of 6 questions are answered already" in line for line in heard)
    report = json.loads((where.output / "data" / "report.json").read_text())
    rejected = report["rejected"]
    assert rejected["rules: repetition"] >= 1 and rejected["rules: language"] >= 1
    assert rejected["judge: relevance below 4"] == 1
    assert report["kept"] + sum(rejected.values()) == report["prompts"] == 6
    kept = read_conversations(where.output / "data" / "kept.jsonl")
    assert {RUSSIAN, "Да"} <= {each.answer for each in kept} and len(kept) == report["kept"]
    assert made.path.is_dir() and made.training_step
    # All is done: the server is gone and nothing needs it any more.
    (again,) = step.run(where, Candidate(donor))
    assert again == made


def test_the_defaults_are_the_papers() -> None:
    own = SelfCalibration(prompts="prompts.jsonl", copy_corpus=("articles.jsonl",))
    given = InstructionCalibration(data="saiga.jsonl", copy_corpus=("articles.jsonl",))
    assert (own.copies, own.rank, own.alpha, own.learning_rate, own.weight_decay) == (10_000, 8, 1, 2.5e-5, 0.1)
    assert (own.layers, own.saved, own.max_length, own.batch_size) == ("first_last", ("embedding", "head"), 8192, 64)
    assert (given.copies, given.rank, given.alpha, given.learning_rate) == (2_000, 32, 16, 5e-5)
    assert (given.weight_decay, given.layers, given.saved) == (0.05, "all", ("head",))
    assert (given.max_length, given.batch_size, own.epochs, given.epochs) == (4096, 128, 1, 1)


def lines(name: str, *texts: str) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "bad.jsonl").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return {name: str(folder / "bad.jsonl")}

    return write


GOOD = '{"instruction": "Вопрос", "output": "Ответ"}'
BAD: list[tuple[Callable[[Path], dict[str, Any]], str]] = [
    (lambda folder: {"data": str(folder / "none.jsonl")}, "no such data file"),
    (lines("data"), "the data file holds no record"),
    (lines("data", GOOD, "{broken"), "line 2: not JSONL"),
    (lines("data", "[1]"), "line 1: not JSONL: the line holds no object"),
    (lines("data", GOOD, '{"instruction": "а \\ud83d", "output": "б"}'), "line 2: holds half a character"),
    (lines("data", GOOD, '{"text": "Вопрос"}'), "line 2: a record without messages or instruction"),
    (lines("data", '{"instruction": "Вопрос"}'), "line 1: a record without a question and its answer"),
    (lines("data", '{"messages": []}'), "`messages` is not a list of messages"),
    (lines("data", '{"messages": [{"role": "robot", "content": "a"}]}'), "a message without role or content"),
    (lambda folder: {"filters": ("rule",)}, "unknown filter `rule`; did you mean rules?"),
    (lambda folder: {"filters": ("rules",), "filter_options": {"rules": {"language": "uk"}}}, "unknown language `uk`"),
    (
        lambda folder: {"filters": ("judge",), "filter_options": {"judge": {"url": "http://127.0.0.1:9/v1"}}},
        "no server answers",
    ),
    (
        lambda folder: {"filters": ("rules",), "filter_options": {"rules": {"language": "en"}}},
        "all 6 conversations were filtered out (rules: language: 6)",
    ),
    (lambda folder: {"copy_corpus": ()}, "6 copy tasks are wanted and there is no corpus for them"),
    (lambda folder: {"copy_corpus": (str(folder / "none.txt"),)}, "no such corpus file"),
    (lambda folder: {"copy_language": "de"}, "unknown language `de`"),
    (lambda folder: {"rank": 0}, "rank must be above 0"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_one_line_before_the_training(
    tmp_path: Path, donor: Path, corpus: str, change: Callable[[Path], dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        step = instruction(tmp_path, corpus, **change(tmp_path))
        list(step.run(context(tmp_path / "out"), Candidate(donor)))
    assert message in caught.value.line() and "\n" not in caught.value.line()
    assert not (tmp_path / "out" / "training").exists() and not (tmp_path / "out" / "model").exists()


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path, model: Path, corpus: str) -> None:
    plain = without_template(chat_model(tmp_path / "plain"))
    with pytest.raises(UserError, match="the model has no chat template"):
        list(instruction(tmp_path, corpus).run(context(tmp_path / "out"), Candidate(plain)))
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"instruction": "Вопрос"}])
    step = SelfCalibration(prompts=str(prompts), copy_corpus=(corpus,), **SMALL)
    with pytest.raises(UserError, match="the model that shall answer has no chat template"):
        list(step.run(context(tmp_path / "out", target=plain), Candidate(model)))
    with pytest.raises(UserError, match="no model that answers the prompts"):
        list(step.run(context(tmp_path / "out"), Candidate(model)))
    with pytest.raises(UserError, match="unknown engine"):
        list(replace(step, engine="vlm").run(context(tmp_path / "out", target=model), Candidate(model)))
    with pytest.raises(UserError, match="a record without a user message"):
        silent_prompts = write_lines(
            tmp_path / "silent.jsonl", [{"messages": [{"role": "assistant", "content": "Да"}]}]
        )
        list(replace(step, prompts=str(silent_prompts)).run(context(tmp_path / "out", target=model), Candidate(model)))


def test_a_tied_model_is_told_that_both_matrices_are_one(tmp_path: Path, corpus: str) -> None:
    tied = chat_model(tmp_path / "tied", tied=True)
    heard: list[str] = []
    where = replace(context(tmp_path / "out"), say=heard.append)
    (made,) = instruction(tmp_path, corpus).run(where, Candidate(tied))
    assert any("are one matrix: both are trained" in line for line in heard)
    assert json.loads((made.path / "config.json").read_text())["tie_word_embeddings"] is True
    silent("")
