"""The lossy channel: nothing, everything, and in between what the settings promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.config import parse
from taran_eo.errors import ConfigError
from taran_eo.wire import Burst, Channel, transmit

PROBABILITY = st.floats(0, 1)
BURSTS = st.none() | st.builds(
    Burst, mean_gap_bits=st.floats(1, 1e9), mean_burst_bits=st.floats(1, 1e9), bit_error_rate=PROBABILITY
)
CHANNELS = st.builds(Channel, frame_loss=PROBABILITY, bit_error_rate=PROBABILITY, burst=BURSTS)


def sent_through(cadus, cadu_bytes, seed=0, **settings):
    return transmit(cadus, cadu_bytes, Channel(**settings), np.random.default_rng(seed))


def wrong_bits(size_bytes, seed=0, **settings):
    return np.unpackbits(np.frombuffer(sent_through(bytes(size_bytes), 100, seed, **settings), dtype=np.uint8))


@given(cadus=st.binary(max_size=300), cadu_bytes=st.integers(1, 50), channel=CHANNELS, seed=st.integers(0, 99))
def test_whole_units_arrive_and_the_same_chance_gives_the_same(cadus, cadu_bytes, channel, seed):
    first, again = (transmit(cadus, cadu_bytes, channel, np.random.default_rng(seed)) for _ in range(2))
    assert first == again
    lost = len(cadus) - len(first)
    tail = len(cadus) % cadu_bytes
    assert lost % cadu_bytes in {0, tail}
    assert lost >= 0


@given(cadus=st.binary(max_size=300), seed=st.integers(0, 99))
def test_the_ends_of_the_scale(cadus, seed):
    assert sent_through(cadus, 7, seed) == cadus
    assert sent_through(cadus, 7, seed, frame_loss=1) == b""
    inverted = bytes(byte ^ 0xFF for byte in cadus)
    assert sent_through(cadus, 7, seed, bit_error_rate=1) == inverted
    always = Burst(mean_gap_bits=1, mean_burst_bits=1e15, bit_error_rate=1)
    harmless = Burst(mean_gap_bits=50, mean_burst_bits=50, bit_error_rate=0)
    # The state may begin with one good bit.
    got = np.unpackbits(np.frombuffer(sent_through(cadus, 7, seed, burst=always), dtype=np.uint8))
    np.testing.assert_array_equal(got[1:], np.unpackbits(np.frombuffer(inverted, dtype=np.uint8))[1:])
    assert sent_through(cadus, 7, seed, burst=harmless) == cadus


def test_units_that_arrive_are_in_order_and_as_many_as_promised():
    cadus = b"".join(n.to_bytes(4, "big") for n in range(20_000))
    got = np.frombuffer(sent_through(cadus, 4, 1, frame_loss=0.3), dtype=">u4").astype(np.int64)
    assert (np.diff(got) > 0).all()
    # Five standard deviations of a binomial count.
    assert abs(got.size - 14_000) < 5 * np.sqrt(20_000 * 0.3 * 0.7)


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.5])
def test_single_bits_are_wrong_as_often_as_promised(rate):
    wrong = wrong_bits(250_000, 2, bit_error_rate=rate)
    spread = np.sqrt(wrong.size * rate * (1 - rate))
    assert abs(int(wrong.sum()) - wrong.size * rate) < 5 * spread
    # And each on its own: neighbours are both wrong as often as chance has it.
    both = int((wrong[1:] & wrong[:-1]).sum())
    assert abs(both - wrong.size * rate**2) < 5 * np.sqrt(wrong.size * rate**2) + 5


def test_bursts_are_as_long_and_as_rare_as_promised():
    burst = Burst(mean_gap_bits=900, mean_burst_bits=100, bit_error_rate=1)
    wrong = wrong_bits(1_000_000, 3, burst=burst).astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wrong, [0]])))
    lengths, gaps = np.diff(edges)[::2], np.diff(edges)[1::2]
    assert abs(wrong.mean() - 0.1) < 0.005
    # A geometric length spreads as far as its mean.
    assert abs(lengths.mean() - 100) < 5 * 100 / np.sqrt(lengths.size)
    assert abs(gaps.mean() - 900) < 5 * 900 / np.sqrt(gaps.size)
    assert lengths.min() == 1
    assert 0.5 < lengths.std() / 100 < 1.5


def test_both_states_have_their_own_error_rate():
    burst = Burst(mean_gap_bits=3000, mean_burst_bits=1000, bit_error_rate=0.4)
    wrong = wrong_bits(1_000_000, 4, bit_error_rate=0.02, burst=burst)
    assert abs(wrong.mean() - (0.75 * 0.02 + 0.25 * 0.4)) < 0.006


def test_a_channel_begins_in_a_burst_as_often_as_it_is_in_one():
    burst = Burst(mean_gap_bits=1e6, mean_burst_bits=1e6, bit_error_rate=1)
    begun = sum(int(wrong_bits(1, seed, burst=burst)[0]) for seed in range(400))
    assert abs(begun - 200) < 5 * np.sqrt(100)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"frame_loss": 1.1}, "frame_loss = 1.1"),
        ({"bit_error_rate": -0.1}, "bit_error_rate = -0.1"),
        ({"burst": {"mean_gap_bits": 0.5, "mean_burst_bits": 2}}, "mean_gap_bits = 0.5"),
        ({"burst": {"mean_gap_bits": 5}}, "mean_burst_bits is missing"),
        ({"frames_lost": 0.1}, "frames_lost = 0.1 is not a known key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        parse(settings, Channel, source="channel.toml")
