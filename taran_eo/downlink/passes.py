"""When a satellite is above a station's horizon, and where it then is in the station's sky.

A satellite is propagated once on a grid of minutes; between its points the cubic through both positions and
velocities is right to a metre, so that rises, culminations and sets are found in vectors, without the propagator.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.instants import Instants
from taran_eo.downlink.orbit import Orbit
from taran_eo.downlink.stations import Station
from taran_eo.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP_S = 60.0
"""The cubic errs by step^4 / 384 times the fourth derivative: 0.4 m here for a low orbit, 0.1 ms of its flight."""
_HALVINGS = 20
"""Brings a bracket of two steps below a millisecond."""
_AT_ONCE = 1 << 21
"""Largest number of elevations that are held at once: 16 MiB each array."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A contact of a satellite with a station, in seconds from the start.

    A contact that the start or the end of the span cuts begins or ends there.

    Attributes:
        satellite: Name of the satellite.
        station: Name of the station.
        rise_s: When the satellite climbs above the least elevation.
        set_s: When it sinks below.
        culmination_s: When it is highest.
        max_elevation_deg: How high that is.
    """

    satellite: str
    station: str
    rise_s: float
    set_s: float
    culmination_s: float
    max_elevation_deg: float

    @property
    def duration_s(self) -> float:
        """How long the contact lasts."""
        return self.set_s - self.rise_s


@dataclass(frozen=True, eq=False, slots=True)
class Geometry:
    """Where a satellite is in a station's sky, each float64[times].

    Attributes:
        times_s: Seconds from the start.
        range_km: Distance.
        elevation_deg: Angle above the horizon, without refraction.
        azimuth_deg: From north over east, 0 to 360.
        range_rate_km_s: How fast the distance grows.
    """

    times_s: Floats
    range_km: Floats
    elevation_deg: Floats
    azimuth_deg: Floats
    range_rate_km_s: Floats


def passes(orbits: Sequence[Orbit], stations: Sequence[Station], start: datetime, duration_s: float) -> list[Pass]:
    """All contacts of the satellites with the stations, in the order of their rise.

    A station that sees nothing has no passes: `unseen` names it.

    Args:
        orbits: The satellites, of names that differ.
        stations: The stations, of names that differ.
        start: When the span begins, with a time zone.
        duration_s: How long it is, more than 0.

    Raises:
        ConfigError: No duration, names that occur twice, or an orbit that cannot be followed so far.
    """
    if not 0.0 < duration_s < float("inf"):
        raise ConfigError(
            f"Passes cannot be sought over {duration_s} s", remedy="Give a duration above 0", duration_s=duration_s
        )
    _distinct("satellites", [orbit.name for orbit in orbits])
    _distinct("stations", [place.name for place in stations])
    instants = Instants.of(start, np.append(np.arange(0.0, duration_s, _STEP_S), duration_s))
    share = max(1, _AT_ONCE // instants.times_s.size)
    groups = [stations[first : first + share] for first in range(0, len(stations), share)]
    found = []
    for orbit in orbits:
        track = _Track(instants.times_s, *orbit.earth_fixed(instants))
        for group in groups:
            found += _passes(orbit.name, track, group)
    return sorted(found, key=lambda one: (one.rise_s, one.satellite, one.station))


def unseen(stations: Sequence[Station], found: Sequence[Pass]) -> tuple[str, ...]:
    """Names of the stations without any of the passes found."""
    seen = {one.station for one in found}
    return tuple(place.name for place in stations if place.name not in seen)


def geometry(orbit: Orbit, station: Station, start: datetime, times_s: Floats) -> Geometry:
    """Where a satellite is in a station's sky at given moments, propagated at each.

    Args:
        orbit: The satellite.
        station: The station.
        start: When the seconds are counted from, with a time zone.
        times_s: float64[times], seconds from the start.

    Raises:
        ConfigError: No time zone, or an orbit that cannot be followed so far.
    """
    instants = Instants.of(start, times_s)
    position, velocity = orbit.earth_fixed(instants)
    return _seen(instants.times_s, position - station.position_km(), velocity, station.axes())


def profiles(
    orbits: Sequence[Orbit], stations: Sequence[Station], found: Sequence[Pass], start: datetime, step_s: float = 10.0
) -> Iterator[Geometry]:
    """The geometry through each pass, in the order of `found`.

    Each pass is sampled evenly from rise to set, both included, at steps of at most `step_s`; at least twice.
    All passes of a satellite are computed at once.

    Args:
        orbits: The satellites that `found` names.
        stations: The stations that `found` names.
        found: What `passes` returned, or a part of it.
        start: As given to `passes`.
        step_s: Longest time between two samples.

    Raises:
        ConfigError: A step that is not above 0, or an orbit that cannot be followed.
    """
    if not step_s > 0.0:
        raise ConfigError(f"A step of {step_s} s leads nowhere", remedy="Give a step above 0", step_s=step_s)
    if not found:
        return iter(())
    places = {place.name: place for place in stations}
    named = {orbit.name: orbit for orbit in orbits}
    counts = [max(2, int(np.ceil(one.duration_s / step_s)) + 1) for one in found]
    ends = np.cumsum(counts)
    times = np.concatenate(
        [np.linspace(one.rise_s, one.set_s, count) for one, count in zip(found, counts, strict=True)]
    )
    instants = Instants.of(start, times)
    by_satellite: dict[str, list[int]] = {}
    for index, one in enumerate(found):
        by_satellite.setdefault(one.satellite, []).append(index)
    whole: list[Geometry | None] = [None] * len(found)
    for name, indices in by_satellite.items():
        spans = [slice(int(ends[index]) - counts[index], int(ends[index])) for index in indices]
        chosen = np.concatenate([np.arange(span.start, span.stop) for span in spans])
        position, velocity = named[name].earth_fixed(instants.at(chosen))
        begin = 0
        for index, span in zip(indices, spans, strict=True):
            part = slice(begin, begin + counts[index])
            place = places[found[index].station]
            whole[index] = _seen(times[span], position[part] - place.position_km(), velocity[part], place.axes())
            begin = part.stop
    return (one for one in whole if one is not None)


@dataclass(frozen=True, eq=False, slots=True)
class _Track:
    """A satellite on the grid: float64[times], and km and km/s as float64[times, 3]."""

    times_s: Floats
    position_km: Floats
    velocity_km_s: Floats

    def at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Positions and velocities between the points of the grid, by the cubic of Hermite."""
        last = self.times_s.size - 2
        left = np.minimum((times_s / _STEP_S).astype(np.int64), last)
        step = (self.times_s[left + 1] - self.times_s[left])[:, None]
        u = (times_s - self.times_s[left])[:, None] / step
        p0, p1 = self.position_km[left], self.position_km[left + 1]
        v0, v1 = step * self.velocity_km_s[left], step * self.velocity_km_s[left + 1]
        bend, turn = 3.0 * (p1 - p0) - 2.0 * v0 - v1, 2.0 * (p0 - p1) + v0 + v1
        return p0 + u * (v0 + u * (bend + u * turn)), (v0 + u * (2.0 * bend + 3.0 * u * turn)) / step


