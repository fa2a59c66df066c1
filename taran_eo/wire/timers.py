"""When which transaction wants to be woken, without asking all of them."""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Protocol


class Timed(Protocol):
    """Something that may wait for a moment; the moment may change whenever it is called."""

    deadline_s: float | None


class Timers:
    """The deadlines of many transactions; one that has changed since it was noted does not count any more."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []

    def note(self, number: int, timed: Timed) -> None:
        """Keep the deadline that transaction `number` has now, if it has one."""
        if timed.deadline_s is not None:
            heappush(self._heap, (timed.deadline_s, number, timed))

    def next_s(self) -> float | None:
        """The next deadline, or None."""
        while self._heap and self._heap[0][2].deadline_s != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> Iterator[int]:
        """The transactions whose deadline has come, in its order; to be ticked one by one."""
        while (next_s := self.next_s()) is not None and next_s <= now_s:
            yield heappop(self._heap)[1]
