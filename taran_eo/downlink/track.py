"""A satellite between the points of a grid of minutes, and how high it stands over stations.

Between two points the cubic through both positions and velocities is right to a metre, so that the moments of a pass
are found in vectors, without the propagator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.stations import Station

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP_S = 60.0
"""The cubic errs by step^4 / 384 times the fourth derivative: 0.4 m here for a low orbit, 0.1 ms of its flight."""
_HALVINGS = 8
"""Brings a bracket of two steps to half a second, over which all is straight to a millisecond."""


@dataclass(frozen=True, eq=False, slots=True)
class Track:
    """A satellite on the grid: float64[times], and km and km/s as float64[times, 3]."""

    times_s: Floats
    position_km: Floats
    velocity_km_s: Floats

    def at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Positions and velocities between the points of the grid, by the cubic of Hermite."""
        steps = (times_s - self.times_s[0]) / STEP_S
        left = np.minimum(steps.astype(np.int64), self.times_s.size - 2)
        u = (steps - left)[:, None]
        p0, v0 = self.position_km[left], STEP_S * self.velocity_km_s[left]
        whole, v1 = self.position_km[left + 1] - p0, STEP_S * self.velocity_km_s[left + 1]
        bend, turn = 3.0 * whole - 2.0 * v0 - v1, v0 + v1 - 2.0 * whole
        return p0 + u * (v0 + u * (bend + u * turn)), (v0 + u * (2.0 * bend + 3.0 * u * turn)) / STEP_S


@dataclass(frozen=True, eq=False, slots=True)
class Sites:
    """Stations as arrays: float64[stations, 3] twice, and the sine of the least elevation."""

    position_km: Floats
    up: Floats
    mask: Floats

    @classmethod
    def of(cls, stations: Sequence[Station]) -> "Sites":
        """The arrays of some stations."""
        return cls(
            np.array([place.position_km() for place in stations]),
            np.array([place.axes()[2] for place in stations]),
            np.sin(np.radians([place.min_elevation_deg for place in stations])),
        )

    def over_grid(self, position_km: Floats) -> Floats:
        """Sine of the elevation above the mask, float64[stations, times]."""
        height = self.up @ position_km.T - _dot(self.up, self.position_km)[:, None]
        square = _dot(position_km, position_km) - 2.0 * self.position_km @ position_km.T
        square += _dot(self.position_km, self.position_km)[:, None]
        result: Floats = height / np.sqrt(square) - self.mask[:, None]
        return result

    def above(self, track: Track, which: Ints, times_s: Floats) -> Floats:
        """For station `which` at each moment: sine of the elevation above the mask."""
        return self._with_rate(track, which, times_s)[0]

    def climb(self, track: Track, which: Ints, times_s: Floats) -> Floats:
        """How fast that sine grows, a second."""
        return self._with_rate(track, which, times_s)[1]

    def _with_rate(self, track: Track, which: Ints, times_s: Floats) -> tuple[Floats, Floats]:
        position, velocity = track.at(times_s)
        sight = position - self.position_km[which]
        up = self.up[which]
        distance = np.sqrt(_dot(sight, sight))
        sine = _dot(sight, up) / distance
        rate = (_dot(velocity, up) - sine * _dot(sight, velocity) / distance) / distance
        return sine - self.mask[which], rate


@dataclass(frozen=True, eq=False, slots=True)
class Contacts:
    """Contacts of one satellite as arrays, in order of station and time.

    Attributes:
        which: int64[contacts], place of the station.
        rise_s: float64[contacts], seconds from the start.
        set_s: float64[contacts].
        culmination_s: float64[contacts].
        max_elevation_deg: float64[contacts].
    """

    which: Ints
    rise_s: Floats
    set_s: Floats
    culmination_s: Floats
    max_elevation_deg: Floats


