"""When a satellite flies over the sunlit side: the direction of the Sun, and the noon of each revolution."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.instants import Instants
from taran_eo.downlink.orbit import Orbit

Floats = NDArray[np.float64]

_J2000 = 2451545.0
_STEP_S = 30.0


def sun_direction(julian_days: Floats) -> Floats:
    """The direction of the Sun from the Earth, float64[times, 3], unit vectors of the mean equator and equinox.

    Args:
        julian_days: float64[times]; which of the time scales matters less than the error, 0.01 degrees.

    Source:
        The Astronomical Almanac, section C, low precision formulas for the Sun.
    """
    days = julian_days - _J2000
    anomaly = np.radians(357.528 + 0.9856003 * days)
    longitude = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 4e-7 * days)
    across = np.sin(longitude)
    return np.stack([np.cos(longitude), np.cos(obliquity) * across, np.sin(obliquity) * across], axis=-1)


def noons_s(orbit: Orbit, start: datetime, duration_s: float) -> Floats:
    """When the satellite is nearest to the point under the Sun, once a revolution, to half a minute.

    Args:
        orbit: The satellite.
        start: When the seconds are counted from, with a time zone.
        duration_s: How long; noons up to half a revolution before and after are among the result.

    Returns:
        float64[revolutions], rising; a revolution more than there is time for.
    """
    around_s = orbit.period_s / 2 + _STEP_S
    instants = Instants.of(start, np.arange(-around_s, duration_s + around_s + _STEP_S, _STEP_S))
    # Where SGP4 has no position, finding passes has already refused the orbit.
    _, positions, _ = orbit.satrec().sgp4_array(instants.days, instants.fractions)
    towards = (positions * sun_direction(instants.days + instants.fractions)).sum(axis=1)
    highest = (towards[1:-1] > towards[:-2]) & (towards[1:-1] >= towards[2:])
    result: Floats = instants.times_s[1:-1][highest]
    return result
