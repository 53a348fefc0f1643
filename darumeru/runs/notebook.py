"""The one display of a run in a notebook: a bar, a count, what is being done, and remarks below."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from darumeru.runs.progress import Progress, Silent

SECONDS = 0.5
"""Between two updates of the display."""


def fitting_progress() -> Progress:
    """A NotebookProgress in a notebook, silence elsewhere."""
    return NotebookProgress() if _in_notebook() else Silent()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return found is not None and hasattr(found, "kernel")


@contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries say of the notebook they are in: that its widgets are not installed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


class NotebookProgress:
    """One output of a cell that is updated in place."""

    def __init__(self) -> None:
        from IPython import display

        show: Any = display.display
        self._text = "starting"
        self._done = self._total = 0
        self._notes: list[str] = []
        self._began = self._shown = time.monotonic()
        self._handle: Any = show(_Html(self._html()), display_id=True)

    def phase(self, text: str) -> None:
        self._text, self._done, self._total = text, 0, 0
        self._show(now=True)

    def part(self, done: int, total: int, what: str) -> None:
        self._done, self._total = done, total
        self._show()

    def start(self, total: int, done: int) -> None:
        self._text, self._done, self._total = "asking", done, total
        self._show(now=True)

    def advance(self, task: str) -> None:
        self._done += 1
        self._text = task
        self._show()

    def note(self, text: str) -> None:
        self._notes.append(text)
        self._show(now=True)

    def stop(self) -> None:
        self._text, self._total = f"done in {time.monotonic() - self._began:.0f} s", 0
        self._show(now=True)

    def _show(self, now: bool = False) -> None:
        if now or time.monotonic() - self._shown >= SECONDS:
            self._shown = time.monotonic()
            self._handle.update(_Html(self._html()))

    def _html(self) -> str:
        bar = f'<progress value="{self._done}" max="{self._total}"></progress> ' if self._total else ""
        count = f" {self._done}/{self._total}" if self._total else ""
        notes = "".join(f"<div>{escape(note)}</div>" for note in self._notes)
        return f"<div>{bar}{escape(self._text)}{count}</div>{notes}"


class _Html:
    """What IPython shows as HTML."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "progress"
