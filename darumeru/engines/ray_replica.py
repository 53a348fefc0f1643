"""One engine in a Ray actor: it draws whole groups, hands back whole groups, and never waits for the driver."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darumeru.core.answer import Answer
from darumeru.engines.order import Numbered
from darumeru.engines.protocol import EngineOptions
from darumeru.engines.ray_nodes import located

# Groups asked for at first; more where the engine draws more between two exchanges.
PORTION = 16
# An exchange ends at the latest after so many seconds: the driver sees that the replica lives, and its log.
LONGEST = 1.0
# Answers that come so soon after the first one travel with it: an exchange costs the driver half a millisecond.
LINGER = 0.1
# Bytes of log in one exchange.
LOG_PART = 1 << 16

Group = tuple[int, Sequence[Numbered]]
Answers = Sequence[tuple[int, Answer]]


@dataclass(frozen=True)
class Ready:
    """A replica that has loaded its model. place: the node, for people."""

    max_model_len: int
    capabilities: frozenset[str]
    limits: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Exchanged:
    """done: (group's number, its answers). wants: how many groups there is room for. log: what the engine's log says
    since the last exchange."""

    done: Sequence[tuple[int, Answers]]
    wants: int
    log: str


class Replica:
    """Made by Ray on a node. `load`, then `exchange` again and again, one call at a time.

    environment: variables that engines read when they are imported; it holds no key.
    """

    def __init__(self, load: Callable[[EngineOptions], Any], options: EngineOptions, environment: Mapping[str, str]):
        os.environ.update(environment)
        handle, self._log = tempfile.mkstemp(prefix="darumeru-", suffix=".log")
        os.close(handle)
        self._load, self._options = load, replace(options, log_file=self._log)
        self._read = 0
        self._queue: deque[Group] = deque()
        self._group: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._partial: dict[int, list[tuple[int, Answer]]] = {}
        self._done: list[tuple[int, Answers]] = []
        self._drawn = 0
        self._fed = self._dropping = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def load(self) -> Ready:
        """Load the model; UserError for one that cannot be loaded."""
        options = self._options
        tokenizer, lora = (path and str(located(Path(path))) for path in (options.tokenizer, options.lora))
        here = replace(options, model=str(located(Path(options.model))), tokenizer=tokenizer, lora=lora)
        self._engine = self._load(here)
        threading.Thread(target=self._work, name="engine", daemon=True).start()
        import ray

        place = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
        limits = tuple(getattr(self._engine, "limits", ()))
        return Ready(self._engine.max_model_len, frozenset(self._engine.capabilities), limits, place)

    def log(self) -> str:
        """What the engine's log says that was not handed over yet, at most LOG_PART bytes of it."""
        with open(self._log, "rb") as file:
            file.seek(self._read)
            part = file.read(LOG_PART)
        self._read += len(part)
        return part.decode("utf-8", "replace")

    def exchange(self, groups: Sequence[Group], more: bool) -> Exchanged:
        """Take groups in, hand answers out: as soon as there are any, or groups are wanted and there are `more`.

        Raises what the engine raised when it cannot go on.
        """
        with self._changed:
            self._queue.extend(groups)
            self._fed = more
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done or self._failure or (more and self._hungry()), LONGEST)
            if self._done:
                self._changed.wait_for(lambda: self._failure or not self._open, LINGER)
            if self._failure is not None and not self._done:
                raise self._failure
            done, self._done = self._done, []
            target = max(PORTION, 2 * self._drawn)
            self._drawn = 0
            return Exchanged(done, max(0, target - len(self._queue)), self.log())

    def drop(self) -> None:
        """Forget everything that was given and is not handed back."""
        with self._changed:
            self._queue.clear()
            self._dropping = bool(self._open)
            self._changed.wait_for(lambda: not self._dropping or self._failure)
            self._done.clear()

    def close(self) -> None:
        """End the engine."""
        self.drop()
        self._engine.close()
        os.unlink(self._log)

    def _hungry(self) -> bool:
        return len(self._queue) < max(PORTION, 2 * self._drawn) // 2

    def _work(self) -> None:
        try:
            while True:
                answers = self._engine.answer_groups(self._draw())
                for index, answer in answers:
                    if not self._take(index, answer):
                        answers.close()
                        break
        except BaseException as error:  # raised again where the driver sees it
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _draw(self) -> Iterator[Sequence[Numbered]]:
        while True:
            with self._changed:
                if not self._queue and self._open:
                    group: Sequence[Numbered] = ()
                else:
                    self._changed.wait_for(lambda: self._queue)
                    number, group = self._queue.popleft()
                    self._drawn += 1
                    self._open[number] = len(group)
                    self._group.update((index, number) for index, _ in group)
                    if self._fed and self._hungry():
                        self._changed.notify_all()
            yield group

    def _take(self, index: int, answer: Answer) -> bool:
        """Keep an answer until those of its group are there; False when all are to be dropped."""
        with self._changed:
            if self._dropping:
                self._open.clear()
                self._partial.clear()
                self._group.clear()
                self._dropping = False
                self._changed.notify_all()
                return False
            number = self._group.pop(index)
            self._partial.setdefault(number, []).append((index, answer))
            self._open[number] -= 1
            if not self._open[number]:
                del self._open[number]
                self._done.append((number, self._partial.pop(number)))
                self._changed.notify_all()
            return True
