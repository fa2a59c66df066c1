"""Contacts: which satellite speaks with which antenna and when, and how many bits go through.

The plan is made on the ground ahead of time and knows no queue, as plans of station networks are made days ahead.
Its rule: whenever an antenna and a satellite are both free while they see each other, the satellite whose last contact
ended longest ago is served first (one that never had any before all others; then by its name), by the station
whose pass ends last. A contact lasts until the pass ends; before its next one a satellite needs the hand-over
time, and an antenna the turn-around time.
"""

import heapq
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taran_eo.downlink.passes import Pass
from taran_eo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Contact:
    """A time in which a satellite sends to an antenna.

    Attributes:
        seen: The pass that it is of.
        start_s: When it begins, not before the pass.
        end_s: When it ends: the end of the pass.
    """

    seen: Pass
    start_s: float
    end_s: float


def plan(
    found: Sequence[Pass],
    antennas: Mapping[str, int],
    *,
    handover_s: float,
    turnaround_s: float,
    shortest_s: float,
) -> list[Contact]:
    """Give antennas to satellites; see the rule above.

    Args:
        found: The passes, in any order; the plan does not depend on it.
        antennas: Antennas of each station, by its name.
        handover_s: Time that a satellite needs from the end of a contact to the start of its next one.
        turnaround_s: Time that an antenna needs from the end of a contact to the start of its next one.
        shortest_s: What is left of a pass is not used if it is shorter than this.

    Returns:
        The contacts by start; of one satellite, and of one antenna, no two overlap.
    """
    # What may make a contact possible: a pass begins, an antenna or a satellite becomes free.
    begin: dict[float, list[Pass]] = defaultdict(list)
    for seen in found:
        begin[seen.rise_s].append(seen)
    free_antenna: dict[float, set[str]] = defaultdict(set)
    free_satellite: dict[float, set[str]] = defaultdict(set)
    moments = list(begin)
    heapq.heapify(moments)
    open_at: dict[str, set[Pass]] = defaultdict(set)
    open_of: dict[str, set[Pass]] = defaultdict(set)
    busy: dict[str, list[float]] = defaultdict(list)
    last_end: dict[str, float] = {}
    contacts: list[Contact] = []
    while moments:
        now_s = heapq.heappop(moments)
        candidates = set(begin.pop(now_s, ()))
        for seen in candidates:
            open_at[seen.station].add(seen)
            open_of[seen.satellite].add(seen)
        for name in free_antenna.pop(now_s, ()):
            candidates |= open_at[name]
        for name in free_satellite.pop(now_s, ()):
            candidates |= open_of[name]
        for seen in sorted(candidates, key=lambda seen: _claim(seen, last_end)):
            over = seen.set_s - now_s < shortest_s
            busy[seen.station] = [end_s for end_s in busy[seen.station] if end_s + turnaround_s > now_s]
            free = len(busy[seen.station]) < antennas[seen.station]
            free = free and last_end.get(seen.satellite, -math.inf) + handover_s <= now_s
            if free and not over:
                contacts.append(Contact(seen, now_s, seen.set_s))
                busy[seen.station].append(seen.set_s)
                last_end[seen.satellite] = seen.set_s
                free_antenna[seen.set_s + turnaround_s].add(seen.station)
                free_satellite[seen.set_s + handover_s].add(seen.satellite)
                for free_s in {seen.set_s + turnaround_s, seen.set_s + handover_s}:
                    heapq.heappush(moments, free_s)
            if free or over:
                open_at[seen.station].discard(seen)
                open_of[seen.satellite].discard(seen)
    return contacts


def _claim(seen: Pass, last_end: Mapping[str, float]) -> tuple[float, str, float, str, float]:
    return last_end.get(seen.satellite, -math.inf), seen.satellite, -seen.set_s, seen.station, seen.rise_s


class Profile:
    """The rate of a contact over its time, piecewise constant, and its integral.

    Args:
        edges_s: float64[n + 1], rising times in seconds.
        rate_bit_s: float64[n], what goes through between two edges; zero where the link does not close.

    Raises:
        ConfigError: Times that do not rise, or a rate that is negative or no number.
    """

    __slots__ = ("bits", "edges_s", "rate_bit_s")

    def __init__(self, edges_s: ArrayLike, rate_bit_s: ArrayLike) -> None:
        edges = np.asarray(edges_s, dtype=np.float64)
        rates = np.asarray(rate_bit_s, dtype=np.float64)
        if not (np.isfinite(rates) & (rates >= 0)).all():
            raise ConfigError(
                f"A rate of {rates[~(np.isfinite(rates) & (rates >= 0))][0]} bit/s makes no sense",
                remedy="Give rates of zero or more",
            )
        if edges.size != rates.size + 1 or not (np.diff(edges) > 0).all():
            raise ConfigError("The times of a contact do not rise", remedy="Give one time more than rates, rising")
        # Lists, since single places are looked up.
        self.edges_s: list[float] = edges.tolist()
        self.rate_bit_s: list[float] = rates.tolist()
        self.bits: list[float] = np.append(0.0, np.cumsum(rates * np.diff(edges))).tolist()

    @property
    def start_s(self) -> float:
        """When it begins."""
        return self.edges_s[0]

    @property
    def end_s(self) -> float:
        """When it ends."""
        return self.edges_s[-1]

    @property
    def capacity_bits(self) -> float:
        """What goes through in all."""
        return self.bits[-1]

    @property
    def open_s(self) -> float:
        """How long anything goes through."""
        spans = zip(self.edges_s, self.edges_s[1:], self.rate_bit_s, strict=False)
        return sum(end_s - begin_s for begin_s, end_s, rate_bit_s in spans if rate_bit_s > 0)

    def bits_at(self, time_s: float) -> float:
        """What could have gone through until `time_s`."""
        if time_s >= self.edges_s[-1]:
            return self.bits[-1]
        step = bisect_right(self.edges_s, time_s) - 1
        return 0.0 if step < 0 else self.bits[step] + self.rate_bit_s[step] * (time_s - self.edges_s[step])

    def time_at(self, bits: float) -> float:
        """The first time at which `bits` have gone through; infinity if they never do."""
        if bits > self.bits[-1]:
            return math.inf
        step = bisect_left(self.bits, bits) - 1
        if step < 0:
            return self.edges_s[0]
        # Rounding must not lead over the next edge, where another rate begins.
        return min(self.edges_s[step] + (bits - self.bits[step]) / self.rate_bit_s[step], self.edges_s[step + 1])

    def without(self, intervals_s: Sequence[tuple[float, float]]) -> "Profile":
        """The same contact, silent in some intervals of time."""
        inside = [each for pair in intervals_s for each in pair if self.start_s < each < self.end_s]
        edges: NDArray[np.float64] = np.unique(np.array([*self.edges_s, *inside]))
        middles = (edges[:-1] + edges[1:]) / 2
        rates = np.asarray(self.rate_bit_s)[np.searchsorted(self.edges_s, middles, side="right") - 1]
        for begin_s, end_s in intervals_s:
            rates[(middles > begin_s) & (middles < end_s)] = 0.0
        return Profile(edges, rates)
