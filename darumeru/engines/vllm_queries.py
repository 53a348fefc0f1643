"""What has to be asked of vLLM to answer a request, and how its outputs become the answer.

Scores of named tokens ("gather") must not run beside scores of the most probable tokens ("top"): vLLM's V1 model
runner returns -inf for the latter then. Generations ("text") run beside either.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from darumeru.core.answer import Answer
from darumeru.engines.answers import GeneratedText, candidate_ids, choice_answer, continue_answer, nan_answer
from darumeru.engines.order import Numbered
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request

# vLLM's own limit of token ids in one request.
MOST_IDS = 128

Style = Literal["text", "gather", "top"]


@dataclass(frozen=True)
class Call:
    """One request to vLLM. what: which part of its query it is."""

    prompt: tuple[int, ...]
    params: Any
    style: Style
    what: Any = None


@dataclass(frozen=True)
class Taken:
    """What an output led to: further calls to be asked at once, and answers by index."""

    calls: Sequence[Call] = ()
    answers: Sequence[tuple[int, Answer]] = ()


class Query(Protocol):
    """One request, or all continuations of one context. held: tokens that should stay in the prefix cache."""

    held: int

    def calls(self) -> list[Call]: ...

    def take(self, call: Call, output: Any, nan: bool) -> Taken: ...


def query(group: Sequence[Numbered], text: GeneratedText, max_model_len: int) -> Query:
    """The query that `group` (one of `grouped`) makes."""
    index, request = group[0]
    if isinstance(request.kind, LogLikelihood):
        return ContextQuery(group)
    if isinstance(request.kind, MultipleChoice):
        return ChoiceQuery(index, request, request.kind)
    room = max_model_len - len(request.prompt)
    return TextQuery(index, request, request.kind, text, min(request.kind.max_new_tokens, room))


def _params(**settings: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    settings = {"temperature": 0, **settings}
    return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True, **settings)


def _gather_calls(prompt: tuple[int, ...], ids: Sequence[int]) -> list[Call]:
    """Calls that score `ids` as the token after `prompt`."""
    parts = [list(ids[start : start + MOST_IDS]) for start in range(0, len(ids), MOST_IDS)]
    return [
        Call(prompt, _params(max_tokens=1, detokenize=False, logprob_token_ids=part), "gather", tuple(part))
        for part in parts
    ]


def _scores(output: Any, ids: Iterable[int]) -> dict[int, float]:
    """Log-probabilities of those of `ids` that the first generated position reports."""
    row = output.outputs[0].logprobs[0]
    return {token: row[token].logprob for token in ids if token in row}


@dataclass
class ChoiceQuery:
    """Next-token probabilities: exact for named tokens, or of those among the top k."""

    index: int
    request: Request
    choice: MultipleChoice
    held: int = 0
    started: float = field(default_factory=time.perf_counter)
    scores: dict[int, float] = field(default_factory=dict)
    open_parts: int = 0

    def calls(self) -> list[Call]:
        ids = candidate_ids(self.choice)
        if self.choice.top_k is None:
            calls = _gather_calls(self.request.prompt, ids)
        else:
            params = _params(max_tokens=1, detokenize=False, logprobs=self.choice.top_k)
            calls = [Call(self.request.prompt, params, "top", tuple(ids))]
        self.open_parts = len(calls)
        return calls

    def take(self, call: Call, output: Any, nan: bool) -> Taken:
        self.scores |= _scores(output, call.what)
        self.open_parts -= 1
        if self.open_parts:
            return Taken()
        seconds = time.perf_counter() - self.started
        best = output.outputs[0].token_ids[0]
        answer = nan_answer(seconds) if nan else choice_answer(self.choice, self.scores, seconds, best)
        return Taken(answers=[(self.index, answer)])


@dataclass
class TextQuery:
    """Generation. vLLM looks for stop strings in text that it decodes piece by piece after the prompt; where
    the decoded answer holds none (the prompt ended within a character), the generation goes on."""

    index: int
    request: Request
    kind: Generate
    text: GeneratedText
    most: int
    held: int = 0
    started: float = field(default_factory=time.perf_counter)
    ids: list[int] = field(default_factory=list)

    def calls(self) -> list[Call]:
        stop = list(self.kind.stop)
        drawn = asdict(self.kind.sampling) if self.kind.sampling else {}
        if self.kind.repetition_penalty != 1:
            drawn["repetition_penalty"] = self.kind.repetition_penalty
        params = _params(max_tokens=self.most - len(self.ids), stop=stop, detokenize=bool(stop), **drawn)
        return [Call((*self.request.prompt, *self.ids), params, "text")]

    def take(self, call: Call, output: Any, nan: bool) -> Taken:
        completion = output.outputs[0]
        self.ids += completion.token_ids
        if nan:
            return Taken(answers=[(self.index, nan_answer(time.perf_counter() - self.started))])
        if isinstance(completion.stop_reason, str) and len(self.ids) < self.most:
            decoded = self.text.decode(self.ids)
            if self.text.stop_position(self.ids, decoded, self.kind.stop) is None:
                return Taken(self.calls())
        return Taken(answers=[(self.index, self.text.answer(self.ids, self.kind, time.perf_counter() - self.started))])


class ContextQuery:
    """All continuations of one context, each distinct one computed once.

    vLLM leaves the log-probability rows of cached prompt positions unset, so: first the context alone scores the
    first tokens (and warms the cache); then context + continuation without its last token, whose prompt rows score
    the tokens between and whose next-token row scores the last. Where more than the context came from the cache (two
    continuations that begin alike over a block), that one is asked again without reading the cache.
    """

    def __init__(self, group: Sequence[Numbered]) -> None:
        self.prompt = group[0][1].prompt
        self.held = len(self.prompt)
        self.started = time.perf_counter()
        self.first: dict[int, float] = {}
        self.best_first = -1
        self.open_parts = 0
        self.nan = False
        self.wanted: dict[tuple[int, ...], list[int]] = {}
        for index, request in group:
            if isinstance(request.kind, LogLikelihood):
                self.wanted.setdefault(request.kind.continuation, []).append(index)

    def calls(self) -> list[Call]:
        firsts = list(dict.fromkeys(each[0] for each in self.wanted if each))
        calls = _gather_calls(self.prompt, firsts or [0])
        self.open_parts = len(calls)
        return calls

    def take(self, call: Call, output: Any, nan: bool) -> Taken:
        if isinstance(call.what, _Rest):
            return self._take_rest(call.what, output, nan)
        self.first |= _scores(output, call.what)
        self.best_first = output.outputs[0].token_ids[0]
        self.nan |= nan
        self.open_parts -= 1
        if self.open_parts:
            return Taken()
        answers = [
            answered
            for each in self.wanted
            if len(each) < 2
            for answered in self._answers(each, [self.first[token] for token in each], True, self.nan)
        ]
        return Taken([self._rest_call(each, fresh=False) for each in self.wanted if len(each) > 1], answers)

    def _rest_call(self, continuation: tuple[int, ...], fresh: bool) -> Call:
        """fresh: compute the context again and read nothing from the cache."""
        inner = {"prompt_logprobs": 0, "skip_reading_prefix_cache": fresh} if len(continuation) > 2 else {}
        params = _params(max_tokens=1, detokenize=False, logprob_token_ids=[continuation[-1]], **inner)
        return Call((*self.prompt, *continuation[:-1]), params, "gather", _Rest(continuation, fresh))

    def _take_rest(self, rest: _Rest, output: Any, nan: bool) -> Taken:
        between = rest.continuation[1:-1]
        rows = output.prompt_logprobs[-len(between) :] if between else []
        cached = output.num_cached_tokens or 0
        complete = len(rows) == len(between) and all(
            row is not None and token in row for row, token in zip(rows, between, strict=True)
        )
        if between and (cached > len(self.prompt) or not complete):
            if rest.fresh:
                missing = Answer(error="vLLM gave no log-probabilities of the continuation")
                return Taken(answers=[(index, missing) for index in self.wanted[rest.continuation]])
            return Taken([self._rest_call(rest.continuation, fresh=True)])
        last = rest.continuation[-1]
        inner = [row[token].logprob for row, token in zip(rows, between, strict=True)]
        scores = [self.first[rest.continuation[0]], *inner, _scores(output, [last])[last]]
        greedy = output.outputs[0].token_ids[0] == last and all(
            row[token].rank == 1 for row, token in zip(rows, between, strict=True)
        )
        return Taken(answers=self._answers(rest.continuation, scores, greedy, nan or self.nan))

    def _answers(
        self, continuation: tuple[int, ...], scores: Sequence[float], greedy_rest: bool, nan: bool
    ) -> list[tuple[int, Answer]]:
        """greedy_rest: whether everything after the first token is what greedy decoding would say."""
        seconds = time.perf_counter() - self.started
        greedy = greedy_rest and continuation[:1] in ((), (self.best_first,))
        answer = nan_answer(seconds) if nan else continue_answer(scores, seconds, greedy)
        return [(index, answer) for index in self.wanted[continuation]]


@dataclass(frozen=True)
class _Rest:
    """The part of a query that scores everything after a continuation's first token."""

    continuation: tuple[int, ...]
    fresh: bool
