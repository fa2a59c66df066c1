"""A stage of a pipeline changes when things happen, and nothing else."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.onboard.ahead import DEPTH, ahead


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
