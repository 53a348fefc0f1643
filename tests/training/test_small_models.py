"""A base model from nothing and its instruct variant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from darumeru import evaluate
from darumeru.adaptation.protocols import Candidate, StepContext
from darumeru.core.errors import UserError
from lep_plugins.training.base_model import BaseModel
from lep_plugins.training.instruction_tuning import InstructTune
from lep_plugins.training.training_loop import read_losses
from tests.tiny_models import TEXTS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    path.write_text("\n".join(TEXTS * 30), encoding="utf-8")
    return str(path)


def base(corpus: str, output: Path, **settings: Any) -> Candidate:
    step = BaseModel(corpus=(corpus,), **{"vocabulary": 400, "hidden": 64, "heads": 2, "layers": 2, **settings})
    (made,) = step.run(StepContext(output), Candidate(Path()))
    return made


def tune(candidate: Candidate, output: Path, **settings: Any) -> list[Candidate]:
    settings = {"max_length": 300, "learning_rate": 3e-3, "batch_size": 8, "micro_batch": 4, **settings}
    return list(InstructTune(**settings).run(StepContext(output, say=lambda text: None), candidate))


def test_a_base_model_becomes_an_instruct_model_that_is_scored(corpus: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    start = base(corpus, tmp_path / "base")
    assert AutoTokenizer.from_pretrained(start.path).chat_template is None
    data = tmp_path / "data.jsonl"
    data.write_text(
        json.dumps({"instruction": "Кто?", "output": "Кошка."}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    settings = {"data": (str(data),), "corpus": (corpus,), "copies": 60, "copy_max_tokens": 30, "epochs": 2}
    first, last = tune(start, tmp_path / "tuned", evaluate_every=5, **settings)[::2]
    assert first.training_step == 5
    losses = [line["loss"] for line in read_losses(tmp_path / "tuned")]
    assert len(losses) == last.training_step and losses[-1] < losses[0] - 1
    tokenizer = AutoTokenizer.from_pretrained(last.path)
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "а"}], tokenize=False, add_generation_prompt=True
    ) == ("<|begin|><|user|>\nа<|end|>\n<|assistant|>\n")
    run = evaluate(
        str(last.path), "darumeru/cp_sent_ru", output=tmp_path / "run", data="bundled", limit=3, engine="transformers",
        max_length=1500,
    )  # fmt: skip
    assert run.manifest["template"]["chat"] and run.results.tasks["darumeru/cp_sent_ru"].n == 3


def test_the_same_seed_gives_the_same_model(corpus: str, tmp_path: Path) -> None:
    one, other = (base(corpus, tmp_path / name).path / "model.safetensors" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "there is nothing to tune on"),
        ({"copies": 5, "corpus": ("nowhere.txt",)}, "no such corpus file"),
        ({"data": ("nowhere.jsonl",)}, "no such data file"),
        ({"copies": 5, "languages": ("de",)}, "unknown language"),
        ({"copies": 5, "max_length": 4}, "fits into 4 tokens"),
        ({"copies": 5, "batch_size": 0}, "batch_size must be above 0"),
    ],
)
def test_bad_input_is_one_clear_line(settings: dict[str, Any], message: str, corpus: str, tmp_path: Path) -> None:
    start = base(corpus, tmp_path / "base")
    with pytest.raises(UserError) as caught:
        tune(start, tmp_path / "tuned", **{"corpus": (corpus,), **settings})
    assert message in caught.value.line()


def test_heads_that_do_not_divide_are_refused(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hidden is a multiple of heads"):
        base(corpus, tmp_path, hidden=100, heads=3)