@dataclass(frozen=True, eq=False, slots=True)
class _Sites:
    """Stations as arrays: float64[stations, 3] twice, and the sine of the least elevation."""

    position_km: Floats
    up: Floats
    mask: Floats

    @classmethod
    def of(cls, stations: Sequence[Station]) -> "_Sites":
        return cls(
            np.array([place.position_km() for place in stations]),
            np.array([place.axes()[2] for place in stations]),
            np.sin(np.radians([place.min_elevation_deg for place in stations])),
        )

    def over_grid(self, position_km: Floats) -> Floats:
        """Sine of the elevation above the mask, float64[stations, times]."""
        height = self.up @ position_km.T - (self.up * self.position_km).sum(axis=1)[:, None]
        square = (position_km**2).sum(axis=1) - 2.0 * self.position_km @ position_km.T
        square += (self.position_km**2).sum(axis=1)[:, None]
        result: Floats = height / np.sqrt(square) - self.mask[:, None]
        return result

    def above(self, track: _Track, which: Ints, times_s: Floats) -> tuple[Floats, Floats]:
        """For station `which` at each moment: sine of the elevation above the mask, and its rate a second."""
        position, velocity = track.at(times_s)
        sight = position - self.position_km[which]
        up = self.up[which]
        distance = np.sqrt((sight**2).sum(axis=1))
        sine = (sight * up).sum(axis=1) / distance
        rate = ((velocity * up).sum(axis=1) - sine * (sight * velocity).sum(axis=1) / distance) / distance
        return sine - self.mask[which], rate


