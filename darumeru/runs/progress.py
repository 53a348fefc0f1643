"""Who is told how a run goes on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One display for a whole run. All calls come from one thread."""

    def phase(self, text: str) -> None:
        """What is being done now, for example "reading the data"."""
        ...

    def part(self, done: int, total: int, what: str) -> None:
        """Of the phase, `done` of `total` parts are done, and `what` is next."""
        ...

    def start(self, total: int, done: int) -> None:
        """The stream begins: samples of the run, and how many of them were stored before."""
        ...

    def advance(self, task: str) -> None:
        """One more sample of `task` is stored."""
        ...

    def note(self, text: str) -> None:
        """A line that the user should see now."""
        ...

    def stop(self) -> None:
        """The display ends; may be called twice."""
        ...


class Silent:
    """Tells nobody."""

    def phase(self, text: str) -> None:
        pass

    def part(self, done: int, total: int, what: str) -> None:
        pass

    def start(self, total: int, done: int) -> None:
        pass

    def advance(self, task: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def stop(self) -> None:
        pass
