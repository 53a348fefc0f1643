"""lm-eval's requests as requests to an engine, and the engine's answers as lm-eval's responses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice
from darumeru.lm_eval_bridge.tokens import Ids, Pair

# lm-eval's own default where a task says nothing.
MAX_GEN_TOKS = 256


Likelihood = tuple[float, "bool | None"]


@dataclass(frozen=True)
class Question:
    """One request to the engine and what it answers. places[i]: which of the pairs asked for; tokens[i]: its only
    token when `kind` is a MultipleChoice (whose labels are token ids in writing). part, parts: which of how many
    questions whose log-likelihoods add up to those of the places."""

    prompt: Ids
    kind: MultipleChoice | LogLikelihood
    places: tuple[int, ...]
    tokens: tuple[int, ...] = ()
    part: int = 0
    parts: int = 1


def questions(pairs: Sequence[Pair]) -> list[Question]:
    """As few requests as answer all pairs exactly.

    When the continuations of a context differ in their last token alone, the probabilities of that token answer them
    together, beside one request for what they share before it (the line feed that ends a chat template, which lm-eval
    counts to the continuation). Otherwise each distinct continuation is asked after the context that they share.
    """
    contexts: dict[Ids, dict[Ids, list[int]]] = {}
    for place, pair in enumerate(pairs):
        contexts.setdefault(pair.context, {}).setdefault(pair.continuation, []).append(place)
    asked: list[Question] = []
    for context, rests in contexts.items():
        shared = next(iter(rests))[:-1]
        together = all(rest[:-1] == shared for rest in rests) and (len(rests) > 1 or not shared)
        asked += _together(context, shared, rests) if together else _apart(context, rests)
    return asked


def _together(context: Ids, shared: Ids, rests: Mapping[Ids, Sequence[int]]) -> list[Question]:
    places = tuple(place for found in rests.values() for place in found)
    tokens = tuple(rest[-1] for rest, found in rests.items() for _ in found)
    labels = dict.fromkeys(tokens)
    choice = MultipleChoice(tuple(map(str, labels)), tuple((token,) for token in labels))
    if not shared:
        return [Question(context, choice, places, tokens)]
    before = Question(context, LogLikelihood(shared), places, part=0, parts=2)
    return [before, Question((*context, *shared), choice, places, tokens, part=1, parts=2)]


def _apart(context: Ids, rests: Mapping[Ids, Sequence[int]]) -> list[Question]:
    return [Question(context, LogLikelihood(rest), tuple(found)) for rest, found in rests.items()]


def likelihoods(answer: Answer, tokens: Sequence[int], count: int) -> list[Likelihood]:
    """(log-likelihood in nats, whether greedy decoding would say it) for each of a question's `count` places. Greedy is
    None when the engine does not know."""
    if answer.probabilities is None:
        greedy = answer.extra.get("greedy")
        return [(math.fsum(answer.logprobs or ()), None if greedy is None else bool(greedy))] * count
    best = _best_token(answer, tokens)
    values = [answer.probabilities[str(token)] for token in tokens]
    logs = [math.log(value) if value > 0 else -math.inf for value in values]
    return [(log, None if best is None else best == token) for log, token in zip(logs, tokens, strict=True)]


def added(parts: Sequence[Likelihood]) -> Likelihood:
    """The log-likelihood of parts that follow each other: greedy when all are, unknown when only that is missing."""
    known = [greedy for _, greedy in parts if greedy is not None]
    greedy = None if all(known) and len(known) < len(parts) else all(known)
    return math.fsum(value for value, _ in parts), greedy


def _best_token(answer: Answer, tokens: Sequence[int]) -> int | None:
    """The most probable token; None when it is not known."""
    if "best_token" in answer.extra:
        return int(answer.extra["best_token"])
    most = max(tokens, key=lambda token: (answer.probabilities or {})[str(token)])
    return most if (answer.probabilities or {})[str(most)] > 0.5 else None


@dataclass(frozen=True)
class Wish:
    """What a generate_until request asks for. until: the strings at which lm-eval cuts the answer. sampled: why greedy
    decoding is not what was asked for, "" when it is."""

    kind: Generate
    until: tuple[str, ...]
    sampled: str = ""


def generation(arguments: Mapping[str, Any], end_of_text: str | None) -> Wish:
    """lm-eval's generation arguments, by its own rules for their many names. end_of_text: the EOS token in writing."""
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    values: Mapping[str, Any] = normalize_gen_kwargs(dict(arguments), MAX_GEN_TOKS)
    until = handle_stop_sequences(list(values["until"]), eos=end_of_text)
    stops = tuple(stop for stop in until if stop and stop != end_of_text)
    budget = int(values["max_gen_toks"])
    if budget < 1:
        raise UserError(f"a task asks for an answer of {budget} tokens", "generation_kwargs")
    sampled = f"asks for sampling (temperature {values.get('temperature', 1.0)})" if values["do_sample"] else ""
    beams = values.get("num_beams", 1)
    return Wish(Generate(budget, stops), tuple(until), sampled or (f"asks for {beams} beams" if beams != 1 else ""))


def response(answer: Answer, until: Sequence[str]) -> str:
    """The generated text as lm-eval would return it."""
    from lm_eval.models.utils import postprocess_generated_text

    return str(postprocess_generated_text(answer.text or "", list(until), None))
