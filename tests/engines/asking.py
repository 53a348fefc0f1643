"""Requests with random prompts, and how two engines' answers are compared."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from darumeru.engines import Answer, Engine, Generate, LogLikelihood, MultipleChoice, Request

VOCABULARY = 600
LETTERS = MultipleChoice(("A", "B", "C"), ((36, 341), (37,), (38,)))


class Prompts:
    """Random token ids after BOS, reproducible by seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def ids(self, length: int) -> tuple[int, ...]:
        return tuple(self._random.randrange(4, VOCABULARY) for _ in range(length))

    def prompt(self, length: int) -> tuple[int, ...]:
        return (1, *self.ids(length - 1))

    def shuffled(self, requests: list[Request]) -> list[Request]:
        return self._random.sample(requests, len(requests))


def mixed(seed: int) -> list[Request]:
    """All kinds in no order: choices exact and of the top 50, texts with and without stop strings, continuations that
    share contexts of lengths around vLLM's block of 128 tokens, duplicates, and ones that begin alike."""
    prompts = Prompts(seed)
    every = tuple(range(300))
    requests = [Request(prompts.prompt(40), MultipleChoice(tuple(map(str, every)), tuple((n,) for n in every)))]
    for length in (3, 10, 127, 128, 129, 256):
        requests.append(Request(prompts.prompt(length), LETTERS))
        requests.append(Request(prompts.prompt(length), MultipleChoice(("x", "y"), ((5, 6), (7,)), top_k=50)))
        requests.append(Request(prompts.prompt(length), Generate(16)))
        requests.append(Request(prompts.prompt(length), Generate(16, ("а", "e", "\n"))))
        context = prompts.prompt(length)
        continuations = [prompts.ids(count) for count in (0, 1, 2, 3, 40, 300)]
        continuations += [continuations[-1], continuations[-1] + (9, 8, 7), (*continuations[-1][:200], 9, 8, 7)]
        requests += [Request(context, LogLikelihood(each)) for each in continuations]
    return prompts.shuffled(requests)


def answers(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """One answer for each request, in order."""
    got = list(engine.answer(requests))
    assert sorted(index for index, _ in got) == list(range(len(requests)))
    found = dict(got)
    return [found[index] for index in range(len(requests))]


def assert_same(mine: Sequence[Answer], reference: Sequence[Answer], tolerance: float) -> None:
    """Equal texts, tokens and most probable labels; log-probabilities within the tolerance."""
    for one, other in zip(mine, reference, strict=True):
        assert one.error is None and other.error is None
        assert (one.text, one.tokens, one.finish_reason) == (other.text, other.tokens, other.finish_reason)
        if one.extra and other.extra:
            assert one.extra == other.extra
        if one.probabilities is not None and other.probabilities is not None:
            ours, theirs = one.probabilities, other.probabilities
            assert list(ours) == list(theirs)
            assert max(ours, key=ours.__getitem__) == max(theirs, key=theirs.__getitem__)
            for label in ours:
                assert math.isclose(_log(ours[label]), _log(theirs[label]), abs_tol=tolerance)
        if one.logprobs is not None and other.logprobs is not None:
            assert len(one.logprobs) == len(other.logprobs)
            assert all(abs(a - b) <= tolerance for a, b in zip(one.logprobs, other.logprobs, strict=True))


def _log(probability: float) -> float:
    return math.log(probability) if probability else -math.inf
