"""Data parallelism: one vLLM engine in a child process per replica, all fed from one queue.

vLLM's own data-parallel client spreads single requests by load, which would scatter the continuations of one context
over replicas that each compute it again. Here a replica draws whole groups whenever it has room, so that none is idle
and a context stays where its cache is.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darumeru.core.answer import Answer
from darumeru.core.errors import UserError
from darumeru.engines.order import Numbered
from darumeru.engines.protocol import EngineDied, EngineOptions
from darumeru.engines.vllm_reload import ReloadFailed
from darumeru.engines.vllm_transfer import carrier_of, devices_of
from darumeru.models.weight_parts import read_part, weight_parts

if TYPE_CHECKING:
    import torch

# Groups sent to a replica at a time.
PORTION = 16
# A launcher's description of the process group that the parent belongs to and a replica does not.
_LAUNCHED = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "ROLE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)


@dataclass(frozen=True)
class Ready:
    """Child to parent: the model is loaded. Failed: it is not, for this reason. Died: it stopped in its work."""

    max_model_len: int


@dataclass(frozen=True)
class Failed:
    what: str
    where: str
    mend: str


@dataclass(frozen=True)
class Died:
    reason: str


@dataclass(frozen=True)
class More:
    """Child to parent: give me groups. Parent to child: here they are; none left when empty."""

    groups: tuple[Sequence[Numbered], ...] = ()


@dataclass(frozen=True)
class Begin:
    """Parent to child: answer what you draw. Stop: drop it. Done (child): nothing is in flight any more."""


@dataclass(frozen=True)
class Stop:
    pass


@dataclass(frozen=True)
class Done:
    pass


@dataclass(frozen=True)
class Reload:
    """Parent to child: take new weights; the child asks with More for each part of them."""


@dataclass(frozen=True)
class Weights:
    """Parent to child: the file of one part (weight_parts.py), or None: that was all."""

    path: Path | None


@dataclass(frozen=True)
class Transfer:
    """Parent to child: do this step of vLLM's own weight transfer, and say Done."""

    method: str
    argument: Any = None


class Replicas:
    """The children of one engine. A replica that dies ends the call with EngineDied; answers before it stay.

    load: makes a replica's engine in its process (a class or a function that can be imported there).
    """

    def __init__(self, options: EngineOptions, load: Callable[[EngineOptions], Any]) -> None:
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._carrier = carrier_of(options)
        context = multiprocessing.get_context("spawn")
        for number in range(options.data_parallel):
            mine, theirs = context.Pipe()
            arguments = (theirs, _of_replica(options, number), load)
            child = context.Process(target=serve, args=arguments, name=f"replica-{number}")
            with _surroundings(options, number):
                child.start()
            theirs.close()
            self._processes.append(child)
            self._pipes.append(mine)
        atexit.register(self.close)
        try:
            self.max_model_len = min(self._ready(number) for number in range(len(self._pipes)))
        except BaseException:
            self.close()
            raise

    def _ready(self, number: int) -> int:
        message = self._receive(self._pipes[number])
        if isinstance(message, Failed):
            raise UserError(message.what, message.where, message.mend)
        return int(message.max_model_len)

    def answer(self, groups: Sequence[Sequence[Numbered]]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) from all replicas as they come."""
        left = deque(groups)
        busy = set(self._pipes)
        for pipe in busy:
            pipe.send(Begin())
        try:
            while busy:
                for pipe in [each for each in wait(list(busy)) if isinstance(each, Connection)]:
                    message = self._receive(pipe)
                    if isinstance(message, More):
                        pipe.send(More(tuple(left.popleft() for _ in range(min(PORTION, len(left))))))
                    elif isinstance(message, Done):
                        busy.discard(pipe)
                    else:
                        yield message
        finally:
            self._stop(busy)

    def reload(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Give every replica these weights; ReloadFailed when one cannot take them (close all of them then)."""
        if self._carrier is not None:
            self._carrier.carry(weights, self._told, self._ready_for_more)
            return
        for pipe in self._pipes:
            pipe.send(Reload())
        self._ready_for_more()
        for path in weight_parts(weights):
            for pipe in self._pipes:
                pipe.send(Weights(path))
            self._ready_for_more()
        for pipe in self._pipes:
            pipe.send(Weights(None))
        self._ready_for_more()

    def _told(self, method: str, arguments: Sequence[Any] = ()) -> None:
        for number, pipe in enumerate(self._pipes):
            pipe.send(Transfer(method, arguments[number] if arguments else None))

    def _ready_for_more(self) -> None:
        for message in [self._receive(pipe) for pipe in self._pipes]:
            if isinstance(message, Failed):
                raise ReloadFailed(message.what)

    def _stop(self, busy: set[Connection]) -> None:
        """Have the replicas drop what they hold and wait until each says that it did."""
        if any(not process.is_alive() for process in self._processes):
            self.close()
            return
        for pipe in busy:
            pipe.send(Stop())
        for pipe in busy:
            while not isinstance(self._receive(pipe), Done):
                pass

    def _receive(self, pipe: Connection) -> Any:
        number = self._pipes.index(pipe)
        try:
            message = pipe.recv()
        except (EOFError, OSError) as error:
            process = self._processes[number]
            process.join(5)
            raise EngineDied(f"replica {number} ended with exit code {process.exitcode}") from error
        if isinstance(message, Died):
            raise EngineDied(f"replica {number}: {message.reason}")
        return message

    def close(self) -> None:
        """End the children; may be called twice."""
        atexit.unregister(self.close)
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(20)
            if process.is_alive():
                process.terminate()
                process.join(10)
            if process.is_alive():
                process.kill()
        self._pipes, self._processes = [], []