def contacts(track: Track, sites: Sites, duration_s: float) -> Contacts:
    """The contacts of one satellite with some stations, cut to the span from 0 to `duration_s`."""
    grid = sites.over_grid(track.position_km)
    times = track.times_s
    # Highest points: each local maximum of the grid has one within a step of it, unless it is so far below the
    # horizon that a step does not lead above.
    inner = grid[:, 1:-1]
    peak_which, peak_at = np.nonzero((inner >= grid[:, :-2]) & (inner > grid[:, 2:]))
    fastest_km_s = float(np.sqrt(_dot(track.velocity_km_s, track.velocity_km_s).max()))
    depth_km = _dot(sites.position_km[peak_which] - track.position_km[peak_at + 1], sites.up[peak_which])
    near = depth_km <= STEP_S * fastest_km_s
    peak_which, peak_at = peak_which[near], peak_at[near]
    peaks = _crossed(times[peak_at], times[peak_at + 2], partial(sites.climb, track, peak_which))
    heights = sites.above(track, peak_which, peaks)
    # Rises and sets between points of the grid, and on both sides of a peak that stands between two points.
    seen = grid >= 0.0
    hidden = (heights >= 0.0) & ~seen[peak_which, peak_at + 1]
    up_which, up_at = np.nonzero(~seen[:, :-1] & seen[:, 1:])
    down_which, down_at = np.nonzero(seen[:, :-1] & ~seen[:, 1:])
    first, last = np.flatnonzero(seen[:, 0]), np.flatnonzero(seen[:, -1])
    which_of_edges = np.concatenate([up_which, peak_which[hidden], down_which, peak_which[hidden]])
    low = np.concatenate([times[up_at], times[peak_at[hidden]], times[down_at], peaks[hidden]])
    high = np.concatenate([times[up_at + 1], peaks[hidden], times[down_at + 1], times[peak_at[hidden] + 2]])
    rising = np.arange(which_of_edges.size) < up_which.size + hidden.sum()
    sign = np.where(rising, -1.0, 1.0)
    edges = _crossed(low, high, lambda moments: sign * sites.above(track, which_of_edges, moments))
    which, rise_s = _ordered(
        np.concatenate([which_of_edges[rising], first]), np.concatenate([edges[rising], np.full(first.size, times[0])])
    )
    _, set_s = _ordered(
        np.concatenate([which_of_edges[~rising], last]),
        np.concatenate([edges[~rising], np.full(last.size, times[-1])]),
    )
    rise_s, set_s = np.maximum(rise_s, 0.0), np.minimum(set_s, duration_s)
    held = rise_s < set_s
    which, rise_s, set_s = which[held], rise_s[held], set_s[held]
    # The highest of the peaks and of both ends, since a pass that the span cuts may have no peak.
    best_s, best = rise_s.copy(), sites.above(track, which, rise_s)
    owner = _owner(which, rise_s, set_s, peak_which, peaks)
    for moments, values, owners in (
        (set_s, sites.above(track, which, set_s), np.arange(set_s.size)),
        (peaks[owner >= 0], heights[owner >= 0], owner[owner >= 0]),
    ):
        # In rising order, so that of several peaks of one pass the highest is written last.
        order = np.argsort(values, kind="stable")
        order = order[values[order] > best[owners[order]]]
        best_s[owners[order]], best[owners[order]] = moments[order], values[order]
    elevation = np.degrees(np.arcsin(np.clip(best + sites.mask[which], -1.0, 1.0)))
    return Contacts(which, rise_s, set_s, best_s, elevation)


def _owner(which: Ints, rise_s: Floats, set_s: Floats, peak_which: Ints, peaks: Floats) -> Ints:
    """The pass that each peak is in, -1 for none; passes are in order of station and time."""
    if not which.size:
        return np.full(peaks.size, -1)
    # A moment that counts on from station to station.
    lap_s = 2.0 * max(float(set_s.max()), float(np.max(np.abs(peaks), initial=0.0))) + 1.0
    owner = np.searchsorted(which * lap_s + rise_s, peak_which * lap_s + peaks, side="right") - 1
    held = (owner >= 0) & (which[owner] == peak_which) & (peaks <= set_s[owner])
    return np.where(held, owner, -1)


def _ordered(which: Ints, moments: Floats) -> tuple[Ints, Floats]:
    order = np.lexsort((moments, which))
    return which[order], moments[order]


def _crossed(low: Floats, high: Floats, value: Callable[[Floats], Floats]) -> Floats:
    """Where `value` falls from above 0 at `low` to below at `high`, for all at once."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        further = value(middle) > 0.0
        low, high = np.where(further, middle, low), np.where(further, high, middle)
    above, below = np.maximum(value(low), 0.0), np.maximum(-value(high), 0.0)
    # Straight from here on; in the middle where both are 0, as at a satellite that stands still in the sky.
    share: Floats = np.divide(above, above + below, out=np.full_like(above, 0.5), where=above + below > 0.0)
    return low + share * (high - low)


def _dot(first: Floats, second: Floats) -> Floats:
    """Inner products of float64[n, 3]."""
    result: Floats = np.einsum("ij,ij->i", first, second)
    return result
