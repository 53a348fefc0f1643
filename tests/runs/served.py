"""A small OpenAI-compatible server inside the test: it says what it serves and answers with fixed probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.chat_server import chat_server, spoken


class Served:
    """model: entry of GET /models; favourite: the token that gets most of the probability. asked: generating calls.
    busy: questions get 503."""

    def __init__(self) -> None:
        self.model: dict[str, Any] = {"id": "m", "root": "weights-1", "created": 1}
        self.favourite = "1"
        self.asked = 0
        self.busy = False
        self.url = ""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """The server on a free port of 127.0.0.1 while the context lasts."""

    def reply(body: dict[str, Any]) -> dict[str, Any] | int:
        if body["messages"][0]["content"].startswith("Вопрос"):
            served.asked += 1
            if served.busy:
                return 503
        likely = {token: 0.7 if token == served.favourite else 0.1 for token in "123"}
        return spoken(served.favourite, likely if body.get("logprobs") else None)

    with chat_server(lambda: served.model, reply) as served.url:
        yield served
