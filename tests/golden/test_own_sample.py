"""The small golden sample of our own, through the public way: it proves prompts and numbers without ../shared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.answer import Answer
from darumeru.engines.request import LogLikelihood, MultipleChoice, Request
from darumeru.runs import evaluate
from darumeru.runs.run import Run
from tests.golden.answering import Answering
from tests.golden.derived import METRICS, scores
from tests.golden.own_sample import TASKS, said
from tests.golden.write import PROMPTS, TOTALS, WAYS, config, prompts


def flat(values: Mapping[str, Any], place: str = "") -> dict[str, float]:
    """Numbers of nested mappings by their place."""
    found = {}
    for name, value in values.items():
        found |= flat(value, f"{place}{name}: ") if isinstance(value, dict) else {place + name: value}
    return found


@pytest.mark.parametrize("way", WAYS)
def test_prompts_are_those_that_were_read_against_the_specification(way: str, tmp_path: Path) -> None:
    """Where a change of prompts is meant: `python -m tests.golden.write`, and read the difference."""
    assert prompts(tmp_path / "run", way) == json.loads(PROMPTS.read_text(encoding="utf-8"))[way]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All bundled questions answered by the rule of own_sample.py."""
    awaited = [(task, one) for task in TASKS for one in said(task)]
    engine = Answering(lambda request: say(request))

    def say(request: Request) -> Answer:
        task, one = awaited[len(engine.asked) - 1]
        assert one.holds in request.text, f"another question than the next one of {task}"
        if isinstance(request.kind, MultipleChoice):
            return Answer(probabilities={label: (one.probabilities or {})[label] for label in request.kind.labels})
        if isinstance(request.kind, LogLikelihood):
            assert len(request.kind.continuation) == len(one.logprobs or ())
            return Answer(logprobs=one.logprobs)
        return Answer(text=one.text, tokens=one.tokens, finish_reason="stop")

    done, failures = evaluate.run(config(tmp_path_factory.mktemp("own") / "run"), load_engine=engine.load)
    assert not failures.tasks and not done.results.failed and len(engine.asked) == len(awaited)
    return done


@pytest.mark.parametrize("task", TASKS)
def test_scores_of_a_task_are_the_derived_ones(task: str, run: Run) -> None:
    golden = json.loads(TOTALS.read_text(encoding="utf-8"))["tasks"][task]
    found = run.results.tasks[task]
    assert {name: one.value for name, one in found.metrics.items()} == pytest.approx(golden["metrics"], abs=1e-12)
    assert found.score.value == pytest.approx(golden["score"], abs=1e-12)
    assert found.score_metrics == METRICS[task][1] and found.n == len(said(task))


def test_groups_and_micro_avg_are_the_derived_ones(run: Run) -> None:
    golden = json.loads(TOTALS.read_text(encoding="utf-8"))
    groups = {name: one.value for name, one in run.results.groups.items()}
    assert groups == pytest.approx(golden["groups"], abs=1e-12)
    assert run.results.micro_avg.value == pytest.approx(golden["micro_avg"], abs=1e-12)


def test_the_written_totals_are_what_is_derived() -> None:
    assert flat(json.loads(TOTALS.read_text(encoding="utf-8"))) == pytest.approx(flat(scores()), abs=1e-12)


def test_the_sample_tells_scores_apart() -> None:
    """No score is that of all right or all wrong answers, none that of another task by accident of the rule."""
    found = [one["score"] for one in scores()["tasks"].values()]
    assert all(0.05 < score < 0.95 for score in found) and len({round(score, 6) for score in found}) >= 12
