"""/completions of an OpenAI-compatible server with token ids, made by a local tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.answers import GeneratedText, candidate_ids, choice_answer, continue_answer
from darumeru.engines.openai_dialect import TOP, Probe, generation, inner, logprob, text, unusable
from darumeru.engines.openai_server import RefusedError
from darumeru.engines.request import Generate, LogLikelihood, MultipleChoice, Request
from darumeru.models.files import read_json

_ID = "token_id:"


@dataclass
class TokenDialect:
    """/completions with token ids.

    Choices are exact where the server scores named tokens (vLLM's logprob_token_ids) or prompt tokens; otherwise they
    come from its most probable tokens and the rest counts as probability 0.
    """

    probe: Probe
    text: GeneratedText
    named: bool = False
    most: int = 0
    prompt_scores: str = ""
    returns_ids: bool = False
    capabilities: frozenset[str] = frozenset({"generate"})
    limits: tuple[str, ...] = ()

    @classmethod
    def of(cls, probe: Probe, tokenizer_folder: str, trust_remote_code: bool) -> TokenDialect:
        """Probe the server; UserError when it takes no token ids."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, trust_remote_code=trust_remote_code)
        dialect = cls(probe, GeneratedText(tokenizer, _end_ids(tokenizer, Path(tokenizer_folder))))
        ids = tokenizer("1 2 3 4").input_ids
        try:
            plain = probe.ask(prompt=ids, max_tokens=1)
        except RefusedError as error:
            mend = "without --tokenizer its chat endpoint is used"
            raise unusable(probe.server, "takes no token ids at /completions", error, mend) from error
        if not isinstance(plain.get("text"), str):
            raise UserError("its /completions gives no text", probe.server.address)
        dialect.returns_ids = bool(_ids(probe.works(prompt=ids, max_tokens=1, return_token_ids=True)))
        dialect._probe_scores(ids)
        dialect._conclude()
        return dialect

    def _probe_scores(self, ids: list[int]) -> None:
        wanted = [ids[-1], ids[-2]] if ids[-1] != ids[-2] else [ids[-1]]
        with suppress(RefusedError):
            self.named = set(wanted) <= self._named_part(self.probe.works, ids, wanted).keys()
        for most in TOP:
            with suppress(RefusedError):
                _first_top(self.probe.works(prompt=ids, max_tokens=1, logprobs=most, return_tokens_as_token_ids=True))
                self.most = most
                break
        for way in ("prompt_logprobs", "echo"):
            self.prompt_scores = way
            with suppress(RefusedError):
                self._rest(self.probe.works, ids[:1], ids[1:])
                return
        self.prompt_scores = ""

    def _conclude(self) -> None:
        limits = []
        if self.named or self.most or self.prompt_scores:
            self.capabilities |= {"multiple_choice"}
        else:
            limits.append("the server gives no log-probabilities: no multiple-choice tasks")
        if self.prompt_scores:
            self.capabilities |= {"loglikelihood"}
        else:
            limits.append("the server gives no log-probabilities of prompt tokens: no extractive summarization")
        if self.most and not self.named and not self.prompt_scores:
            limits.append(f"choice probabilities limited to the server's top {self.most} tokens")
        if not self.returns_ids:
            limits.append("the server does not tell the generated token ids: its text is tokenized again")
        self.limits = tuple(limits)

    @property
    def abilities(self) -> dict[str, Any]:
        return {
            "chat": False,
            "named": self.named,
            "top": self.most,
            "prompt_scores": self.prompt_scores,
            "returns_ids": self.returns_ids,
        }

    def answer(self, request: Request) -> Answer:
        """See Dialect.answer."""
        kind = request.kind
        if isinstance(kind, Generate):
            return self._generated(request, kind)
        if isinstance(kind, LogLikelihood):
            return continue_answer(self._rest(self.probe.ask, request.prompt, kind.continuation), 0.0)
        return choice_answer(kind, self._choice_scores(request.prompt, kind), 0.0)

    def _generated(self, request: Request, kind: Generate) -> Answer:
        if self.returns_ids:
            return self._generated_ids(request, kind)
        said = self.probe.ask(prompt=list(request.prompt), **generation(kind))
        words = text(said.get("text"), "text")
        # A half of a character is text for JSON and not for a tokenizer.
        whole = words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids = self.text.tokenizer(whole, add_special_tokens=False).input_ids
        return Answer(text=words, tokens=tuple(ids), finish_reason=said["finish_reason"])

    def _generated_ids(self, request: Request, kind: Generate) -> Answer:
        """Text decoded here, as in the local engines. Where the server stopped at a stop string that the decoded text
        does not hold (the prompt ended within a character), it is asked to go on."""
        ids: list[int] = []
        while True:
            left = replace(kind, max_new_tokens=kind.max_new_tokens - len(ids))
            body = {**generation(left), "return_token_ids": True}
            said = self.probe.ask(prompt=[*request.prompt, *ids], **body)
            more = _ids(said)
            if more is None:
                raise RefusedError("the answer has no token ids")
            ids += more
            reason = str(said["finish_reason"])
            answer = self.text.answer(ids, kind, 0.0)
            early = reason == "stop" and isinstance(said.get("stop_reason"), str) and answer.finish_reason == "length"
            if not early or len(ids) >= kind.max_new_tokens or not more:
                return replace(answer, finish_reason=reason)

    def _choice_scores(self, prompt: Sequence[int], kind: MultipleChoice) -> dict[int, float]:
        ids = candidate_ids(kind)
        if kind.top_k is not None:
            if kind.top_k > self.most:
                raise RefusedError(f"the top {kind.top_k} tokens are asked for, the server gives {self.most}")
            return self._top(prompt, ids, kind.top_k)
        if self.named:
            return self._named(prompt, ids)
        found = self._top(prompt, ids, self.most) if self.most else {}
        if self.prompt_scores:
            found |= {token: self._rest(self.probe.ask, prompt, [token])[0] for token in ids if token not in found}
        return found

    def _named(self, prompt: Sequence[int], ids: Sequence[int]) -> dict[int, float]:
        """Exact log-probabilities of named tokens, 128 at a time."""
        found: dict[int, float] = {}
        for start in range(0, len(ids), 128):
            found |= self._named_part(self.probe.ask, prompt, ids[start : start + 128])
        if len(found) < len(ids):
            raise RefusedError(f"scored {len(found)} of {len(ids)} candidate tokens")
        return found

    @staticmethod
    def _named_part(ask: Callable[..., dict[str, Any]], prompt: Sequence[int], ids: Sequence[int]) -> dict[int, float]:
        body = {"logprobs": len(ids), "logprob_token_ids": list(ids), "return_tokens_as_token_ids": True}
        scores = _by_id(_first_top(ask(prompt=list(prompt), max_tokens=1, **body)))
        return {token: scores[token] for token in ids if token in scores}

    def _top(self, prompt: Sequence[int], ids: Sequence[int], most: int) -> dict[int, float]:
        body = {"logprobs": most, "return_tokens_as_token_ids": True}
        top = _first_top(self.probe.ask(prompt=list(prompt), max_tokens=1, **body))
        if any(token.startswith(_ID) for token in top):
            scores = _by_id(top)
            return {token: scores[token] for token in ids if token in scores}
        # A server without token ids in its answer: compare the text of the tokens.
        texts = {token: self.text.tokenizer.decode([token]) for token in ids}
        return {token: top[text] for token, text in texts.items() if text in top}

    def _rest(
        self, ask: Callable[..., dict[str, Any]], prompt: Sequence[int], continuation: Sequence[int]
    ) -> list[float]:
        """Log-probabilities of the continuation's tokens as part of a prompt."""
        if not continuation:
            return []
        ids = [*prompt, *continuation]
        if self.prompt_scores == "prompt_logprobs":
            rows = ask(prompt=ids, max_tokens=1, prompt_logprobs=0).get("prompt_logprobs")
            if not isinstance(rows, list) or len(rows) != len(ids):
                raise RefusedError("the answer has no prompt_logprobs")
            last = rows[len(prompt) :]
            return [logprob(inner(row, str(token), "logprob")) for row, token in zip(last, continuation, strict=True)]
        scores = inner(ask(prompt=ids, max_tokens=1, logprobs=1, echo=True), "logprobs", "token_logprobs")
        if not isinstance(scores, list) or len(scores) < len(ids):
            raise RefusedError("the answer has no token_logprobs of the echoed prompt")
        return [logprob(score) for score in scores[len(prompt) : len(ids)]]


def _ids(said: Mapping[str, Any]) -> list[int] | None:
    """The generated token ids; None where the answer has none."""
    ids = said.get("token_ids")
    return ids if isinstance(ids, list) and all(type(one) is int and 0 <= one < 1 << 31 for one in ids) else None


def _first_top(said: Mapping[str, Any]) -> dict[str, float]:
    """token -> log-probability at the first generated position of a completion; RefusedError when there is none."""
    top = inner(said, "logprobs", "top_logprobs", 0)
    if not isinstance(top, dict) or not top:
        raise RefusedError("the answer has no log-probabilities")
    return {token: logprob(score) for token, score in top.items()}


def _by_id(top: Mapping[str, float]) -> dict[int, float]:
    ids = {token: token.removeprefix(_ID) for token in top if token.startswith(_ID)}
    return {int(ids[token]): top[token] for token in ids if ids[token].isascii() and ids[token].isdigit()}


def _end_ids(tokenizer: Any, folder: Path) -> set[int]:
    path = folder / "generation_config.json"
    listed = read_json(path).get("eos_token_id") if path.is_file() else None
    ids = listed if isinstance(listed, list) else [listed]
    return {int(token) for token in (*ids, tokenizer.eos_token_id) if token is not None}
