"""Drives a vLLM engine: keeps a bounded window of calls in flight and hands out answers as they are finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from typing import Any

from darumeru.core.answer import Answer
from darumeru.engines.protocol import EngineDied
from darumeru.engines.vllm_queries import Call, Query

# Calls handed over beyond those vLLM runs at once, so that a freed place is filled within the same step.
AHEAD = 32


@dataclass(frozen=True)
class _Flight:
    query: Query
    call: Call
    internal_id: str


class Stream:
    """One call of `answer`: asks the queries that `source` yields until it ends.

    source is read only when there is room; None in it means "nothing now, ask again after the next step", and is only
    for while something is in flight. Closing the iterator of `answers` aborts what is in flight; the engine stays
    usable.
    """

    def __init__(
        self,
        llm_engine: Any,
        source: Iterator[Query | None],
        nans: set[str],
        lora: Any = None,
        stepping: Callable[[], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self.engine = llm_engine
        self.source: Iterator[Query | None] | None = source
        self.nans = nans
        self.lora = lora
        self.stepping = stepping
        self.window = llm_engine.vllm_config.scheduler_config.max_num_seqs + AHEAD
        cache = llm_engine.vllm_config.cache_config
        # A context's tokens must still be cached when its continuations come.
        self.most_held = (cache.num_gpu_blocks or 0) * (cache.block_size or 0) // 2
        self.held = 0
        self.open: dict[int, int] = {}
        self.waiting: dict[str, deque[tuple[Query, Call]]] = {style: deque() for style in ("text", "gather", "top")}
        self.flying: dict[str, _Flight] = {}
        self.scoring = "gather"
        self.names = count()

    def answers(self) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer); EngineDied when a step fails."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            while self._admit():
                try:
                    outputs = self._step()
                except (RuntimeError, ValueError, AssertionError, OSError, MemoryError, EngineDeadError) as error:
                    self.flying.clear()
                    reason = (str(error).strip() or "no message").splitlines()[0]
                    raise EngineDied(f"{type(error).__name__}: {reason}") from error
                for output in outputs:
                    yield from self._take(output)
        finally:
            if self.flying:
                self.engine.abort_request([flight.internal_id for flight in self.flying.values()], internal=True)
                self.flying.clear()

    def _step(self) -> list[Any]:
        if self.stepping is None:
            return list(self.engine.step())
        with self.stepping():
            return list(self.engine.step())

    def _take(self, output: Any) -> list[tuple[int, Answer]]:
        flight = self.flying.pop(output.request_id)
        nan = flight.internal_id in self.nans
        self.nans.discard(flight.internal_id)
        taken = flight.query.take(flight.call, output, nan)
        # Before everything else, while the cache is warm.
        for call in reversed(taken.calls):
            self.waiting[call.style].appendleft((flight.query, call))
        key = id(flight.query)
        self.open[key] += len(taken.calls) - 1
        if not self.open[key]:
            del self.open[key]
            self.held -= flight.query.held
        return list(taken.answers)

    def _admit(self) -> bool:
        """Fill the window; whether anything is in flight."""
        while len(self.flying) < self.window:
            ready = self._next()
            if ready is None:
                break
            self._send(*ready)
        return bool(self.flying)

    def _next(self) -> tuple[Query, Call] | None:
        while True:
            for style in (self.scoring, "text"):
                if self.waiting[style]:
                    return self.waiting[style].popleft()
            if not self._read_source():
                break
        other = "top" if self.scoring == "gather" else "gather"
        if self.waiting[other] and not any(flight.call.style == self.scoring for flight in self.flying.values()):
            self.scoring = other
            return self.waiting[other].popleft()
        return None

    def _read_source(self) -> bool:
        """Take one query in; False when there is none or when too many contexts are open."""
        if self.source is None or (self.held > self.most_held and self.open):
            return False
        try:
            query = next(self.source)
        except StopIteration:
            self.source = None
            return False
        if query is None:
            return False
        calls = query.calls()
        self.held += query.held
        self.open[id(query)] = len(calls)
        for call in calls:
            self.waiting[call.style].append((query, call))
        return True

    def _send(self, query: Query, call: Call) -> None:
        from vllm.inputs.engine import tokens_input

        name = str(next(self.names))
        internal = self.engine.add_request(name, tokens_input(list(call.prompt)), call.params, lora_request=self.lora)
        self.flying[name] = _Flight(query, call, internal)
