"""What an engine said, raw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
