"""/chat/completions of an OpenAI-compatible server, with its own template and tokenizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.answer import Answer
from darumeru.engines.answers import choice_answer
from darumeru.engines.openai_dialect import TOP, Probe, generation, inner, logprob, text, unusable
from darumeru.engines.openai_server import RefusedError
from darumeru.engines.request import LogLikelihood, MultipleChoice, Request

_OPEN = {"continue_final_message": True, "add_generation_prompt": False}


@dataclass
class ChatDialect:
    """/chat/completions with messages: the server's own template and tokenizer."""

    probe: Probe
    continues: bool = False
    most: int = 0
    capabilities: frozenset[str] = frozenset({"generate"})
    limits: tuple[str, ...] = ()

    @classmethod
    def of(cls, probe: Probe) -> ChatDialect:
        """Probe the server; UserError when it has no chat endpoint."""
        dialect = cls(probe)
        ask = [{"role": "user", "content": "1 + 1 ="}]
        try:
            probe.ask(messages=ask, max_tokens=1)
        except RefusedError as error:
            mend = "give --tokenizer to use /completions"
            raise unusable(probe.server, "its chat endpoint refuses", error, mend) from error
        opened = [*ask, {"role": "assistant", "content": "The answer is"}]
        dialect.continues = bool(probe.works(messages=opened, max_tokens=1, **_OPEN))
        for most in TOP[2:]:
            try:
                top = _top(probe.works(messages=ask, max_tokens=1, logprobs=True, top_logprobs=most))
            except RefusedError:
                continue
            dialect.most = min(most, len(top))
            break
        limits = ["no extractive summarization and no token counts without --tokenizer"]
        if dialect.most:
            dialect.capabilities |= {"multiple_choice"}
            limits.append(f"choice probabilities limited to the server's top {dialect.most} tokens")
        else:
            limits.append("the server gives no log-probabilities: no multiple-choice tasks")
        if not dialect.continues:
            limits.append("the server does not continue an open assistant message: it begins a new one")
        dialect.limits = tuple(limits)
        return dialect

    @property
    def abilities(self) -> dict[str, Any]:
        return {"chat": True, "continues": self.continues, "top": self.most}

    def answer(self, request: Request) -> Answer:
        """See Dialect.answer."""
        kind = request.kind
        if isinstance(kind, MultipleChoice):
            return self._chosen(request, kind)
        if isinstance(kind, LogLikelihood):
            raise RefusedError("continuations need --tokenizer")
        said = self._ask(request, **generation(kind))
        return Answer(text=_content(said), finish_reason=said["finish_reason"])

    def _ask(self, request: Request, **body: Any) -> dict[str, Any]:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        opened = self.continues and bool(messages) and messages[-1]["role"] == "assistant"
        return self.probe.ask(messages=messages, **body, **(_OPEN if opened else {}))

    def _chosen(self, request: Request, kind: MultipleChoice) -> Answer:
        most = min(kind.top_k or self.most, self.most)
        said = self._ask(request, max_tokens=1, logprobs=True, top_logprobs=most)
        numbered = MultipleChoice(kind.labels, tuple((number,) for number in range(len(kind.labels))))
        best: dict[int, float] = {}
        for token, score in _top(said):
            label = _label(token, kind.labels)
            if label is not None:
                best[label] = max(best.get(label, -math.inf), score)
        return choice_answer(numbered, best, 0.0)


def _label(token: str, labels: Sequence[str]) -> int | None:
    """Which label a token begins: it is the label, or a beginning that no other label shares."""
    word = token.strip("▁ \t\r\n")
    if not word:
        return None
    if word in labels:
        return list(labels).index(word)
    begun = [number for number, label in enumerate(labels) if label.startswith(word)]
    return begun[0] if len(begun) == 1 else None


def _content(said: Mapping[str, Any]) -> str:
    """What was said. Nothing at all is an answer only where the server took thoughts off it."""
    content = inner(said, "message", "content")
    thoughts = inner(said, "message", "reasoning_content") or inner(said, "message", "reasoning")
    return "" if content is None and isinstance(thoughts, str) else text(content, "content")


def _top(said: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The most probable first tokens; RefusedError when the answer has none."""
    top = inner(said, "logprobs", "content", 0, "top_logprobs")
    if not isinstance(top, list) or not top:
        raise RefusedError("the answer has no log-probabilities")
    return [(text(inner(one, "token"), "token"), logprob(inner(one, "logprob"))) for one in top]
