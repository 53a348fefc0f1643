"""One rank works, all ranks know what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any


def several() -> bool:
    """Whether this process is one of several in a process group."""
    from torch import distributed

    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def is_first() -> bool:
    """Whether this process is the one that evaluates, writes and prints."""
    from torch import distributed

    return not several() or int(distributed.get_rank()) == 0


def on_first(work: Callable[[], Any], meanwhile: Callable[[], None] = lambda: None) -> Any:
    """What `work` returns on the first rank, on all ranks; its error too. meanwhile: done by the others first, for
    collective operations that `work` takes part in."""
    if not several():
        return work()
    from torch import distributed

    message: list[Any] = [None]
    if is_first():
        try:
            message = [(work(), None)]
        except Exception as error:  # carried to every rank below, or the others would wait for ever
            message = [(None, error)]
    else:
        meanwhile()
    distributed.broadcast_object_list(message, src=0)
    result, failed = message[0]
    if failed is not None:
        raise failed
    return result


def patience(timeout_seconds: float | None) -> timedelta | None:
    """How long the first rank may keep the others waiting: four fifths of the process group's timeout."""
    return timedelta(seconds=0.8 * timeout_seconds) if several() and timeout_seconds else None
