"""Several turns: each further message of the user is asked after the model's own answer to the one before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from darumeru.core.answer import Answer
from darumeru.core.files import content_hash
from darumeru.core.message import Message
from darumeru.engines.request import Request
from darumeru.prompts.builder import PromptBuilder
from darumeru.prompts.thoughts import answer_of


@dataclass(frozen=True)
class Turns:
    """A conversation whose last answer is the sample's. messages: what the user says after the first answer, one a
    turn. Thoughts of earlier answers do not stay in the conversation."""

    messages: tuple[str, ...]
    builder: PromptBuilder
    keyed: Callable[[Request], Request]

    @property
    def name(self) -> str:
        """See Solver: other messages make another answer."""
        return f"turns {content_hash(list(self.messages))}"

    later = frozenset[type]()

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        """See Solver."""
        (request,) = requests
        (answer,) = yield requests
        for message in self.messages:
            request = self._next(request, answer, message)
            (answer,) = yield [request]
        return answer

    def _next(self, request: Request, answer: Answer, message: str) -> Request:
        before, opened = request.messages, ""
        if before[-1].role == "assistant":
            before, opened = before[:-1], before[-1].content
        said = Message("assistant", opened + answer_of(request.text, answer.text or "").answer)
        messages = (*before, said, Message("user", message))
        text = self.builder.text(messages)
        prompt = () if self.builder.tokenizer is None else tuple(self.builder.ids([text])[0])
        return self.keyed(replace(request, prompt=prompt, text=text, messages=messages, key=""))
