"""When a satellite is above a station's horizon: rises, culminations and sets, of many satellites and stations."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.instants import Instants
from taran_eo.downlink.orbit import Orbit
from taran_eo.downlink.stations import Station
from taran_eo.downlink.track import STEP_S, Sites, Track, contacts
from taran_eo.errors import ConfigError

Floats = NDArray[np.float64]

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
    # A step more on both sides, so that a peak beside either end is seen.
    instants = Instants.of(start, STEP_S * np.arange(-1.0, math.ceil(duration_s / STEP_S) + 2.0))
    share = max(1, _AT_ONCE // instants.times_s.size)
    groups = [stations[first : first + share] for first in range(0, len(stations), share)]
    found = []
    for orbit in orbits:
        track = Track(instants.times_s, *orbit.earth_fixed(instants))
        for group in groups:
            seen = contacts(track, Sites.of(group), duration_s)
            columns = (seen.rise_s, seen.set_s, seen.culmination_s, seen.max_elevation_deg)
            for place, *facts in zip(seen.which.tolist(), *(column.tolist() for column in columns), strict=True):
                found.append(Pass(orbit.name, group[place].name, *facts))
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
