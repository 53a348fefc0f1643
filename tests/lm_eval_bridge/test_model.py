"""Darumeru's engine behind lm-eval's model interface gives what lm-eval's own model gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import darumeru
from darumeru.engines.protocol import Engine
from tests.lm_eval_bridge.local_tasks import SELECTED, write_tasks

Results = dict[str, Any]


def evaluated(model: Any, folder: Path, tasks: Sequence[str], chat: bool) -> Results:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results: Results = lm_eval.simple_evaluate(
        model=model, tasks=list(tasks), task_manager=manager, bootstrap_iters=200, apply_chat_template=chat
    )
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def stock_model(tiny_model: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    # One less than the engine: lm-eval's window is the input, which lacks the last token.
    return HFLM(pretrained=str(tiny_model), dtype="float32", device="cpu", max_length=2047, batch_size=4)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "chat"])
def both(
    request: pytest.FixtureRequest, folder: Path, stock_model: Any, vllm_engine: Engine, monkeypatch_module: Any
) -> tuple[Results, Results]:
    tasks = [task for task in SELECTED if not (request.param and task == "rolling")]
    monkeypatch_module.setenv("DISABLE_MULTIPROC", "1")
    ours = darumeru.lm_eval_model(vllm_engine)
    return evaluated(ours, folder, tasks, request.param), evaluated(stock_model, folder, tasks, request.param)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_all_scores_standard_errors_and_group_means_are_equal(both: tuple[Results, Results]) -> None:
    ours, stock = both
    assert ours["results"].keys() == stock["results"].keys() >= {"choices_group", "inner_group", "python_task"}
    for task, scores in stock["results"].items():
        assert ours["results"][task].keys() == scores.keys()
        for name, value in scores.items():
            expected = pytest.approx(value, rel=1e-4, nan_ok=True) if isinstance(value, float) else value
            assert ours["results"][task][name] == expected, (task, name)


def test_every_response_is_equal_sample_by_sample(both: tuple[Results, Results]) -> None:
    ours, stock = both
    for task, samples in stock["samples"].items():
        assert len(ours["samples"][task]) == len(samples) > 0
        for mine, theirs in zip(ours["samples"][task], samples, strict=True):
            assert mine["arguments"] == theirs["arguments"]
            for left, right in zip(mine["resps"], theirs["resps"], strict=True):
                assert_equal_responses(left, right)


def assert_equal_responses(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs, strict=True):
        if isinstance(right, tuple):
            assert left[0] == pytest.approx(right[0], abs=1e-3)
            assert left[1] == right[1]
        elif isinstance(right, float):
            assert left == pytest.approx(right, abs=1e-2)
        else:
            assert left == right
