"""How raw model output becomes an Answer: the same rules in every local engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from darumeru.core.answer import Answer
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.prompts.thoughts import decoded


def misfit(request: Request, max_model_len: int) -> str | None:
    """Why this request cannot be asked of a model of that many positions (prompt and answer together); None if it
    can. A generation may be cut by the context, but must have room for one token."""
    kind = request.kind
    if not request.prompt:
        return "the prompt has no token ids"
    if isinstance(kind, MultipleChoice) and not all(kind.token_ids):
        return "a choice has no token ids"
    needed = len(request.prompt) + (len(kind.continuation) if isinstance(kind, LogLikelihood) else 1)
    if needed > max_model_len:
        return f"needs {needed} tokens, the engine's context has {max_model_len}"
    return None


def candidate_ids(choice: MultipleChoice) -> list[int]:
    """All token ids that stand for any label, each once, in order."""
    return list(dict.fromkeys(token for ids in choice.token_ids for token in ids))


def choice_answer(
    choice: MultipleChoice, logprobs: Mapping[int, float], seconds: float, best_token: int | None = None
) -> Answer:
    """logprobs: token id -> natural-log probability; an id that is not there (outside the top k) has probability 0.
    best_token: the most probable id of the whole vocabulary, where the engine knows it."""
    if any(math.isnan(value) for value in logprobs.values()):
        return nan_answer(seconds)
    best = (max(logprobs.get(token, -math.inf) for token in ids) for ids in choice.token_ids)
    probabilities = {label: math.exp(value) for label, value in zip(choice.labels, best, strict=True)}
    extra = {} if best_token is None else {"best_token": best_token}
    return Answer(probabilities=probabilities, seconds=seconds, extra=extra)


def continue_answer(logprobs: Sequence[float], seconds: float, greedy: bool | None = None) -> Answer:
    """logprobs: one natural-log probability per continuation token. greedy: whether greedy decoding would say exactly
    this, where the engine knows it."""
    if any(math.isnan(value) for value in logprobs):
        return nan_answer(seconds)
    extra = {} if greedy is None else {"greedy": float(greedy)}
    return Answer(logprobs=tuple(logprobs), seconds=seconds, extra=extra)


def nan_answer(seconds: float) -> Answer:
    """What is said when the model's numbers are not numbers."""
    return Answer(error="the model's log-probabilities are NaN", seconds=seconds)


class GeneratedText:
    """Turns generated ids into text and cuts it at stop strings, the same way whatever generated them.

    tokenizer: a transformers tokenizer. end_ids: ids that end a generation (they are no part of it).
    """

    def __init__(self, tokenizer: Any, end_ids: Iterable[int]) -> None:
        self.tokenizer = tokenizer
        self.end_ids = frozenset(end_ids)

    def answer(self, ids: Sequence[int], kind: Generate, seconds: float) -> Answer:
        """ids: everything generated, end token included if there is one."""
        ended = bool(ids) and ids[-1] in self.end_ids
        kept = list(ids[:-1] if ended else ids)
        text = self.decode(kept, kind.keep)
        at = self.stop_position(kept, text, kind.stop)
        if at is not None:
            text = text[:at]
            while kept and len(self.decode(kept, kind.keep)) > len(text):
                kept.pop()
        reason = "stop" if ended or at is not None else "length"
        return Answer(text=text, tokens=tuple(kept), finish_reason=reason, seconds=seconds)

    def decode(self, ids: Sequence[int], keep: Sequence[str] = ()) -> str:
        """Text of ids without special tokens, those of `keep` excepted."""
        return decoded(self.tokenizer, ids, keep)

    def stop_position(self, ids: Sequence[int], text: str, stops: Sequence[str]) -> int | None:
        """Where in `text` (the decoded ids) the first stop string begins; None when there is none."""
        if not stops or not ids:
            return None
        # Decoding by itself drops the space that a first SentencePiece word begins with; in its place it is there.
        dropped = str(self.tokenizer.convert_ids_to_tokens(ids[0])).startswith("▁") and not text.startswith(" ")
        spaced = f" {text}" if dropped else text
        found = [at for at in (spaced.find(stop) for stop in stops) if at >= 0]
        return max(min(found) - dropped, 0) if found else None
