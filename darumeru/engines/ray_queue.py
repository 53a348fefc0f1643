"""The one queue of a run over many replicas: who holds which group, and what comes back when one is lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from darumeru.engines.order import Numbered
from darumeru.engines.protocol import EngineDied

Group = tuple[int, Sequence[Numbered]]
# A group that was with so many replicas when they were lost is taken for the cause.
MOST_LOSSES = 3


class GroupQueue:
    """Groups by number, in the order in which they are best asked; each is with one replica at a time."""

    def __init__(self, groups: Sequence[Sequence[Numbered]], first: int = 0) -> None:
        """first: the number of the first group; replicas must never see a number twice."""
        self._groups = {first + place: group for place, group in enumerate(groups)}
        self._left = deque(self._groups)
        self._given: dict[int, set[int]] = {}
        self._losses: Counter[int] = Counter()

    @property
    def done(self) -> bool:
        """Whether every group was answered."""
        return not self._groups

    @property
    def more(self) -> bool:
        """Whether there is something to draw."""
        return bool(self._left)

    def draw(self, replica: int, wants: int, replicas: int) -> list[Group]:
        """Groups for a replica: what it wants, but of what is left at most half its share, so that all end together."""
        most = min(wants, max(1, len(self._left) // (2 * replicas)))
        numbers = [self._left.popleft() for _ in range(min(most, len(self._left)))]
        self._given.setdefault(replica, set()).update(numbers)
        return [(number, self._groups[number]) for number in numbers]

    def take(self, replica: int, numbers: Iterable[int]) -> None:
        """These groups are answered."""
        for number in numbers:
            self._given[replica].remove(number)
            del self._groups[number]

    def give_back(self, replica: int, reason: str) -> int:
        """A replica is lost: what it holds is drawn next. How many groups. EngineDied for a group that replicas keep
        being lost with."""
        numbers = sorted(self._given.pop(replica, ()))
        self._left.extendleft(reversed(numbers))
        self._losses.update(numbers)
        if numbers and max(self._losses[number] for number in numbers) >= MOST_LOSSES:
            raise EngineDied(f"{MOST_LOSSES} replicas were lost with the same requests, the last one so: {reason}")
        return len(numbers)
