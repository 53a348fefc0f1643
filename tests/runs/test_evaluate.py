"""Whole runs on real vLLM: files, resuming, failures, scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed, UserError
from darumeru.engines.protocol import Engine, EngineDied, EngineOptions
from darumeru.engines.request import Request
from darumeru.runs import evaluate
from darumeru.runs.config import RunConfig
from darumeru.runs.manifest import read_manifest
from darumeru.runs.rescore import rescore
from darumeru.runs.run import Run, load_run
from darumeru.runs.run_table import load_runs
from tests.runs.data_folders import SUITE, small_suite
from tests.shared_data import ROOT, json_lines


class Borrowed:
    """The session's engine for one run: counts what is asked, stays open, and injects faults on demand."""

    def __init__(self, engine: Engine, die_after: int | None = None, spoil: str = "") -> None:
        self.engine, self.die_after, self.spoil = engine, die_after, spoil
        self.name, self.capabilities, self.max_model_len = engine.name, engine.capabilities, engine.max_model_len
        self.asked: list[str] = []

    def load(self, name: str, options: EngineOptions) -> Engine:
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for done, (index, answer) in enumerate(self.engine.answer(requests)):
            if self.die_after is not None and done >= self.die_after:
                raise EngineDied("out of memory")
            self.asked.append(requests[index].key)
            spoilt = self.spoil and self.spoil in requests[index].text
            yield index, Answer(error="log-probabilities are NaN") if spoilt else answer

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_suite(tmp_path_factory.mktemp("data"))


@pytest.fixture
def options(tiny_model: Path, data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        model=str(tiny_model), output=str(tmp_path / "run"), tasks=SUITE, data=str(data), max_length=2048, resamples=200
    )


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, data: Path, vllm_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = tmp_path_factory.mktemp("whole") / "run"
    asked = RunConfig(
        model=str(tiny_model), output=str(output), tasks=SUITE, data=str(data), max_length=2048, resamples=200
    )
    return evaluate.run(asked, load_engine=Borrowed(vllm_engine).load)[0]


def scores(run: Run) -> dict[str, Any]:
    return {name: task.to_dict() for name, task in run.results.tasks.items()}


def test_the_files_of_a_run_fit_their_schemas(uninterrupted: Run) -> None:
    folder = ROOT / "docs" / "schemas"
    schemas = {path.name: json.loads(path.read_text()) for path in folder.glob("*.schema.json")}
    registry: Registry[Any] = Registry().with_resources(
        [(name, Resource.from_contents(schema)) for name, schema in schemas.items()]
    )

    def check(name: str, document: Any) -> None:
        jsonschema.Draft202012Validator(schemas[f"{name}.schema.json"], registry=registry).validate(document)

    check("manifest", json.loads((uninterrupted.path / "manifest.json").read_text()))
    check("results", json.loads((uninterrupted.path / "results.json").read_text()))
    for folder, kind in (("samples", "sample"), ("questions", "question")):
        files = sorted((uninterrupted.path / folder).iterdir())
        assert [file.name for file in files] == sorted(f"{name.replace('/', '__')}.jsonl" for name in SUITE)
        for file in files:
            for line in json_lines(file):
                check(kind, line)


def test_all_samples_are_answered_and_scored(uninterrupted: Run) -> None:
    tasks = uninterrupted.results.tasks
    assert {name: (task.n, task.expected) for name, task in tasks.items()} == {
        "darumeru/rummlu": (6, 6),
        "darumeru/cp_sent_ru": (6, 6),
        "daru/treewayextractive": (14, 14),
    }
    assert not uninterrupted.results.failed
    assert all(0 <= (task.score.value or 0) <= 1 for task in tasks.values())
    assert uninterrupted.results.micro_avg.value is None
    assert "3 of the benchmark's 17" in (uninterrupted.results.micro_avg.reason or "")
    assert uninterrupted.results.token_efficiency["ru"]["symbols_per_token"] > 1


