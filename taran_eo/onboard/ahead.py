"""Work that goes on in threads of its own while its results are used: the stages of a pipeline."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Semaphore
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DEPTH = 2
"""Results that may wait: enough that no stage waits for a single slow one, and few enough to bound memory."""

_END = object()


@dataclass(frozen=True)
class Turn:
    """A place in a row of those who work ahead: who comes later does not begin before who comes earlier has ended.

    All in the row share the room for items that wait to be worked on: else many scenes, each with its first tiles,
    would fill the memory.

    Attributes:
        room: Acquired for each item that is taken, and to be released when it has been worked on.
        before: Set when those before have ended.
        ended: To be set when this one has.
    """

    room: Semaphore
    before: Event
    ended: Event = field(default_factory=Event)

    @classmethod
    def first(cls, workers: int) -> "Turn":
        """The first place, with room for the items of so many workers and `DEPTH` that wait for them."""
        turn = cls(Semaphore(workers + DEPTH), Event())
        turn.before.set()
        return turn

    def next(self) -> "Turn":
        """The place behind."""
        return Turn(self.room, before=self.ended)

    def take(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, when it is their turn and there is room."""
        self.before.wait()
        for item in items:
            self.room.acquire()
            yield item
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
def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, turn: Turn | None = None
) -> Iterator[Iterator[Result]]:
    """The function of each item, in their order, made by several threads while a further one makes the items.

    As with `ahead`, no more is made than `DEPTH` results ahead or one for each worker; and of all that share a turn,
    no more items than it has room for are in memory, and one.
    """
    turn = Turn.first(workers) if turn is None else turn
    pool = ThreadPoolExecutor(workers)

    def begun(item: Item) -> Future[Result]:
        future = pool.submit(function, item)
        # Called for one that is cancelled too, so that no room is lost.
        future.add_done_callback(lambda _: turn.room.release())
        return future

    try:
        with ahead(map(begun, turn.take(items)), max(DEPTH, workers)) as futures:
            yield (future.result() for future in futures)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, source: Iterator[Item], waiting: "deque[Future[Item | object]]"
) -> Iterator[Item]:
    while (item := waiting.popleft().result()) is not _END:
        waiting.append(pool.submit(next, source, _END))
        yield item  # type: ignore[misc] # it is not the end, so it is an item
