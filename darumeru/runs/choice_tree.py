"""Probabilities of answers of several tokens: a walk over the tree of their tokens."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from darumeru.core.answer import Answer
from darumeru.core.files import content_hash
from darumeru.engines.request import MultipleChoice, Request
from darumeru.prompts.choice_tokens import Ids, Spelled


@dataclass(frozen=True)
class ChoiceTree:
    """labels[i] may be said in the token ids spellings[i]; its probability is that of the most probable one, the
    product of its tokens' probabilities. Each inner node of the tree is one request, asked once for all that share it.
    """

    labels: tuple[str, ...]
    spellings: tuple[tuple[Ids, ...], ...]

    @property
    def name(self) -> str:
        return f"choice tree {content_hash([self.labels, self.spellings])}"

    def nodes(self) -> dict[Ids, MultipleChoice]:
        """What was said so far -> the tokens that may follow, each of them a label of its own."""
        following: dict[Ids, dict[int, None]] = {}
        for ids in self._all:
            for place, token in enumerate(ids):
                following.setdefault(ids[:place], {})[token] = None
        return {
            said: MultipleChoice(tuple(map(str, tokens)), tuple((token,) for token in tokens))
            for said, tokens in following.items()
        }

    @property
    def _all(self) -> list[Ids]:
        return [ids for spellings in self.spellings for ids in spellings]

    later = frozenset[type]()

    def solve(self, requests: Sequence[Request]) -> Generator[Sequence[Request], Sequence[Answer], Answer]:
        """requests: one for each of `nodes`, in their order."""
        answers = yield requests
        at = dict(zip(self.nodes(), answers, strict=True))

        def logarithm(ids: Ids) -> float:
            return math.fsum(_log((at[ids[:place]].probabilities or {})[str(token)]) for place, token in enumerate(ids))

        values = (max(map(logarithm, spellings)) for spellings in self.spellings)
        return Answer(
            probabilities=dict(zip(self.labels, map(math.exp, values), strict=True)),
            seconds=sum(answer.seconds for answer in answers),
        )


def choice_requests(
    request: Request, labels: tuple[str, ...], spelled: Spelled, top_k: int | None
) -> tuple[list[Request], ChoiceTree | None]:
    """The requests that ask for a choice behind the prompt of `request`, and the tree that they are the nodes of; None
    where each choice is one token, so that one request's answer is its own."""
    if spelled.single:
        ids = tuple(tuple(token for (token,) in spellings) for spellings in spelled.spellings)
        return [replace(request, kind=MultipleChoice(labels, ids, top_k))], None
    tree = ChoiceTree(labels, spelled.spellings)
    nodes = tree.nodes().items()
    return [replace(request, prompt=(*request.prompt, *said), kind=kind) for said, kind in nodes], tree


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
