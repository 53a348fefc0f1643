"""The one live display of a run, on stderr: bar, rate, time left, current task; plain lines where it is no terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from darumeru.core.terminal import printable, terminal

PLAIN_SECONDS = 15.0


class _Rate(ProgressColumn):
    """Samples a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


class _Count(ProgressColumn):
    """Samples done of all; nothing before they are counted."""

    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed)}/{int(task.total)}" if task.total else "")


class LiveProgress:
    """For terminals."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            _Count(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Rich would pass on what libraries print; engines send it to their log file.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._phase = "starting"
        self._task = self._progress.add_task(self._phase, total=None)
        self._progress.start()

    def phase(self, text: str) -> None:
        self._phase = text
        self._progress.reset(self._task, total=None, completed=0, description=printable(text))

    def part(self, done: int, total: int, what: str) -> None:
        text = printable(f"{self._phase}: {what}")
        self._progress.update(self._task, total=total, completed=done, description=text)

    def start(self, total: int, done: int) -> None:
        if done:
            self.note(f"{done} of {total} samples are stored already")
        self._progress.reset(self._task, total=total, completed=done)

    def advance(self, task: str) -> None:
        self._progress.update(self._task, advance=1, description=printable(task))

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        self._progress.stop()


class PlainProgress:
    """For pipes and log files: a line now and then."""

    def __init__(self) -> None:
        self._total = self._done = self._before = 0
        self._began = self._last = time.monotonic()

    def phase(self, text: str) -> None:
        self._last = time.monotonic()
        self.note(text)

    def part(self, done: int, total: int, what: str) -> None:
        if time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            self.note(f"{done}/{total}, {what}")

    def start(self, total: int, done: int) -> None:
        self._total, self._done, self._before = total, done, done
        self._began = self._last = time.monotonic()
        self.note(f"asking {total - done} samples" + (f", {done} are stored already" if done else ""))

    def advance(self, task: str) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last < PLAIN_SECONDS and self._done < self._total:
            return
        self._last = now
        rate = (self._done - self._before) / max(now - self._began, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        self.note(f"{self._done}/{self._total} samples, {rate:.1f}/s, {left:.0f} s left, {task}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        pass


def make_progress(quiet: bool = False) -> LiveProgress | PlainProgress:
    """The display that fits stderr. quiet: plain lines even on a terminal."""
    console = terminal(stderr=True)
    return LiveProgress(console) if console.is_terminal and not quiet else PlainProgress()
