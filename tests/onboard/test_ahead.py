"""A stage of a pipeline changes when things happen, and nothing else."""

import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.onboard.ahead import DEPTH, Turn, ahead, side_by_side


@given(st.lists(st.integers(), max_size=20))
def test_items_come_as_they_were_made(items):
    with ahead(items) as found:
        assert list(found) == items


def test_it_works_ahead_and_no_further():
    made, may = [], threading.Semaphore(0)

    def items():
        for number in range(10):
            made.append(number)
            may.release()
            yield number

    with ahead(items()) as found:
        for number in range(DEPTH):
            assert may.acquire(timeout=10), f"item {number} was not made ahead"
        assert not may.acquire(timeout=0.1) and made == list(range(DEPTH))
        assert next(found) == 0 and may.acquire(timeout=10)
        assert not may.acquire(timeout=0.1) and made == list(range(DEPTH + 1))


def test_what_is_raised_comes_in_its_place():
    def items():
        yield 1
        yield 2
        raise OSError("the disk")

    taken = []
    with pytest.raises(OSError, match="the disk"), ahead(items()) as found:
        for item in found:
            taken.append(item)  # noqa: PERF402 - what was taken before the fault counts
    assert taken == [1, 2]


def test_who_leaves_early_waits_for_one_item_only():
    before = threading.active_count()
    made = []

    def items():
        while True:
            made.append(len(made))
            yield made[-1]

    with ahead(items()) as found:
        assert next(found) == 0
    assert threading.active_count() == before and len(made) <= DEPTH + 2


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 4))
def test_results_come_in_the_order_of_their_items_however_long_they_take(items, workers):
    def slow(item):
        time.sleep(item / 2000)
        return item + 1

    with side_by_side(slow, items, workers) as found:
        assert list(found) == [item + 1 for item in items]


def test_as_many_are_made_at_the_same_time_as_there_are_workers():
    together = threading.Barrier(3)
    with side_by_side(lambda item: together.wait(timeout=10) >= 0, range(6), 3) as found:
        assert list(found) == [True] * 6


def test_what_a_worker_raises_comes_in_its_place_and_the_others_end():
    before = threading.active_count()

    def fails(item):
        if item == 3:
            raise OSError("the third")
        return item

    taken = []
    with pytest.raises(OSError, match="the third"), side_by_side(fails, iter(int, 1), 2) as found:
        taken.append(next(found))
        raise OSError("the third")
    with pytest.raises(OSError, match="the third"), side_by_side(fails, range(100), 2) as found:
        for item in found:
            taken.append(item)  # noqa: PERF402 - what was taken before the fault counts
    assert taken == [0, 0, 1, 2] and threading.active_count() == before


def test_those_in_a_row_share_the_room():
    workers, may, made, turn = 2, threading.Semaphore(0), [], Turn.first(2)

    def one(number):
        made.append(number)
        yield number

    def worked(item):
        assert may.acquire(timeout=10)
        return item

    with ExitStack() as stack:
        found = []
        for number in range(8):
            found.append(stack.enter_context(side_by_side(worked, one(number), workers, turn)))
            turn = turn.next()
        deadline = time.monotonic() + 10
        while len(made) <= workers + DEPTH and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        before = list(made)
        for _ in range(8):
            may.release()
        # The last one was made before there was room for it, and went no further.
        assert before == list(range(workers + DEPTH + 1))
        assert [list(each) for each in found] == [[number] for number in range(8)]


def test_who_leaves_early_gives_the_room_back():
    workers = 2
    turn = Turn.first(workers)
    with side_by_side(lambda item: item, range(50), workers, turn) as found:
        assert next(found) == 0
    assert all(turn.room.acquire(blocking=False) for _ in range(workers + DEPTH))


def test_who_comes_later_does_not_begin_before_who_comes_earlier_has_ended():
    first, made = Turn.first(workers=4), []
    second = first.next()

    def items(name):
        for number in range(3):
            made.append((name, number))
            yield number

    with ahead(second.take(items("later"))) as later, ahead(first.take(items("earlier")), depth=1) as earlier:
        time.sleep(0.05)
        assert made == [("earlier", 0)]
        assert list(earlier) == [0, 1, 2] and list(later) == [0, 1, 2]
    assert made == [(name, number) for name in ("earlier", "later") for number in range(3)]
