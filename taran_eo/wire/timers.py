"""When which transaction wants to be woken, without asking all of them."""

import math
from collections.abc import Callable, Iterator, MutableMapping
from heapq import heappop, heappush
from typing import Protocol, TypeVar


class Timed(Protocol):
    """Something that may wait for a moment; the moment may change whenever it is called."""

    deadline_s: float | None


class Talker(Timed, Protocol):
    """A transaction that may have something to say."""

    @property
    def ready(self) -> bool:
        """Whether it has."""


T = TypeVar("T", bound=Talker)
P = TypeVar("P")


class Timers:
    """The deadlines of many transactions; one that has changed since it was noted does not count any more."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._noted_s: dict[int, float] = {}  # the earliest in the heap of each; a later one is noted when that comes

    def note(self, number: int, timed: Timed) -> None:
        """Keep the deadline that transaction `number` has now, if it has one."""
        if timed.deadline_s is not None and timed.deadline_s < self._noted_s.get(number, math.inf):
            self._noted_s[number] = timed.deadline_s
            heappush(self._heap, (timed.deadline_s, number, timed))

    def first(self, ready: MutableMapping[int, T], say: Callable[[T], P]) -> P | None:
        """What the first one that is ready says, its deadline noted; those that are not any more are taken out."""
        while ready:
            number, talker = next(iter(ready.items()))
            if talker.ready:
                said = say(talker)
                self.note(number, talker)
                return said
            del ready[number]
        return None

    def next_s(self) -> float | None:
        """The next deadline, or None."""
        while self._heap and self._heap[0][2].deadline_s != self._heap[0][0]:
            self._pop()
        return self._heap[0][0] if self._heap else None

    def due(self, now_s: float) -> Iterator[int]:
        """The transactions whose deadline has come, in its order; to be ticked one by one."""
        while (next_s := self.next_s()) is not None and next_s <= now_s:
            yield self._pop()

    def _pop(self) -> int:
        """Take the first out; its transaction may have a later deadline by now."""
        noted_s, number, timed = heappop(self._heap)
        if self._noted_s.get(number) == noted_s:
            del self._noted_s[number]
            if timed.deadline_s != noted_s:
                self.note(number, timed)
        return number
