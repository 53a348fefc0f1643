"""A pipeline under `accelerate launch`: the first process writes, scores and prints, all know what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long the others wait while the first one makes a vocabulary or scores."""


def several() -> bool:
    """Whether this process is one of several; nothing heavy is imported to know."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> None:
    """Meet the other processes."""
    if several():
        import torch
        from accelerate import PartialState

        # Without `cpu` accelerate takes each process without an accelerator for the only one.
        PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)


def leave() -> None:
    """Part in order: a process that ends while another still talks to it makes gloo abort."""
    if several():
        from torch import distributed

        if distributed.is_initialized():
            distributed.barrier()
            distributed.destroy_process_group()


def is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0 if several() else True


def on_first(work: Callable[[], T]) -> T:
    """What `work` returns, or raises, on the first process, on all of them."""
    if not several():
        return work()
    from darumeru.core.ranks import on_first as shared

    untyped: Any = shared
    return cast(T, untyped(work))
