"""What tests of trainings share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def new_accelerate() -> Iterator[None]:
    """accelerate's settings as in a new process: it keeps those of a process's first Trainer for all that follow."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
