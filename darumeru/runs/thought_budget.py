"""Thoughts of at most so many tokens: where they would go on, they are closed by force, and the answer follows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from darumeru.core.answer import Answer
from darumeru.core.files import content_hash
from darumeru.engines.request import Generate, MultipleChoice, Request
from darumeru.prompts.builder import PromptBuilder
from darumeru.prompts.choice_tokens import Spelled
from darumeru.prompts.thoughts import Marks, answer_of
from darumeru.runs.annotate import ANSWER_TOKENS, THOUGHT_TOKENS, THOUGHTS_CUT
from darumeru.runs.choice_tree import choice_requests

# Said before the thoughts are closed, as in the authors' program (llmtf, budget forcing).
HIDDEN = "\n…the rest of the reasoning chain is hidden due to limit on the length of the thoughts.\n"
# The least budget that is planned for: the closing words have to fit into it.
LEAST = 64


@dataclass(frozen=True)
class Thoughts:
    """Closed thoughts of at most a budget of tokens, the words that close them included. cut: whether by force."""

    ids: tuple[int, ...]
    text: str
    cut: bool

    def after(self, request: Request) -> Request:
        """The request that goes on from them."""
        return replace(request, prompt=(*request.prompt, *self.ids), text=request.text + self.text, key="")

    @property
    def counts(self) -> dict[str, float]:
        """What an answer that follows them notes of them."""
        return {THOUGHTS_CUT: float(self.cut), THOUGHT_TOKENS: float(len(self.ids))}


def closed(builder: PromptBuilder, ids: Sequence[int], budget: int, marks: Marks, cut: bool) -> Thoughts:
    """Open thoughts of these ids, closed. cut: they would have gone on."""
    closing = (HIDDEN if cut else "") + marks.closing
    end = builder.tokens(closing)
    kept = tuple(ids[: max(budget - len(end), 0)])
    return Thoughts((*kept, *end), builder.decode(kept) + closing, cut)


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

    later = frozenset[type]()

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        """See Solver."""
        (first,) = yield requests
        (request,) = requests
        within = list(first.tokens or ())[: self.budget]
        marks = answer_of(request.text, self.builder.decode(within)).within
        if marks is None:
            return first
        thoughts = closed(self.builder, within, self.budget, marks, cut=True)
        assert isinstance(request.kind, Generate)
        kind = replace(request.kind, max_new_tokens=self.answer)
        (second,) = yield [self.keyed(thoughts.after(replace(request, kind=kind)))]
        return replace(
            second,
            text=thoughts.text + (second.text or ""),
            tokens=(*thoughts.ids, *(second.tokens or ())),
            seconds=first.seconds + second.seconds,
            extra={**second.extra, **thoughts.counts, ANSWER_TOKENS: float(len(second.tokens or ()))},
        )


@dataclass(frozen=True)
class ThoughtfulChoice:
    """A choice after thoughts of at most `budget` tokens: they are generated up to the mark that ends them, closed by
    force where they reach the budget, and the probabilities are read behind `opening`, the task's own beginning of the
    answer. A model that says no thoughts is asked at once. (SPEC: reasoning models, "next-token probabilities".)

    spell: labels, text before them -> the tokens that say them.
    """

    budget: int
    opening: str
    labels: tuple[str, ...]
    top_k: int | None
    rule: str
    builder: PromptBuilder
    spell: Callable[[tuple[str, ...], str], Spelled]
    keyed: Callable[[Request], Request]

    @property
    def name(self) -> str:
        """See Solver."""
        return f"choice after thoughts {content_hash([self.budget, self.opening, self.labels, self.top_k, self.rule])}"

    later = frozenset[type]({MultipleChoice})

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        """See Solver."""
        (first,) = yield requests
        (request,) = requests
        ids = tuple(first.tokens or ())
        marks = answer_of(request.text, self.builder.decode(ids)).within
        thoughts = Thoughts((), "", cut=False)
        if marks is not None:
            thoughts = closed(self.builder, ids, self.budget, marks, cut=first.finish_reason == "length")
        spelled = self.spell(self.labels, request.text + thoughts.text + self.opening)
        behind = self.opening + spelled.space
        opened = Thoughts((*thoughts.ids, *self.builder.tokens(behind)), thoughts.text + behind, thoughts.cut)
        asked, tree = choice_requests(opened.after(request), self.labels, spelled, self.top_k)
        asked = [self.keyed(one) for one in asked]
        answer: Answer
        if tree is None:
            (answer,) = yield asked
        else:
            answer = yield from tree.solve(asked)
        return replace(answer, seconds=first.seconds + answer.seconds, extra={**answer.extra, **thoughts.counts})
