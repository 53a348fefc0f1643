"""Replicas on a Ray cluster: an engine in an actor each, placed by Ray, fed from one queue (docs/cluster.md).

Ray finds room and starts the actors; here is only who is asked what. A lost replica costs its unfinished
requests.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.protocol import EngineDied, EngineOptions
from darumeru.engines.ray_cluster import WHERE, Cluster, Placing, check_keys, check_nodes, placing
from darumeru.engines.ray_nodes import shipped_environment
from darumeru.engines.ray_queue import GroupQueue
from darumeru.engines.ray_replica import Exchanged, Ready, Replica
from darumeru.engines.request import Request

# Seconds without any replica after which the engine counts as dead.
PATIENCE = 600.0
CLOSING = 10.0
LOOK = 1.0
WAITING = 15.0
# A replica that is lost so often without an answer in between is given up.
MOST_LIVES = 3


@dataclass
class Seat:
    """One replica's place in the cluster. ready: what it said when it had loaded; None while Ray looks for a node."""

    number: int
    group: Any = None
    actor: Any = None
    ref: Any = None
    ready: Ready | None = None
    wants: int = 0
    vain: int = 0


class RayReplicas:
    """An Engine (darumeru.engines.protocol) whose replicas are engines of class `engine` on the nodes of a cluster."""

    free_arguments: frozenset[str] = frozenset()

    def __init__(self, engine: Any, options: EngineOptions) -> None:
        self.name = engine.name
        if not hasattr(engine, "divide"):
            mend = "vllm and transformers can be"
            raise UserError(f"engines of the kind {self.name} cannot be placed on a cluster", WHERE, mend)
        check_keys(options)
        self.options = options
        self._engine = engine
        self._say: Callable[[str], None] = options.say or (lambda _: None)
        self._next_number = 0
        self.cluster = Cluster.at(str(options.cluster))
        self._ray = self.cluster.ray
        self._placed = placing(options, self._ray.nodes())
        check_nodes(self._ray, self._placed, options)
        self._seats: list[Seat] = []
        atexit.register(self.close)
        try:
            count = options.data_parallel or self._placed.replicas
            self._announce(count, self._placed)
            for number in range(count):
                self._seats.append(Seat(number))
                self._place(self._seats[-1])
            first = self._first_ready()
        except BaseException:
            self.close()
            raise
        self.max_model_len = first.max_model_len
        self.capabilities = first.capabilities
        self.limits = first.limits

    def _announce(self, count: int, placed: Placing) -> None:
        noun = ("GPU" if placed.kind == "GPU" else "core") + "s" * (placed.each > 1)
        room = f", room for {placed.replicas} now" if placed.replicas < count else ""
        seen = f"; dashboard: {self.cluster.dashboard}" if self.cluster.dashboard else ""
        replicas = f"{count} replica{'s' * (count > 1)}"
        self._say(f"{replicas} of {placed.each} {noun} on {len(placed.nodes)} nodes{room}{seen}")

    def _place(self, seat: Seat) -> None:
        """Have Ray find room for a replica, start its actor there and load the model; seat.ref: until then."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        placed = self._placed
        seat.group = placement_group([dict(bundle) for bundle in placed.bundles], strategy="PACK")
        units = 0 if placed.spread else placed.each
        actor = self._ray.remote(Replica).options(
            num_cpus=units if placed.kind == "CPU" else 0,
            num_gpus=units if placed.kind == "GPU" else 0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                seat.group, 0, placement_group_capture_child_tasks=True
            ),
            max_concurrency=2,
        )
        options = replace(self.options, data_parallel=1, cluster=None, log_file=None, say=None)
        options = self._engine.placed(options, placed.spread)
        seat.actor = actor.remote(self._engine, options, shipped_environment())
        seat.ref = seat.actor.load.remote()

    def _leave(self, seat: Seat) -> None:
        """End a replica's actor, whatever state it is in, and give its room back."""
        from ray.util.placement_group import remove_placement_group

        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(seat.actor)
        remove_placement_group(seat.group)

    def _first_ready(self) -> Ready:
        waited = False
        while True:
            for seat, result in self._arrived(WAITING):
                if isinstance(result, Ready):
                    self._joined(seat, result)
                    return result
                if isinstance(cause := self._cause(result), UserError):
                    raise cause
                self._lost(seat, result)
            if not waited:
                waited = True
                self._say("waiting until the cluster has room and a replica has loaded the model")

    def _arrived(self, seconds: float) -> Iterator[tuple[Seat, Any]]:
        """What replicas returned, or the error they failed with."""
        refs = {seat.ref: seat for seat in self._seats if seat.ref is not None}
        if not refs:
            raise EngineDied("all replicas were given up")
        ready, _ = self._ray.wait(list(refs), timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
        for ref in ready:
            seat = refs[ref]
            seat.ref = None
            try:
                result = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                result = error
            yield seat, result

    def _joined(self, seat: Seat, ready: Ready) -> None:
        again = "again " if seat.vain else ""
        seat.ready = ready
        self._note(seat, f"replica {seat.number} answers {again}on {ready.place}")

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) from all replicas as they come; see Engine.answer."""
        groups, refused = self._engine.divide(requests, self.options, self.max_model_len)
        yield from refused
        queue = GroupQueue(groups, self._next_number)
        self._next_number += len(groups)
        for seat in self._seats:
            if seat.ready and seat.ref is None:
                self._feed(seat, queue)
        last = time.monotonic()
        try:
            while not queue.done:
                for seat, result in self._arrived(LOOK):
                    if isinstance(result, Exchanged):
                        last = time.monotonic()
                        seat.vain = 0 if result.done else seat.vain
                        seat.wants = result.wants
                        self._log(seat, result.log)
                        queue.take(seat.number, (number for number, _ in result.done))
                        for _, answers in result.done:
                            yield from answers
                    elif isinstance(result, Ready):
                        self._joined(seat, result)
                    else:
                        self._lost(seat, result, queue)
                        continue
                    self._feed(seat, queue)
                if time.monotonic() - last > PATIENCE:
                    raise EngineDied(f"no replica has been there for {PATIENCE:.0f} seconds")
        finally:
            if not queue.done:
                self._drop()

    def _feed(self, seat: Seat, queue: GroupQueue) -> None:
        """The next call to a replica, with what it is to answer next."""
        groups = queue.draw(seat.number, seat.wants or 1, len(self._seats))
        seat.ref = seat.actor.exchange.remote(groups, queue.more)

    def _drop(self) -> None:
        """Have the replicas forget what they hold; those that are not ready go on loading."""
        for seat in [one for one in self._seats if one.ready]:
            ref, seat.ref, seat.wants = seat.ref, None, 0
            try:
                self._ray.get([seat.actor.drop.remote(), *([ref] if ref is not None else [])])
            except self._ray.exceptions.RayError as error:
                self._lost(seat, error)

    def _lost(self, seat: Seat, error: Exception, queue: GroupQueue | None = None) -> None:
        """Have a replica replaced; what it held is asked of the others. UserError or EngineDied where none is left."""
        cause = self._cause(error)
        reason = _first_line(cause or error)
        seat.ready, seat.ref, seat.wants = None, None, 0
        seat.vain += 1
        held = queue.give_back(seat.number, reason) if queue else 0
        refused = isinstance(cause, UserError)
        self._note(seat, f"replica {seat.number} is lost, {held} groups of requests go to others: {reason}")
        self._leave(seat)
        if not refused and seat.vain < MOST_LIVES:
            self._place(seat)
        elif not any(other.ready or other.ref is not None for other in self._seats):
            raise cause if refused else EngineDied(f"replica {seat.number}: {reason}")

    def _cause(self, error: Exception) -> Any:
        """What an engine raised; None where its process or node is gone."""
        return error.cause if isinstance(error, self._ray.exceptions.RayTaskError) else None

    def _note(self, seat: Seat, line: str) -> None:
        self._say(line)
        self._log(seat, f"--- {line}\n")

    def _log(self, seat: Seat, text: str) -> None:
        if text and self.options.log_file:
            with Path(f"{self.options.log_file}.{seat.number}").open("a", encoding="utf-8") as file:
                file.write(text)

    def close(self) -> None:
        """End the actors and give their places back; may be called twice."""
        atexit.unregister(self.close)
        seats, self._seats = self._seats, []
        if not seats or not self._ray.is_initialized():
            return
        closing = [seat.actor.close.remote() for seat in seats if seat.ready]
        self._ray.wait(closing, num_returns=len(closing), timeout=CLOSING) if closing else None
        for seat in seats:
            self._leave(seat)


def _first_line(error: BaseException) -> str:
    """What happened, in a line: Ray's own texts begin with the kind and go on with a traceback."""
    if isinstance(error, UserError):
        return error.line()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
