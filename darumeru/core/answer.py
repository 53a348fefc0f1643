"""What an engine said, raw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darumeru.core.shapes import is_number

# Rounding can carry a certain answer a little above one.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Answer:
    """What the engine said; exactly one of the three kinds is set.

    probabilities: label -> probability, normalized over the whole vocabulary. text, tokens, finish_reason
    ("stop" | "length"): a generation; tokens are the generated ids without the end token. logprobs: one
    natural-log probability per continuation token. seconds: time in the engine.
    error: why this request could not be answered (it then counts as missing, never as wrong).
    extra: what only some engines know: "best_token", the most probable next token of the vocabulary (MultipleChoice);
    "greedy", 1 when greedy decoding would say exactly this continuation (LogLikelihood).
    """

    probabilities: Mapping[str, float] | None = None
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    seconds: float = 0.0
    error: str | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


def fault(answer: Answer) -> str:
    """What is wrong with an answer that carries no error; "" when it is one."""
    given = [one for one in (answer.probabilities, answer.logprobs, answer.text) if one is not None]
    if len(given) != 1:
        return "must have one of probabilities, logprobs and text"
    if answer.probabilities is not None and not _are_probabilities(answer.probabilities):
        return "`probabilities` must be numbers from 0 to 1 under labels"
    if answer.logprobs is not None and not all(is_number(one) and one <= ROUNDING for one in answer.logprobs):
        return "`logprobs` must be numbers of at most 0"
    if answer.text is not None:
        if not isinstance(answer.text, str):
            return "`text` must be text"
        if answer.finish_reason not in (None, "stop", "length"):
            return '`finish_reason` must be "stop" or "length"'
    return ""


def _are_probabilities(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(is_number(one) and 0 <= one <= 1 + ROUNDING for one in found.values())
    )
