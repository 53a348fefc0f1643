"""A real language model before its adaptation: all 17 tasks get a score, both engines agree, what it knows comes out.

SmolLM2-135M-Instruct, whose byte-level vocabulary has no Cyrillic words: "Да" and "Нет" begin with the same token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from darumeru.engines import EngineOptions, load_engine
from darumeru.engines.protocol import Engine
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.run import Run
from tests.real.smollm2 import packages
from tests.runs.data_folders import write_split

FACTS = {"What is the capital of France?": "Paris", "What is 2 + 2?": "4"}
TASK = """
name: mine/facts
group: Mine
description: What every model knows.
method: generate
format: standard
source: {repository: RefalMachine/darumeru, config: facts, test: test, shots: null}
few_shot: false
max_new_tokens: 24
metrics: [f1]
score: [f1]
"""
SHORT = "darumeru/rwsd,darumeru/rcb,darumeru/parus,darumeru/ruworldtree,darumeru/multiq,mine/facts"


@pytest.fixture(scope="module")
def model() -> Path:
    folder = packages() / "SmolLM2-135M-Instruct"
    if not (folder / "config.json").is_file():
        if os.environ.get("CI"):
            pytest.fail("CI runs on the real model: `make real`")
        pytest.skip("needs the real model: `make real`")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    (folder / "facts.yaml").write_text(TASK, encoding="utf-8")
    records = [
        {"messages": [{"role": "user", "content": "{question}"}], "inputs": {"question": question}, "outputs": answer}
        for question, answer in FACTS.items()
    ]
    write_split(folder / "data", "facts/test", records)
    return folder


class Kept:
    """One vLLM engine for all runs of this module."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def load(self, name: str, options: EngineOptions) -> Engine:
        return self  # type: ignore[return-value]

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def vllm(model: Path) -> Iterator[Kept]:
    engine = load_engine("vllm", EngineOptions(model=str(model), dtype="float32", max_model_len=4096))
    yield Kept(engine)
    engine.close()


@pytest.fixture(scope="module")
def whole(model: Path, place: Path, vllm: Kept) -> Run:
    config = RunConfig(
        model=str(model), data="bundled", limit=1, dtype="float32", output=str(place / "whole"), resamples=0
    )
    run, failures = evaluate.run(config, load_engine=vllm.load)
    assert not failures.tasks
    return run


def test_every_task_has_a_score_and_so_has_micro_avg(whole: Run) -> None:
    assert len(whole.results.tasks) == 17 and not whole.results.failed
    assert whole.results.micro_avg.value is not None and 0 < whole.results.micro_avg.value < 1
    row = next(whole.rows("darumeru/rwsd"))
    assert row.answer.probabilities is not None and 0 < sum(row.answer.probabilities.values()) <= 1


def facts_and_choices(model: Path, place: Path, engine: str, load: object) -> Run:
    bundled = Path("tasks/bundled")
    for folder in ("rwsd", "rcb", "parus", "ruworldtree", "multiq"):
        target = place / "data" / "RefalMachine" / "darumeru" / folder
        if not target.exists():
            target.symlink_to((bundled / "RefalMachine" / "darumeru" / folder).resolve())
    config = RunConfig(
        model=str(model), data=str(place / "data"), include=str(place / "facts.yaml"), tasks=SHORT, limit=2,
        dtype="float32", engine=engine, output=str(place / engine), resamples=0,
    )  # fmt: skip
    run, failures = evaluate.run(config, **({"load_engine": load} if load else {}))  # type: ignore[arg-type]
    assert not failures.tasks
    return run


def test_both_engines_agree_and_know_what_the_model_knows(model: Path, place: Path, vllm: Kept) -> None:
    one = facts_and_choices(model, place, "vllm", vllm.load)
    other = facts_and_choices(model, place, "transformers", None)
    for task in one.results.tasks:
        for row, same in zip(one.rows(task), other.rows(task), strict=True):
            assert row.prompt == same.prompt
            if row.answer.probabilities is not None:
                assert row.answer.probabilities == pytest.approx(same.answer.probabilities, rel=2e-3, abs=1e-6)
            else:
                assert (row.answer.text or "")[:20] == (same.answer.text or "")[:20]
    said = {row.prompt: row.answer.text or "" for row in one.rows("mine/facts")}
    for question, answer in FACTS.items():
        assert any(question in prompt and answer in text for prompt, text in said.items())
