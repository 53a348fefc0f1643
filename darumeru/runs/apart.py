"""A run in a process of its own: several at once on a cluster, or one after the other without memory left behind."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from darumeru.core.errors import RunFailed, UserError
from darumeru.runs.config import RunConfig, config_as
from darumeru.runs.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """folder: of the run. error: why it has not all its scores, in a line; "" where it has. scored: whether it came to
    scores at all."""

    folder: Path
    error: str = ""
    scored: bool = False


class _Told:
    """The progress of the other process, sent as (method, arguments)."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._pipe.send((name, arguments))


class Apart:
    """Runs in processes; `run` may be called by several threads at once, `close` ends what is still running."""

    def __init__(self) -> None:
        self._processes: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, config: RunConfig, progress: Progress) -> Outcome:
        """Do the run of `config`, whose `output` is said; what goes wrong is in the outcome. progress: told by this
        thread."""
        folder = Path(str(config.output)).expanduser()
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_carry_out, args=(theirs, config), name=f"run-{folder.name}")
        with self._lock:
            if self._closed:
                return Outcome(folder, "was not started")
            process.start()
            self._processes.add(process)
        theirs.close()
        try:
            while True:
                name, arguments = mine.recv()
                if name == "end":
                    return Outcome(folder, *arguments)
                getattr(progress, name)(*arguments)
        except (EOFError, ConnectionResetError):
            process.join()
            return Outcome(folder, f"its process ended with exit code {process.exitcode}; the same command goes on")
        finally:
            mine.close()
            process.join()
            self._processes.discard(process)

    def close(self) -> None:
        """Have the processes unwind, and wait for them."""
        with self._lock:
            self._closed = True
            running = list(self._processes)
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def at_once(config: Any) -> int:
    """How many runs with these options are worth doing at once: as many as their cluster has room for, and one that is
    preparing; without a cluster one. UserError where the cluster cannot be reached, or can never hold a replica."""
    if not config.cluster:
        return 1
    from darumeru.engines.protocol import EngineOptions
    from darumeru.engines.ray_cluster import Cluster, placing

    shape = EngineOptions("", tensor_parallel=config.tensor_parallel, pipeline_parallel=config.pipeline_parallel)
    room = placing(shape, Cluster.at(config.cluster).ray.nodes()).replicas
    return 1 + max(1, room // (config.data_parallel or 1))


def one_of_many(config: RunConfig) -> RunConfig:
    """The same with one replica where nothing is said: each of many runs leaves room for the others."""
    return config_as(RunConfig, config, data_parallel=config.data_parallel or 1)


def _carry_out(pipe: Connection, config: RunConfig) -> None:
    """The other process. A bug shows its traceback and ends it."""
    from darumeru.runs import evaluate

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        _, failures = evaluate.run(config, _Told(pipe))
        end = "; ".join(f"{task}: {reason}" for task, reason in failures.tasks.items()), True
    except UserError as wrong:
        end = wrong.line(), False
    except RunFailed as failed:
        end = str(failed), False
    pipe.send(("end", end))
