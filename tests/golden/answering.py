"""An engine that says what a test tells it to: for tests of prompts and numbers, of which it is no part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from darumeru.core.answer import Answer
from darumeru.engines.protocol import Engine, EngineDied, EngineOptions
from darumeru.engines.request import Request


class Answering:
    """Answers each request by a function of it. asked: all requests so far. rounds: how many came
    together. die_after: answers before it dies."""

    name = "transformers"
    free_arguments: frozenset[str] = frozenset()
    capabilities = frozenset({"multiple_choice", "generate", "loglikelihood"})
    max_model_len = 0

    def __init__(self, say: Callable[[Request], Answer], die_after: int | None = None) -> None:
        self.say = say
        self.die_after = die_after
        self.asked: list[Request] = []
        self.rounds: list[int] = []

    def load(self, name: str, options: EngineOptions) -> Engine:
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        self.rounds.append(len(requests))
        for index, request in enumerate(requests):
            if len(self.asked) == self.die_after:
                raise EngineDied("out of memory")
            self.asked.append(request)
            yield index, self.say(request)

    def close(self) -> None:
        pass