def _passes(satellite: str, track: _Track, stations: Sequence[Station]) -> list[Pass]:
    """The passes of one satellite over some stations."""
    sites = _Sites.of(stations)
    grid = sites.over_grid(track.position_km)
    times = track.times_s
    # Highest points: each local maximum of the grid has one within a step of it.
    inner = grid[:, 1:-1]
    peak_which, peak_at = np.nonzero((inner >= grid[:, :-2]) & (inner > grid[:, 2:]))
    peaks = _bisected(
        times[peak_at], times[peak_at + 2], lambda moments: sites.above(track, peak_which, moments)[1] > 0.0
    )
    heights = sites.above(track, peak_which, peaks)[0]
    # Rises and sets between points of the grid, and on both sides of a peak that stands between two points.
    seen = grid >= 0.0
    hidden = (heights >= 0.0) & ~seen[peak_which, peak_at + 1]
    up_which, up_at = np.nonzero(~seen[:, :-1] & seen[:, 1:])
    down_which, down_at = np.nonzero(seen[:, :-1] & ~seen[:, 1:])
    first, last = np.flatnonzero(seen[:, 0]), np.flatnonzero(seen[:, -1])
    which = np.concatenate([up_which, peak_which[hidden], down_which, peak_which[hidden]])
    low = np.concatenate([times[up_at], times[peak_at[hidden]], times[down_at], peaks[hidden]])
    high = np.concatenate([times[up_at + 1], peaks[hidden], times[down_at + 1], times[peak_at[hidden] + 2]])
    rising = np.arange(which.size) < up_which.size + hidden.sum()
    edges = _bisected(low, high, lambda moments: (sites.above(track, which, moments)[0] < 0.0) == rising)
    rise_which, rise_s = _ordered(
        np.concatenate([which[rising], first]), np.concatenate([edges[rising], np.full(first.size, times[0])])
    )
    set_which, set_s = _ordered(
        np.concatenate([which[~rising], last]), np.concatenate([edges[~rising], np.full(last.size, times[-1])])
    )
    assert np.array_equal(rise_which, set_which), "each rise has its set"  # noqa: S101
    # The highest of the peaks and of both ends, since a pass that the span cuts may have no peak.
    best_s, best = rise_s.copy(), sites.above(track, rise_which, rise_s)[0]
    span_s = times[-1] + 1.0
    owner = np.searchsorted(rise_which * span_s + rise_s, peak_which * span_s + peaks, side="right") - 1
    inside = (owner >= 0) & (peaks <= set_s[owner]) & (peak_which == rise_which[owner]) if rise_s.size else owner >= 0
    for moments, values, owners in (
        (set_s, sites.above(track, set_which, set_s)[0], np.arange(set_s.size)),
        (peaks[inside], heights[inside], owner[inside]),
    ):
        # In rising order, so that of several peaks of one pass the highest is written last.
        order = np.argsort(values, kind="stable")
        order = order[values[order] > best[owners[order]]]
        best_s[owners[order]], best[owners[order]] = moments[order], values[order]
    elevation = np.degrees(np.arcsin(np.clip(best + sites.mask[rise_which], -1.0, 1.0)))
    return [
        Pass(satellite, stations[place].name, *facts)
        for place, *facts in zip(
            rise_which.tolist(), rise_s.tolist(), set_s.tolist(), best_s.tolist(), elevation.tolist(), strict=True
        )
    ]


def _ordered(which: Ints, moments: Floats) -> tuple[Ints, Floats]:
    order = np.lexsort((moments, which))
    return which[order], moments[order]


def _bisected(low: Floats, high: Floats, go_on: Callable[[Floats], NDArray[np.bool_]]) -> Floats:
    """Where `go_on` turns from true to false, between `low` and `high`, all at once."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        further = go_on(middle)
        low, high = np.where(further, middle, low), np.where(further, high, middle)
    return 0.5 * (low + high)


def _seen(times_s: Floats, sight: Floats, velocity: Floats, axes: Floats) -> Geometry:
    """The geometry of lines of sight and velocities, both float64[times, 3] in the turning frame."""
    distance = np.sqrt((sight**2).sum(axis=1))
    east, north, up = axes @ sight.T
    return Geometry(
        times_s,
        distance,
        np.degrees(np.arcsin(np.clip(up / distance, -1.0, 1.0))),
        np.degrees(np.arctan2(east, north)) % 360.0,
        (sight * velocity).sum(axis=1) / distance,
    )


def _distinct(kind: str, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ConfigError(
            f"Two {kind} are called {twice[0]}", remedy=f"Give each of the {kind} a name of its own", name=twice[0]
        )
