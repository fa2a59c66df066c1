"""The interval of a share against published ones, against what defines it, and against draws."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.metrics import Accuracy, Interval, wilson


@pytest.mark.parametrize(
    ("events", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_against_published_ones(events, trials, low, high):
    assert wilson(events, trials).ci == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(trials - events, trials)
    assert mirrored.ci == pytest.approx((1 - high, 1 - low), abs=5e-5)


@given(st.integers(1, 10**6), st.data())
def test_its_ends_are_the_shares_that_the_count_just_does_not_contradict(trials, data):
    events = data.draw(st.integers(0, trials))
    found = wilson(events, trials)
    assert 0 <= found.low <= found.value == events / trials <= found.high <= 1 and found.low < found.high
    for end in found.ci:
        assert abs(events - trials * end) == pytest.approx(
            1.959964 * (trials * end * (1 - end)) ** 0.5, rel=1e-4, abs=1e-4
        )


def test_it_holds_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(0).binomial(500, 0.92, 4000)
    holds = np.mean([low <= 0.92 <= high for low, high in (wilson(int(each), 500).ci for each in draws)])
    assert 0.94 < holds < 0.96


def test_an_accuracy_is_told_with_its_count():
    accuracy = Accuracy(10_000, 9123)
    assert str(accuracy) == "right 0.912 [0.907, 0.918], 9123 of 10000 pictures"
    told = json.loads(json.dumps(accuracy.to_dict()))
    assert (told["pictures"], told["right"], told["accuracy"]) == (10_000, 9123, 0.9123)
    assert told["accuracy_ci"] == pytest.approx([0.90659, 0.91769], abs=1e-5)
    assert Accuracy(0, 0).share == Interval(None, None, None)
