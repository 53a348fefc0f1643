"""A SIGTERM that waits until the work at hand is on disk."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class DelayedStop:
    """While entered, a SIGTERM only sets `asked`; on leaving it is raised anew for whoever handled it before.

    Outside the main thread, where no handler can be set, signals are left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: object = None

    def __enter__(self) -> DelayedStop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]
        if self.asked:
            signal.raise_signal(signal.SIGTERM)
