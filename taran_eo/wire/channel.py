"""A lossy channel: frames that are lost whole, bits that are wrong one by one or in bursts."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from taran_eo.config import Settings

Probability = Annotated[float, Field(ge=0, le=1)]


class Burst(Settings):
    """Two states that bits pass through in turns, as Gilbert and Elliott model fading; both last geometrically.

    Source: E. N. Gilbert, Capacity of a burst-noise channel, Bell System Technical Journal 39 (1960), 1253-1265;
    E. O. Elliott, Estimates of error rates for codes on burst-noise channels, same journal 42 (1963), 1977-1997.

    Attributes:
        mean_gap_bits: Mean length of the good state, where the channel's own `bit_error_rate` holds.
        mean_burst_bits: Mean length of the bad state.
        bit_error_rate: Probability that a bit is wrong in the bad state.
    """

    mean_gap_bits: Annotated[float, Field(ge=1, le=1e15)]
    mean_burst_bits: Annotated[float, Field(ge=1, le=1e15)]
    bit_error_rate: Probability = 0.5


class Channel(Settings):
    """What becomes of bytes between two antennas.

    Attributes:
        frame_loss: Probability that a unit is lost whole, each on its own; the receiver sees nothing in its place.
        bit_error_rate: Probability that a bit is wrong, each on its own.
        burst: Errors in bursts, on top of that; None for none.
    """

    frame_loss: Probability = 0.0
    bit_error_rate: Probability = 0.0
    burst: Burst | None = None


def transmit(cadus: bytes, cadu_bytes: int, channel: Channel, rng: np.random.Generator) -> bytes:
    """What a receiver gets of `cadus`: units of `cadu_bytes` one after the other, the last of them perhaps shorter."""
    received = np.frombuffer(cadus, dtype=np.uint8)
    if channel.frame_loss > 0:
        units = -(-received.size // cadu_bytes)
        kept = rng.random(units) >= channel.frame_loss
        received = received[np.repeat(kept, cadu_bytes)[: received.size]]
    bits = 8 * received.size
    wrong = _events(bits, channel.bit_error_rate, rng)
    if channel.burst is not None:
        starts, lengths = _bursts(bits, channel.burst, rng)
        # A bit within a burst has the error rate of the burst alone.
        before = np.searchsorted(starts, wrong, side="right") - 1
        inside = (before >= 0) & (wrong < (starts + lengths)[before]) if starts.size else np.zeros(wrong.size, bool)
        ends = np.cumsum(lengths)
        hit = _events(int(ends[-1]) if ends.size else 0, channel.burst.bit_error_rate, rng)
        burst = np.searchsorted(ends, hit, side="right")
        wrong = np.concatenate([wrong[~inside], starts[burst] + hit - (ends - lengths)[burst]])
    received = received.copy()
    np.bitwise_xor.at(received, wrong >> 3, (0x80 >> (wrong & 7)).astype(np.uint8))
    return received.tobytes()


def _events(trials: int, probability: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which of independent trials succeed, in order: by the gaps between them, so that rare ones cost little."""
    if probability == 0:
        return np.zeros(0, dtype=np.int64)
    found = [np.zeros(0, dtype=np.int64)]
    last = -1
    while last < trials:
        expected = int((trials - last) * probability)
        # A gap beyond the end ends the search, and is cut so that sums stay far from the limits of int64.
        gaps = np.minimum(rng.geometric(probability, expected + 16), trials + 1)
        found.append(last + np.cumsum(gaps))
        last = int(found[-1][-1])
    events = np.concatenate(found)
    return events[events < trials]


def _bursts(bits: int, burst: Burst, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where bursts begin and how long they are, in bits; the first state is drawn by how long each lasts."""
    cycle_bits = burst.mean_gap_bits + burst.mean_burst_bits
    position = 0
    in_burst = rng.random() < burst.mean_burst_bits / cycle_bits
    starts, lengths = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    while position < bits:
        cycles = int((bits - position) / cycle_bits) + 4
        gaps = np.minimum(rng.geometric(1 / burst.mean_gap_bits, cycles), bits)
        if in_burst:
            gaps[0], in_burst = 0, False
        bad = np.minimum(rng.geometric(1 / burst.mean_burst_bits, cycles), bits)
        ends = position + np.cumsum(gaps + bad)
        starts.append(ends - bad)
        lengths.append(bad)
        position = int(ends[-1])
    start, length = np.concatenate(starts), np.concatenate(lengths)
    inside = start < bits
    return start[inside], np.minimum(length, bits - start)[inside]
