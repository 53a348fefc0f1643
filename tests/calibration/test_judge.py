"""The judge behind a real HTTP server: scores are read strictly, what cannot be read is rejected and counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darumeru.core.errors import RunFailed, UserError
from lep_plugins.training.filters import run_filters
from lep_plugins.training.filters.judge import FAILED, UNREADABLE, JudgeFilter, read_scores
from tests.calibration.judge_server import SAID, JudgeServer, judge_server
from tests.calibration.models import pair, silent


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


def judge(server: JudgeServer, **more: Any) -> JudgeFilter:
    return JudgeFilter(server.url, backoff=0.01, retries=1, **more)


def test_good_answers_stay_and_every_rejection_has_its_reason(server: JudgeServer, tmp_path: Path) -> None:
    words = [*SAID, "отказ", "споткнулся"]
    filtered = run_filters({"judge": judge(server)}, [pair("Вопрос", word) for word in words], tmp_path, silent)
    assert [each.answer for each in filtered.kept] == ["хорошо", "ограда", "споткнулся"]
    assert filtered.rejected == {
        "judge: grammar below 4": 1,
        "judge: relevance below 4": 1,
        f"judge: {UNREADABLE}": 9,
        f"judge: {FAILED}": 1,
    }


def test_a_second_run_asks_only_what_has_no_verdict(server: JudgeServer, tmp_path: Path) -> None:
    asked = [pair("Вопрос", word) for word in ("хорошо", "невпопад", "отказ")]
    first = run_filters({"judge": judge(server)}, asked, tmp_path, silent)
    count = len(server.asked)
    again = run_filters({"judge": judge(server)}, [*asked, pair("Другой", "хорошо")], tmp_path, silent)
    assert len(server.asked) == count + 2 and len(again.kept) == len(first.kept) + 1


def test_the_template_is_filled_by_plain_names(server: JudgeServer, tmp_path: Path) -> None:
    question = "Что печатает f'{answer}' и {0}?"
    list(judge(server).reasons([pair(question, "хорошо")], tmp_path / "memory.jsonl"))
    assert question in server.asked[0] and '{"grammar": 1, "relevance": 1}' in server.asked[0]


def test_a_higher_minimum_rejects_more(server: JudgeServer, tmp_path: Path) -> None:
    asked = judge(server, minimum=5)
    assert dict(asked.reasons([pair("Вопрос", "хорошо")], tmp_path / "memory.jsonl")) == {0: "relevance below 5"}


def test_a_server_that_goes_away_stops_the_work_in_one_line(server: JudgeServer, tmp_path: Path) -> None:
    conversations = [pair("Вопрос", f"хорошо {number}") for number in range(200)]
    verdicts = judge(server, concurrency=2).reasons(conversations, tmp_path / "memory.jsonl")
    next(verdicts)
    server.gone = True
    with pytest.raises(RunFailed, match="the judge stopped: the server fails at everything") as caught:
        list(verdicts)
    assert "\n" not in str(caught.value)
    kept = (tmp_path / "memory.jsonl").read_bytes().count(b"\n") - 1
    server.gone, server.asked = False, []
    again = dict(judge(server).reasons(conversations, tmp_path / "memory.jsonl"))
    # A thread of the first engine may still have been asking, but only what had no verdict.
    assert set(again.values()) == {""} and len(again) == 200 and len(set(server.asked)) == 200 - kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the judge has no address"),
        ({"url": "http://127.0.0.1:9/v1"}, "no server answers"),
        ({"url": "x", "template": "{instruction} {anser}"}, "template names {anser}; did you mean answer?"),
        ({"url": "x", "template": "{instruction}"}, "template does not name {answer}"),
        ({"url": "x", "minimum": 6}, "minimum is a whole number from 1 to 5"),
    ],
)
def test_a_judge_that_cannot_work_is_refused_before_the_work(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        JudgeFilter(**given).check()
    assert message in caught.value.line() and "\n" not in caught.value.line()


def test_scores_need_every_criterion_once() -> None:
    assert read_scores(' {"a": 1} ', ["a"]) == {"a": 1}
    assert read_scores('{"a": 0}', ["a"]) is None and read_scores('{"a": "4"}', ["a"]) is None
    assert read_scores("NaN", ["a"]) is None and read_scores("```{}```", ["a"]) is None
