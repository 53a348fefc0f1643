"""Thoughts of at most so many tokens: where they would go on, they are closed by force, and the answer follows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from darumeru.core.answer import Answer
from darumeru.engines.request import Generate, Request
from darumeru.prompts.builder import PromptBuilder
from darumeru.prompts.thoughts import answer_of
from darumeru.runs.annotate import ANSWER_TOKENS, THOUGHT_TOKENS, THOUGHTS_CUT

# Said before the thoughts are closed, as in the authors' program (llmtf, budget forcing).
HIDDEN = "\n…the rest of the reasoning chain is hidden due to limit on the length of the thoughts.\n"
# The least budget that is planned for: the closing words have to fit into it.
LEAST = 64


@dataclass(frozen=True)
class ThoughtBudget:
    """A generated answer whose thoughts, the words that close them included, take at most `budget` tokens; `answer`
    tokens are for what follows. One request where the model ends its thoughts in time, else a second one that goes on
    from the closed thoughts (SPEC: reasoning models with a budget)."""

    budget: int
    answer: int
    builder: PromptBuilder
    keyed: Callable[[Request], Request]

    @property
    def name(self) -> str:
        """See Solver."""
        return f"thoughts of {self.budget} tokens"

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        """See Solver."""
        (first,) = yield requests
        (request,) = requests
        within = list(first.tokens or ())[: self.budget]
        marks = answer_of(request.text, self.builder.decode(within)).within
        if marks is None:
            return first
        closing = HIDDEN + marks.closing
        ids = self.builder.tokens(closing)
        thoughts = within[: max(self.budget - len(ids), 0)]
        said = self.builder.decode(thoughts) + closing
        (second,) = yield [self._going_on(request, (*thoughts, *ids), said)]
        counts = {THOUGHTS_CUT: 1.0, THOUGHT_TOKENS: float(len(thoughts) + len(ids))}
        return replace(
            second,
            text=said + (second.text or ""),
            tokens=(*thoughts, *ids, *(second.tokens or ())),
            seconds=first.seconds + second.seconds,
            extra={**second.extra, **counts, ANSWER_TOKENS: float(len(second.tokens or ()))},
        )

    def _going_on(self, request: Request, ids: tuple[int, ...], said: str) -> Request:
        assert isinstance(request.kind, Generate)
        kind = replace(request.kind, max_new_tokens=self.answer)
        return self.keyed(replace(request, prompt=(*request.prompt, *ids), kind=kind, text=request.text + said, key=""))
