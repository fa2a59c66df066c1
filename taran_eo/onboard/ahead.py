"""Work that goes on in threads of its own while its results are used: the stages of a pipeline."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DEPTH = 2
"""Results that may wait: enough that no stage waits for a single slow one, and few enough to bound memory."""

_END = object()


@dataclass(frozen=True)
class Turn:
    """A place in a row of those who work ahead: who comes later does not begin before who comes earlier has ended.

    Else many who wait to be used would fill the memory, each with its first items.

    Attributes:
        before: Set when those before have ended.
        ended: To be set when this one has.
    """

    before: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)

    @classmethod
    def first(cls) -> "Turn":
        """The first place."""
        turn = cls()
        turn.before.set()
        return turn

    def next(self) -> "Turn":
        """The place behind."""
        return Turn(before=self.ended)

    def take(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, when it is their turn."""
        self.before.wait()
        yield from items
        self.ended.set()


@contextmanager
def ahead(items: Iterable[Item], depth: int = DEPTH) -> Iterator[Iterator[Item]]:
    """The same items, made in a thread that begins at once and is up to `depth` of them ahead.

    What is raised there is raised here, in its place. When the context is left early, the thread ends with the item
    that it is at.

    Example:
        >>> with ahead(number * number for number in range(4)) as squares:
        ...     print(list(squares))
        [0, 1, 4, 9]
    """
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, _END) for _ in range(depth))
        try:
            yield _results(pool, source, waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def side_by_side(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Iterator[Result]]:
    """The function of each item, in their order, made by several threads while a further one makes the items.

    As with `ahead`, no more is made than `DEPTH` results ahead and one for each worker.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        with ahead((pool.submit(function, item) for item in items), max(DEPTH, workers)) as futures:
            yield (future.result() for future in futures)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, source: Iterator[Item], waiting: "deque[Future[Item | object]]"
) -> Iterator[Item]:
    while (item := waiting.popleft().result()) is not _END:
        waiting.append(pool.submit(next, source, _END))
        yield item  # type: ignore[misc] # it is not the end, so it is an item
