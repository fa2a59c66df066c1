"""Work that goes on in a thread of its own while its results are used: a stage of a pipeline."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

DEPTH = 2
"""Results that may wait: enough that no stage waits for a single slow one, and few enough to bound memory."""

_END = object()


@contextmanager
def ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """The same items, made in a thread that begins at once and is up to `DEPTH` of them ahead.

    What is raised there is raised here, in its place. When the context is left early, the thread ends with the item
    that it is at.

    Example:
        >>> with ahead(number * number for number in range(4)) as squares:
        ...     print(list(squares))
        [0, 1, 4, 9]
    """
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, _END) for _ in range(DEPTH))
        try:
            yield _results(pool, source, waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, source: Iterator[Item], waiting: "deque[Future[Item | object]]"
) -> Iterator[Item]:
    while (item := waiting.popleft().result()) is not _END:
        waiting.append(pool.submit(next, source, _END))
        yield item  # type: ignore[misc] # it is not the end, so it is an item
