"""What a gate loses is counted by the ships that nobody looks at, and bounded as so few ships allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.imagery.window import Window
from taran_eo.metrics import aggregate_gate, score_gate, upper_bound


def ship(row, col, rows, cols):
    return Window(row, col, rows, cols), np.ones((rows, cols), bool)


def test_a_ship_is_seen_where_half_of_it_passes():
    looked, valid = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    looked[:32, :32] = True
    valid[:, 60:] = False
    ships = [
        ship(0, 0, 11, 10),  # large, and seen
        ship(27, 0, 10, 12),  # 5 of its 10 rows pass
        ship(28, 20, 10, 12),  # 4 of 10
        ship(50, 50, 2, 2),
        ship(40, 61, 9, 3),  # not to be seen by anybody
        ship(40, 50, 10, 12),  # large, but of its valid part no more than 100 pixels
    ]
    tile = score_gate(ships, looked, valid, macs=3, dense_macs=10)
    assert (tile.ships, tile.unseen, tile.large, tile.large_unseen) == (5, 3, 3, 1)
    assert (tile.valid_px, tile.looked_px) == (64 * 60, 32 * 32)
    sea = score_gate([], np.zeros_like(looked), valid, macs=1, dense_macs=10)
    scores = aggregate_gate([tile, tile, sea])
    assert (scores.tiles, scores.empty_tiles, scores.passed_tiles, scores.passed_empty_tiles) == (3, 1, 2, 0)
    assert (scores.work, scores.work_empty, scores.work_with_ships) == (7 / 30, 0.1, 0.3)
    assert (scores.large_ships, scores.large_ships_unseen) == (6, 2)
    assert scores.large_ships_unseen_at_most == upper_bound(2, 6)
    assert aggregate_gate([sea]).large_ships_unseen_at_most is None
    assert aggregate_gate([sea]).work_with_ships is None


def test_bounds_against_published_ones():
    # One-sided 95 % limits of Clopper and Pearson: 1 - 0.05**(1/n) without an event, and tables for some others.
    for trials in (1, 5, 20, 100, 300):
        assert upper_bound(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials), abs=1e-12)
    assert upper_bound(1, 20) == pytest.approx(0.2161, abs=5e-5)
    assert upper_bound(2, 10) == pytest.approx(0.5069, abs=5e-5)
    assert upper_bound(7, 7) == 1.0
    # Of very many ships, against the normal approximation.
    assert upper_bound(1000, 40000) == pytest.approx(0.025 + 1.645 * (0.025 * 0.975 / 40000) ** 0.5, rel=2e-3)
    assert upper_bound(0, 100) == pytest.approx(3 / 100, rel=0.02)  # the rule of three


@given(st.integers(1, 200), st.data())
def test_bounds_grow_with_events_and_lie_above_the_share(trials, data):
    events = data.draw(st.integers(0, trials - 1))
    assert events / trials < upper_bound(events, trials) <= upper_bound(events + 1, trials) <= 1