def test_a_finished_run_repeated_loads_no_model(
    uninterrupted: Run, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(name: str, options: EngineOptions) -> Engine:
        raise AssertionError("the model was loaded")

    before = (uninterrupted.path / "results.json").read_bytes()
    asked = RunConfig(
        model=str(tiny_model),
        output=str(uninterrupted.path),
        tasks=SUITE,
        data=str(data),
        max_length=2048,
        resamples=200,
    )
    again, _ = evaluate.run(asked, load_engine=never)
    assert scores(again) == scores(uninterrupted)
    assert (uninterrupted.path / "results.json").read_bytes() == before


def test_an_engine_that_dies_leaves_its_answers_and_the_same_command_goes_on(
    options: RunConfig, vllm_engine: Engine, uninterrupted: Run
) -> None:
    dying = Borrowed(vllm_engine, die_after=9)
    with pytest.raises(RunFailed, match="out of memory"):
        evaluate.run(options, load_engine=dying.load)
    assert read_manifest(Path(options.output))["status"] == "interrupted"
    with pytest.raises(UserError, match="not finished"):
        load_run(options.output)
    rest = Borrowed(vllm_engine)
    finished, _ = evaluate.run(options, load_engine=rest.load)
    assert len(dying.asked) == 9 and len(rest.asked) == 26 - 9 and not set(dying.asked) & set(rest.asked)
    assert scores(finished) == scores(uninterrupted)


def test_a_sample_that_cannot_be_answered_fails_its_task_and_no_other(
    options: RunConfig, vllm_engine: Engine, uninterrupted: Run
) -> None:
    finished, outcome = evaluate.run(options, load_engine=Borrowed(vllm_engine, spoil="Вопрос номер 2").load)
    assert list(outcome.tasks) == ["darumeru/rummlu"]
    assert finished.results.failed["darumeru/rummlu"] == "1 sample failed: log-probabilities are NaN"
    assert finished.results.tasks["darumeru/rummlu"].n == 5
    assert scores(finished)["darumeru/cp_sent_ru"] == scores(uninterrupted)["darumeru/cp_sent_ru"]
    mended, _ = evaluate.run(options, load_engine=Borrowed(vllm_engine).load)
    assert scores(mended) == scores(uninterrupted)


def test_scores_are_computed_again_from_the_store_alone(uninterrupted: Run) -> None:
    before = (uninterrupted.path / "results.json").read_bytes()
    _, notes = rescore(uninterrupted.path)
    assert not notes
    assert (uninterrupted.path / "results.json").read_bytes() == before


def test_a_run_may_be_called_otherwise_and_stays_the_same_run(
    options: RunConfig, vllm_engine: Engine, uninterrupted: Run
) -> None:
    first, _ = evaluate.run(replace(options, tasks=("darumeru/rummlu",)), load_engine=Borrowed(vllm_engine).load)
    assert first.name == uninterrupted.name
    named = replace(options, name="Моя модель")
    rest = Borrowed(vllm_engine)
    run, _ = evaluate.run(named, load_engine=rest.load)
    assert run.name == "Моя модель" and len(rest.asked) == 26 - first.results.tasks["darumeru/rummlu"].n
    assert scores(run) == scores(uninterrupted)


def test_results_edited_by_hand_are_refused(options: RunConfig, vllm_engine: Engine) -> None:
    limited = replace(options, tasks=("darumeru/rummlu",), limit=2)
    finished, _ = evaluate.run(limited, load_engine=Borrowed(vllm_engine).load)
    assert finished.results.tasks["darumeru/rummlu"].limited and finished.manifest["limit"] == 2
    path = finished.path / "results.json"
    document = json.loads(path.read_text())
    document["tasks"]["darumeru/rummlu"]["score"]["value"] = 0.99
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="edited by hand"):
        load_run(finished.path)


def test_a_larger_limit_asks_only_what_is_new(options: RunConfig, vllm_engine: Engine) -> None:
    tasks = ("darumeru/rummlu",)
    evaluate.run(replace(options, tasks=tasks, limit=2), load_engine=Borrowed(vllm_engine).load)
    more = Borrowed(vllm_engine)
    finished, _ = evaluate.run(replace(options, tasks=tasks, limit=5), load_engine=more.load)
    assert len(more.asked) == 3 and finished.results.tasks["darumeru/rummlu"].n == 5


def test_runs_load_into_pandas(uninterrupted: Run) -> None:
    frame = load_runs([uninterrupted.path])
    assert set(frame["task"]) == set(SUITE) and frame["n"].sum() == 26
