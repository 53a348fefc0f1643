"""Darumeru's engine behind lm-eval's model interface gives what lm-eval's own model gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import darumeru
from darumeru.engines.protocol import Engine
from tests.lm_eval_bridge.conftest import evaluated

Results = Mapping[str, Any]


@pytest.fixture(scope="module")
def both(stock: tuple[bool, Results], local_tasks: Path, vllm_engine: Engine) -> tuple[Results, Results]:
    chat, theirs = stock
    return evaluated(darumeru.lm_eval_model(vllm_engine), local_tasks, chat), theirs


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
