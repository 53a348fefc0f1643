"""What is asked of an engine: frozen values, no torch, no vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from darumeru.core.message import Message


@dataclass(frozen=True)
class MultipleChoice:
    """Next-token probabilities of a closed set of answers.

    labels: the answers; token_ids[i]: the ids whose largest probability is the probability of labels[i].
    top_k: when set, an id that is not among the top_k most probable tokens counts as probability 0
    (what the authors' program of 2024 saw through vLLM; None = exact).
    """

    labels: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    top_k: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: from the probabilities at `temperature` (above 0), of the `top_k` most probable tokens (0:
    all) those that make up `top_p`, by a generator of this request's own that begins with `seed`."""

    temperature: float
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Generate:
    """Generation, greedy where there is no `sampling`. stop: strings at which the text ends (not included); EOS ends it
    always. keep: special tokens that stay in the text (marks of thoughts); decoding drops all others.
    repetition_penalty: by which the logits of tokens of prompt and answer are divided, or multiplied where they are
    negative (arXiv:1909.05858, section 4.1)."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    sampling: Sampling | None = None
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class LogLikelihood:
    """Log-probability of every token of `continuation` after the prompt.

    Requests with the same prompt share its computation, so hand them over next to each other.
    """

    continuation: tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """One question to the engine.

    prompt: token ids, BOS included, final. text: the rendered prompt. messages: the conversation, its last
    message an open assistant message or a user message (servers without a local tokenizer use these).
    key: of the answer in the store: hash over the model, the ids (or messages) and the parameters.
    """

    prompt: tuple[int, ...]
    kind: MultipleChoice | Generate | LogLikelihood
    text: str = ""
    messages: tuple[Message, ...] = ()
    key: str = ""
