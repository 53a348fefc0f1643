"""The order in which requests are best asked."""

from __future__ import annotations

from collections.abc import Iterable

from darumeru.engines.request import Generate, LogLikelihood, Request

Numbered = tuple[int, Request]


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
