"""The engine for any OpenAI-compatible server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.answers import misfit
from darumeru.engines.openai_arguments import FREE_ARGUMENTS, OpenAIArguments
from darumeru.engines.openai_chat import ChatDialect
from darumeru.engines.openai_dialect import Dialect, Probe
from darumeru.engines.openai_server import GoneError, RefusedError, Server
from darumeru.engines.openai_tokens import TokenDialect
from darumeru.engines.order import Numbered, grouped
from darumeru.engines.protocol import EngineDied, EngineOptions
from darumeru.engines.request import LogLikelihood, MultipleChoice, Request

CONCURRENCY = 32
UNKNOWN_LENGTH = 1 << 20
# So many failures of the server one after the other, each after all retries, are no matter of single requests.
GIVE_UP = 64
_IDENTITY = ("id", "root", "parent", "owned_by", "max_model_len")


class OpenAIEngine:
    """options.model: the address. options.tokenizer: a local tokenizer folder; with it prompts go as token ids, without
    it as messages. The key comes from OPENAI_API_KEY.

    extra: see OpenAIArguments. `limits` says in plain words what this server cannot do.
    """

    name = "openai"
    free_arguments = FREE_ARGUMENTS

    def __init__(self, options: EngineOptions) -> None:
        arguments = OpenAIArguments.of(options.extra)
        if options.lora:
            raise UserError("the server chooses its adapters", "--lora", "name one as --engine-args model=NAME")
        self.server = Server(options.model, arguments)
        try:
            served = self.server.served()
            self.max_model_len = _length(served) or options.max_model_len or UNKNOWN_LENGTH
            self.concurrency = arguments.concurrency or options.batch_size or CONCURRENCY
            self.dialect = self._dialect(options, {"model": served["id"], **arguments.body})
            self.identity = {key: served[key] for key in _IDENTITY if served.get(key) is not None}
            self.identity["abilities"] = self.dialect.abilities
        except BaseException:
            self.server.close()
            raise
        self.with_ids = options.tokenizer is not None
        self.capabilities = self.dialect.capabilities
        self.limits = self.dialect.limits
        self._failed = 0

    def _dialect(self, options: EngineOptions, common: dict[str, Any]) -> Dialect:
        try:
            if options.tokenizer is None:
                return ChatDialect.of(Probe(self.server, "/chat/completions", common))
            return TokenDialect.of(
                Probe(self.server, "/completions", common), options.tokenizer, options.trust_remote_code
            )
        except GoneError as error:
            raise UserError("the server lists its models but does not answer", str(error)) from error

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) as the server finishes them; see Engine.answer.

        A request that the server refuses or keeps failing at gets an answer with its error; a server that is gone
        raises EngineDied.
        """
        able: list[Numbered] = []
        for index, request in enumerate(requests):
            wrong = self._misfit(request)
            if wrong:
                yield index, Answer(error=wrong)
            else:
                able.append((index, request))
        # A vLLM server must not score named tokens and most probable ones side by side (see vllm_queries).
        for top in (False, True):
            yield from self._ask([each for each in able if _asks_top(each[1]) == top])

    def _misfit(self, request: Request) -> str | None:
        if not self.with_ids:
            return None if request.messages else "the request has no messages"
        # Scores of a prompt's tokens come with one generated token.
        room = self.max_model_len - isinstance(request.kind, LogLikelihood)
        return misfit(request, room)

    def _ask(self, able: Sequence[Numbered]) -> Iterator[tuple[int, Answer]]:
        left = chain.from_iterable(grouped(able))
        asked: SimpleQueue[Numbered | None] = SimpleQueue()
        answered: SimpleQueue[tuple[int, Answer | Exception]] = SimpleQueue()
        ended = threading.Event()

        def work() -> None:
            while not ended.is_set() and (numbered := asked.get()) is not None:
                answered.put((numbered[0], self._answered(numbered[1])))

        # Daemons: an executor's threads would keep a process that ends early waiting for the server's last answers.
        workers = min(self.concurrency, len(able))
        for number in range(workers):
            threading.Thread(target=work, name=f"openai_{number}", daemon=True).start()
        flying = 0
        try:
            while True:
                for numbered in islice(left, 2 * self.concurrency - flying):
                    asked.put(numbered)
                    flying += 1
                if not flying:
                    return
                index, answer = answered.get()
                flying -= 1
                if isinstance(answer, GoneError):
                    raise EngineDied(f"the server does not answer any more: {answer}") from answer
                if isinstance(answer, Exception):
                    raise answer
                yield index, answer
                if self._failed >= max(GIVE_UP, 2 * self.concurrency):
                    raise EngineDied(f"the server fails at everything: {answer.error or 'no answers'}")
        finally:
            ended.set()
            for _ in range(workers):
                asked.put(None)

    def _answered(self, request: Request) -> Answer | Exception:
        """The answer, or what was raised instead, for another thread to raise."""
        try:
            return self._answer(request)
        except Exception as error:  # whatever it is, it is raised where the answers are read
            return error

    def _answer(self, request: Request) -> Answer:
        started = time.perf_counter()
        try:
            answer = self.dialect.answer(request)
            self._failed = 0
        except RefusedError as error:
            answer = Answer(error=f"the server: {error}")
            self._failed = self._failed + 1 if error.busy else 0
        return replace(answer, seconds=time.perf_counter() - started)

    def close(self) -> None:
        """Close the connections."""
        self.server.close()


def served_model(options: EngineOptions) -> Mapping[str, Any]:
    """What the server at options.model says it serves, and how it can be asked: the identity of a server's model.

    Of the entry in GET /models: id, root (what was loaded), parent (of an adapter), owned_by, max_model_len, as far as
    the server tells them; no address, time or permission, which differ without another model. abilities: what the
    engine found the server to be able to, since answers under other limits are other answers. UserError when there is
    no such server.
    """
    engine = OpenAIEngine(options)
    engine.close()
    return engine.identity


def _asks_top(request: Request) -> bool:
    return isinstance(request.kind, MultipleChoice) and request.kind.top_k is not None


def _length(served: Mapping[str, Any]) -> int | None:
    told = served.get("max_model_len")
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None