def _of_replica(options: EngineOptions, number: int) -> EngineOptions:
    log = f"{options.log_file}.{number}" if options.log_file else None
    return replace(options, data_parallel=1, own_process=False, log_file=log, say=None)


@contextmanager
def _surroundings(options: EngineOptions, number: int) -> Iterator[None]:
    """What replica `number` inherits when it is started: its own accelerators, its share of the processor cores."""
    cores = max(1, len(os.sched_getaffinity(0)) // options.data_parallel)
    given = {
        "CUDA_VISIBLE_DEVICES": ",".join(devices_of(options, number)),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores)),
    }
    before = {name: os.environ.get(name) for name in (*given, *_LAUNCHED)}
    main = sys.modules["__main__"]
    for name in _LAUNCHED:
        os.environ.pop(name, None)
    os.environ.update(given)
    # A child would run the user's program again as far as it is not guarded by `if __name__ == "__main__"`.
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)


def serve(pipe: Connection, options: EngineOptions, load: Callable[[EngineOptions], Any]) -> None:
    """A replica's life: load the model, then answer until the parent closes the pipe (or is gone)."""
    try:
        engine = load(options)
    except UserError as error:
        pipe.send(Failed(error.what, error.where, error.mend))
        return
    try:
        pipe.send(Ready(engine.max_model_len))
        while True:
            message = pipe.recv()
            if isinstance(message, Stop):
                continue  # it crossed the Done that the parent waits for
            if isinstance(message, Reload):
                engine.reload(_sent_weights(pipe))
            elif isinstance(message, Transfer):
                engine.transfer(message.method, message.argument)
            else:
                _answer(pipe, engine)
            pipe.send(Done())
    except ReloadFailed as error:
        pipe.send(Failed(str(error), options.model, ""))
    except EngineDied as error:
        pipe.send(Died(str(error)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent has closed its end or is gone
    finally:
        engine.close()


def _sent_weights(pipe: Connection) -> Iterator[tuple[str, torch.Tensor]]:
    while True:
        pipe.send(More())
        message = pipe.recv()
        if message.path is None:
            return
        yield from read_part(message.path)


def _answer(pipe: Connection, engine: Any) -> None:
    stopped = False

    def drawn() -> Iterator[Sequence[Numbered]]:
        nonlocal stopped
        while not stopped:
            pipe.send(More())
            message = pipe.recv()
            stopped = isinstance(message, Stop)
            if stopped or not message.groups:
                return
            yield from message.groups

    answers = engine.answer_groups(drawn())
    for answer in answers:
        pipe.send(answer)
        # Unasked, the parent sends nothing but Stop.
        if stopped or pipe.poll():
            if not stopped:
                pipe.recv()
            answers.close()
            return
