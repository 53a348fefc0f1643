"""When a training run is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from darumeru.core.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """every_steps: at each multiple of it. at_saves: when a checkpoint is about to be written. share: whenever all
    evaluations together, one more and the last one of `at_end` would stay below this share of the wall time, in (0, 1),
    if none takes longer than the longest so far; the first one, whose length nobody knows, comes at once. at_start,
    at_end: before the first and after the last step."""

    every_steps: int | None = None
    at_saves: bool = False
    share: float | None = None
    at_start: bool = True
    at_end: bool = True

    def __post_init__(self) -> None:
        if self.every_steps is not None and (not isinstance(self.every_steps, int) or self.every_steps < 1):
            raise UserError(f"every_steps is {self.every_steps!r}", "DarumeruCallback", "a number of steps, at least 1")
        if self.share is not None and not 0 < self.share < 1:
            raise UserError(f"share is {self.share!r}", "DarumeruCallback", "a share of wall time between 0 and 1")

    def due(self, step: int, *, saving: bool, last: bool, clock: Clock) -> bool:
        """Whether to evaluate after optimizer step `step`."""
        if last and self.at_end:
            return True
        if self.every_steps and step % self.every_steps == 0:
            return True
        if saving and self.at_saves:
            return True
        return self.share is not None and clock.affordable(self.share, 1 + self.at_end)


@dataclass
class Clock:
    """Seconds of training and of evaluation so far. longest: of one evaluation on a running engine, the guess for the
    next."""

    training: float = 0.0
    evaluating: float = 0.0
    longest: float = 0.0

    def evaluated(self, seconds: float, starting: float = 0.0) -> None:
        """An evaluation took this long; starting: the part of it that started an engine, which the next one has."""
        self.evaluating += seconds
        self.longest = max(self.longest, seconds - starting)

    def affordable(self, share: float, more: int = 1) -> bool:
        """Whether so many more evaluations would keep evaluations within their share of the wall time."""
        spent = self.evaluating + more * self.longest
        return spent <= share * (self.training + spent)

    @property
    def share(self) -> float:
        """Evaluations' part of the wall time so far."""
        whole = self.training + self.evaluating
        return self.evaluating / whole if whole else 0.0
