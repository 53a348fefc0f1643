"""What is asked of an engine and what comes back: frozen values, no torch, no vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Message:
    """One chat message. role: "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Choice:
    """Next-token probabilities of a closed set of answers.

    labels: the answers; token_ids[i]: the ids whose largest probability is the probability of labels[i].
    top_k: when set, an id that is not among the top_k most probable tokens counts as probability 0
    (what the authors' program of 2024 saw through vLLM; None = exact).
    """

    labels: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    top_k: int | None = None


@dataclass(frozen=True)
class Generate:
    """Greedy generation. stop: strings at which the text ends (not included); EOS ends it always."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Continue:
    """Log-probability of every token of `continuation` after the prompt.

    Requests with the same prompt share its computation, so hand them over next to each other.
    """

    continuation: tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """One question to the engine.

    prompt: token ids, BOS included, final. text: the rendered prompt. messages: the conversation, its last
    message an open assistant message or a user message (servers without a local tokenizer use these).
    fingerprint: hash over model, tokenizer, template, ids and parameters; the key of the answer in the store.
    """

    prompt: tuple[int, ...]
    kind: Choice | Generate | Continue
    text: str = ""
    messages: tuple[Message, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class Answer:
    """What the engine said; exactly one of the three kinds is set.

    probabilities: label -> probability, normalized over the whole vocabulary. text, tokens, finish_reason
    ("stop" | "length"): a generation; tokens are the generated ids without the end token. logprobs: one
    natural-log probability per continuation token. seconds: time in the engine.
    error: why this request could not be answered (it then counts as missing, never as wrong).
    extra: what only some engines know: "best_token", the most probable next token of the vocabulary (Choice);
    "greedy", 1 when greedy decoding would say exactly this continuation (Continue).
    """

    probabilities: Mapping[str, float] | None = None
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    seconds: float = 0.0
    error: str | None = None
    extra: Mapping[str, float] = field(default_factory=dict)
