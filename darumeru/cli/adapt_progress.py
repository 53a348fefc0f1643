"""One live line for a pipeline on stderr; plain lines where it is no terminal."""

from __future__ import annotations

import time

from rich.status import Status

from darumeru.core.terminal import terminal

PLAIN_SECONDS = 15.0


class AdaptProgress:
    """A pipeline's reporter (darumeru.adaptation.pipeline.Reporter) and the progress of its scorings."""

    def __init__(self, quiet: bool = False) -> None:
        """quiet: say nothing."""
        self._console = terminal(stderr=True, quiet=quiet)
        self._status: Status | None = None
        self._head = ""
        self._total = self._done = 0
        self._last = 0.0

    def begin(self, name: str, number: int, total: int) -> None:
        self._head = f"[{number}/{total}] {name}"
        self._show("")

    def say(self, text: str) -> None:
        if text.startswith("warning"):
            self.note(text)
        else:
            self._show(text, plain=True)

    def end(self, line: str) -> None:
        self.note(line)

    def phase(self, text: str) -> None:
        self._show(text)

    def part(self, done: int, total: int, what: str) -> None:
        self._show(f"preparing {done}/{total} {what}")

    def start(self, total: int, done: int) -> None:
        self._total, self._done = total, done

    def advance(self, task: str) -> None:
        self._done += 1
        self._show(f"scoring {self._done}/{self._total} {task}")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """A scoring has ended; the pipeline goes on."""

    def close(self) -> None:
        """Take the live line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _show(self, text: str, plain: bool = False) -> None:
        line = ": ".join(part for part in (self._head, text) if part)
        if not self._console.is_terminal:
            now = time.monotonic()
            if plain or not text or now - self._last > PLAIN_SECONDS:
                self._last = now
                self.note(line)
            return
        escaped = line.replace("[", "\\[")
        if self._status is None:
            self._status = self._console.status(escaped)
            self._status.start()
        self._status.update(escaped)
