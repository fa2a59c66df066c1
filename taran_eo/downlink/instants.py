"""Moments of time, and the way that the Earth is turned at each."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sgp4.conveniences import jday_datetime
from skyfield.api import load
from skyfield.sgp4lib import theta_GMST1982

from taran_eo.errors import ConfigError

Floats = NDArray[np.float64]

DAY_S = 86400.0


@dataclass(frozen=True, eq=False, slots=True)
class Instants:
    """Moments of time, with the way that the Earth is turned at each: made once for any number of orbits.

    Attributes:
        times_s: float64[times], seconds from the start.
        days: float64[times], whole part of the Julian date in UTC.
        fractions: float64[times], rest of the Julian date.
        angles_rad: float64[times], Greenwich mean sidereal time.
        rate_rad_s: How fast that angle grows.
    """

    times_s: Floats
    days: Floats
    fractions: Floats
    angles_rad: Floats
    rate_rad_s: float

    @classmethod
    def of(cls, start: datetime, times_s: Floats) -> "Instants":
        """The moments `times_s` seconds after `start`.

        The difference of UT1 and UTC is that of the start throughout: it drifts by about a millisecond a day.

        Raises:
            ConfigError: `start` has no time zone.
        """
        start = utc(start)
        whole, fraction = jday_datetime(start)
        ut1_days = _timescale().from_datetime(start).dut1 / DAY_S
        fractions = fraction + np.asarray(times_s, dtype=np.float64) / DAY_S
        carried = np.floor(fractions)
        days, fractions = whole + carried, fractions - carried
        angles, rates = theta_GMST1982(days, fractions + ut1_days)
        return cls(np.asarray(times_s, dtype=np.float64), days, fractions, angles, float(rates.flat[0]) / DAY_S)

    def at(self, which: NDArray[np.int64]) -> "Instants":
        """Some of the moments."""
        return Instants(
            self.times_s[which], self.days[which], self.fractions[which], self.angles_rad[which], self.rate_rad_s
        )


@cache
def _timescale() -> Any:  # noqa: ANN401  skyfield has no types
    """The leap seconds and the rotation of the Earth that come with skyfield: no network."""
    return load.timescale(builtin=True)


def utc(moment: datetime) -> datetime:
    """The moment in UTC.

    Raises:
        ConfigError: It has no time zone.
    """
    if moment.tzinfo is None:
        raise ConfigError(
            f"The time {moment.isoformat()} has no time zone",
            remedy="Give it in UTC, as 2026-11-20T00:00:00Z",
            moment=moment,
        )
    return moment.astimezone(UTC)
