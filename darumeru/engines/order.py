"""The order in which requests are best asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from darumeru.core.answer import Answer
from darumeru.engines.request import Generate, LogLikelihood, Request

Numbered = tuple[int, Request]
Divided = tuple[list[list[Numbered]], list[tuple[int, Answer]]]
"""Groups of requests that one replica answers, and the answers to those that cannot be asked."""


def sorted_out(
    requests: Sequence[Request], fault: Callable[[Request], str | None]
) -> tuple[list[Numbered], list[tuple[int, Answer]]]:
    """The requests without a fault with their numbers; of the others number and answer, which says the fault."""
    faults = [fault(request) for request in requests]
    able = [(index, request) for index, request in enumerate(requests) if not faults[index]]
    return able, [(index, Answer(error=wrong)) for index, wrong in enumerate(faults) if wrong]


def grouped(requests: Iterable[Numbered]) -> list[list[Numbered]]:
    """Requests that make one question together, in the order in which they are best asked.

    Generations first (the longest budget first, so that the end is not a thin tail of decoding), then continuations
    by context, then choices; like prompts next to each other, so that a shared beginning meets a warm cache.
    """
    texts: list[list[Numbered]] = []
    contexts: dict[tuple[int, ...], list[Numbered]] = {}
    choices: list[list[Numbered]] = []
    for numbered in requests:
        kind = numbered[1].kind
        if isinstance(kind, LogLikelihood):
            contexts.setdefault(numbered[1].prompt, []).append(numbered)
        else:
            (texts if isinstance(kind, Generate) else choices).append([numbered])
    texts.sort(key=lambda group: (-_budget(group[0][1]), group[0][1].prompt))
    choices.sort(key=lambda group: group[0][1].prompt)
    return [*texts, *(contexts[prompt] for prompt in sorted(contexts)), *choices]


def _budget(request: Request) -> int:
    return request.kind.max_new_tokens if isinstance(request.kind, Generate) else 0
