"""lm-eval's requests as requests to an engine, and the engine's answers as lm-eval's responses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darumeru.engines.request import Answer, Choice, Continue, Generate
from darumeru.errors import UserError
from darumeru.lm_eval_bridge.tokens import Ids, Pair

# lm-eval's own default where a task says nothing.
MAX_GEN_TOKS = 256


@dataclass(frozen=True)
class Question:
    """One request to the engine and what it answers. places[i]: which of the pairs asked for; tokens[i]: its only
    token when `kind` is a Choice (whose labels are token ids in writing)."""

    prompt: Ids
    kind: Choice | Continue
    places: tuple[int, ...]
    tokens: tuple[int, ...] = ()


def questions(pairs: Sequence[Pair]) -> list[Question]:
    """As few requests as answer all pairs exactly.

    When every continuation of a context is one token, the probabilities of the next token answer them together;
    otherwise each distinct continuation is asked after the context that they share.
    """
    contexts: dict[Ids, dict[Ids, list[int]]] = {}
    for place, pair in enumerate(pairs):
        contexts.setdefault(pair.context, {}).setdefault(pair.continuation, []).append(place)
    asked = []
    for context, rests in contexts.items():
        if all(len(rest) == 1 for rest in rests):
            places = [(place, rest[0]) for rest, found in rests.items() for place in found]
            ids = tuple(rest[0] for rest in rests)
            choice = Choice(tuple(map(str, ids)), tuple((token,) for token in ids))
            asked.append(
                Question(context, choice, tuple(place for place, _ in places), tuple(token for _, token in places))
            )
        else:
            asked += [Question(context, Continue(rest), tuple(found)) for rest, found in rests.items()]
    return asked


def likelihoods(answer: Answer, tokens: Sequence[int]) -> list[tuple[float, bool | None]]:
    """(log-likelihood in nats, whether greedy decoding would say it) for each of a question's places; one of a
    Continue. Greedy is None when the engine does not know."""
    if answer.probabilities is None:
        greedy = answer.extra.get("greedy")
        return [(math.fsum(answer.logprobs or ()), None if greedy is None else bool(greedy))]
    best = _best_token(answer, tokens)
    values = [answer.probabilities[str(token)] for token in tokens]
    logs = [math.log(value) if value > 0 else -math.inf for value in values]
    return [(log, None if best is None else best == token) for log, token in zip(logs, tokens, strict=True)]


def _best_token(answer: Answer, tokens: Sequence[int]) -> int | None:
    """The most probable token, -1 when it is none of `tokens`."""
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
