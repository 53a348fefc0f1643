"""What each phase of the work cost: wall seconds, processor seconds, peak memory."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """seconds: wall time. cpu_seconds: processor time of all threads. peak_bytes: highest resident memory of the
    process within the phase, None where the system does not tell."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None


class Phases:
    """Costs by phase name, summed over repeats. A phase within another one interrupts it: what the inner one costs is
    not charged to the outer."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self._open: list[str] = []
        self._since = (time.perf_counter(), time.process_time())

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Charge what happens in the block to phase `name`."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def _charge(self) -> None:
        """Put what passed since the last call on the innermost open phase."""
        now = (time.perf_counter(), time.process_time())
        if self._open:
            before, peak = self.costs.get(self._open[-1], Cost()), peak_memory()
            self.costs[self._open[-1]] = Cost(
                before.seconds + now[0] - self._since[0],
                before.cpu_seconds + now[1] - self._since[1],
                peak if before.peak_bytes is None or peak is None else max(peak, before.peak_bytes),
            )
        _forget_peak()
        self._since = now


def peak_memory() -> int | None:
    """Highest resident memory of this process in bytes since it was last forgotten (Linux; None elsewhere)."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _forget_peak() -> None:
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return  # not Linux, or not allowed: peaks are then those of the whole process
