"""A judge behind the OpenAI dialect: what it says is a function of the question, so that right values are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.chat_server import chat_server, spoken


class Judge:
    """says: question -> what is said. scores: whether log-probabilities are given. model: entry of GET /models.
    asked: the questions, in the order they came. failing: words of questions that get an error."""

    def __init__(self, says: Callable[[str], str], scores: bool = True) -> None:
        self.says = says
        self.scores = scores
        self.model: dict[str, Any] = {"id": "judge", "root": "weights-1"}
        self.asked: list[str] = []
        self.failing = ""
        self.url = ""


@contextmanager
def serving(judge: Judge) -> Iterator[Judge]:
    """The judge on a free port of 127.0.0.1 while the context lasts."""

    def reply(body: dict[str, Any]) -> dict[str, Any] | int:
        question = body["messages"][-1]["content"]
        probed = body["messages"][0]["content"].startswith("1 + 1")
        if not probed:
            judge.asked.append(question)
            if judge.failing and judge.failing in question:
                return 400
        said = "2" if probed else judge.says(question)
        return spoken(said, {said: 0.7, "?": 0.2} if body.get("logprobs") and judge.scores else None)

    with chat_server(lambda: judge.model, reply) as judge.url:
        yield judge
