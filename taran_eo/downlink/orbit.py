"""Where a satellite is: two-line elements, propagated by SGP4 and turned with the Earth.

An `Orbit` is the text of a two-line element set (TLE), whether it came from a catalogue or was made of an
altitude: so there is one propagator, and every orbit can be handed to any other program.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sgp4.api import SGP4_ERRORS, WGS72, Satrec
from sgp4.conveniences import jday_datetime, sat_epoch_datetime
from sgp4.exporter import export_tle

from taran_eo.downlink import tle
from taran_eo.downlink.instants import DAY_S, Instants, utc
from taran_eo.errors import ConfigError, CorruptDataError

Floats = NDArray[np.float64]

EARTH_RADIUS_KM = 6378.135
"""Equatorial radius of WGS 72, the one in SGP4 (Hoots and Roehrich, Spacetrack Report No. 3, 1980)."""
EARTH_MU_KM3_S2 = 398600.8
"""Gravitational parameter of WGS 72 (as above)."""
EARTH_J2 = 0.001082616
"""Second zonal harmonic of WGS 72 (as above)."""
_TROPICAL_YEAR_DAYS = 365.2421897
"""Mean tropical year (Meeus, Astronomical Algorithms, 2nd edition, chapter 27)."""
_LOWEST_KM, _HIGHEST_KM = 150.0, 50000.0
"""Below, an orbit decays within a day; above, SGP4 is no model any more."""


@dataclass(frozen=True, slots=True)
class Orbit:
    """A satellite's orbit as its two-line element set.

    Attributes:
        name: What the satellite is called; unique among those that fly together.
        line1: First line, 69 characters with the checksum.
        line2: Second line, likewise.
    """

    name: str
    line1: str
    line2: str

    @classmethod
    def from_tle(cls, text: str) -> "Orbit":
        """The orbit of an element set of two lines, or of three with the name before.

        Args:
            text: The lines. Without a name, the satellite is called by its catalogue number.

        Raises:
            CorruptDataError: A character that is not ASCII, another number of lines, a line that is too short
                or too long, a column that holds what it should not, a wrong checksum, lines of two satellites,
                or elements of an orbit that has decayed.

        Source:
            CelesTrak, NORAD Two-Line Element Set Format.
        """
        if not text.isascii():
            place = next(place for place, letter in enumerate(text) if not letter.isascii())
            raise CorruptDataError(
                f"The TLE holds {text[place]!r} as character {place + 1}, which is not ASCII",
                remedy=tle.COPY,
                place=place,
            )
        lines = [line.rstrip() for line in text.strip("\r\n").splitlines()]
        if len(lines) not in (2, 3):
            raise CorruptDataError(
                f"The TLE has {len(lines)} lines instead of 2, or 3 with a name", remedy=tle.COPY, lines=len(lines)
            )
        line1, line2 = lines[-2:]
        for number, line in enumerate((line1, line2), start=1):
            tle.check_line(number, line)
        if line1[2:7] != line2[2:7]:
            raise CorruptDataError(
                f"Line 1 of the TLE is of satellite {line1[2:7]} and line 2 of {line2[2:7]}", remedy=tle.COPY
            )
        name = lines[0].removeprefix("0 ").strip() if len(lines) == 3 else ""
        orbit = cls(name or line1[2:7].strip(), line1, line2)
        error = orbit.satrec().sgp4_tsince(0.0)[0]
        if error:
            raise CorruptDataError(
                f"The TLE of {orbit.name} has no orbit: {SGP4_ERRORS[error]}",
                remedy="Take an element set of a satellite that still flies",
                satellite=orbit.name,
            )
        return orbit

    @classmethod
    def sun_synchronous(
        cls,
        altitude_km: float,
        epoch: datetime,
        *,
        ltan_h: float = 10.5,
        phase_deg: float = 0.0,
        name: str = "satellite",
    ) -> "Orbit":
        """A circular orbit whose plane keeps its angle to the mean Sun.

        Args:
            altitude_km: Mean height above the equatorial radius.
            epoch: When the satellite is at `phase_deg`.
            ltan_h: Mean local time of the ascending node, hours from 0 to 24.
            phase_deg: Angle from the ascending node along the orbit, at the epoch.
            name: What the satellite is called.

        Raises:
            ConfigError: An altitude out of range or too high for such an orbit, or no time of day.

        Source:
            The node turns once a tropical year: Vallado, Fundamentals of Astrodynamics, 4th edition, chapter 11.

        Example:
            >>> orbit = Orbit.sun_synchronous(600, datetime(2026, 11, 20, tzinfo=UTC))
            >>> round(orbit.inclination_deg, 2)
            97.79
        """
        if not 0.0 <= ltan_h < 24.0:
            raise ConfigError(
                f"A local time of the ascending node of {ltan_h} h is no time of day",
                remedy="Give hours from 0 up to, not including, 24",
                ltan_h=ltan_h,
            )
        radius_km = _radius_km(altitude_km)
        motion = _mean_motion_rad_s(radius_km)
        wanted_rad_s = 2.0 * math.pi / (_TROPICAL_YEAR_DAYS * DAY_S)
        cosine = -wanted_rad_s / (1.5 * EARTH_J2 * (EARTH_RADIUS_KM / radius_km) ** 2 * motion)
        if cosine < -1.0:
            raise ConfigError(
                f"No orbit at {altitude_km} km is sun-synchronous: above 5974 km none is",
                remedy="Lower the altitude, or use an orbit of another kind",
                altitude_km=altitude_km,
            )
        epoch = utc(epoch)
        sidereal_deg = math.degrees(float(Instants.of(epoch, np.zeros(1)).angles_rad[0]))
        hours = (epoch - epoch.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(hours=1)
        node_deg = sidereal_deg + 15.0 * (ltan_h - hours)
        inclination_deg = math.degrees(math.acos(cosine))
        return cls.circular(altitude_km, inclination_deg, epoch, node_deg=node_deg, phase_deg=phase_deg, name=name)

    @classmethod
    def circular(
        cls,
        altitude_km: float,
        inclination_deg: float,
        epoch: datetime,
        *,
        node_deg: float = 0.0,
        phase_deg: float = 0.0,
        name: str = "satellite",
    ) -> "Orbit":
        """A circular orbit without drag.

        Args:
            altitude_km: Mean height above the equatorial radius.
            inclination_deg: Angle of the plane to the equator, 0 to 180.
            epoch: When the satellite is at `phase_deg`.
            node_deg: Right ascension of the ascending node.
            phase_deg: Angle from the ascending node along the orbit, at the epoch.
            name: What the satellite is called.

        Raises:
            ConfigError: An altitude or an inclination out of range.
        """
        if not 0.0 <= inclination_deg <= 180.0:
            raise ConfigError(
                f"An inclination of {inclination_deg} degrees is not between 0 and 180",
                remedy="Give the angle between the plane of the orbit and the equator",
                inclination_deg=inclination_deg,
            )
        motion_rad_min = _mean_motion_rad_s(_radius_km(altitude_km)) * 60.0
        day, fraction = jday_datetime(utc(epoch))
        satrec = Satrec()
        satrec.sgp4init(
            WGS72,
            "i",
            1,  # catalogue number
            day - 2433281.5 + fraction,  # days since 1949 December 31 00:00 UT
            0.0,  # drag
            0.0,
            0.0,
            0.0,  # eccentricity
            0.0,  # argument of perigee
            math.radians(inclination_deg),
            math.radians(phase_deg % 360.0),
            motion_rad_min,
            math.radians(node_deg % 360.0),
        )
        return cls(name, *export_tle(satrec))

    def satrec(self) -> Satrec:
        """The propagator of SGP4, made anew: it can neither be compared nor sent to another process."""
        return Satrec.twoline2rv(self.line1, self.line2)

    @property
    def text(self) -> str:
        """The element set in three lines, the first with the name; `from_tle` reads it."""
        return f"{self.name}\n{self.line1}\n{self.line2}\n"

    @property
    def epoch(self) -> datetime:
        """When the elements hold, UTC."""
        found: datetime = sat_epoch_datetime(self.satrec())
        return found.astimezone(UTC)

    @property
    def inclination_deg(self) -> float:
        """Angle of the plane to the equator."""
        return float(self.line2[8:16])

    @property
    def node_deg(self) -> float:
        """Right ascension of the ascending node."""
        return float(self.line2[17:25])

    @property
    def mean_anomaly_deg(self) -> float:
        """Mean anomaly at the epoch."""
        return float(self.line2[43:51])

    @property
    def period_s(self) -> float:
        """Time of one revolution."""
        return DAY_S / float(self.line2[52:63])

    @property
    def _semi_major_km(self) -> float:
        return math.cbrt(EARTH_MU_KM3_S2 * (self.period_s / (2.0 * math.pi)) ** 2)

    @property
    def altitude_km(self) -> float:
        """Mean height above the equatorial radius, of the mean motion."""
        return self._semi_major_km - EARTH_RADIUS_KM

    @property
    def perigee_km(self) -> float:
        """Least height above the equatorial radius."""
        return self._semi_major_km * (1.0 - float(f"0.{self.line2[26:33]}")) - EARTH_RADIUS_KM

    @property
    def apogee_km(self) -> float:
        """Largest height above the equatorial radius."""
        return self._semi_major_km * (1.0 + float(f"0.{self.line2[26:33]}")) - EARTH_RADIUS_KM

    def earth_fixed(self, instants: Instants) -> tuple[Floats, Floats]:
        """Where the satellite is in the frame that turns with the Earth.

        Args:
            instants: The moments.

        Returns:
            Positions in km and velocities in km/s, each float64[times, 3].

        Raises:
            ConfigError: SGP4 has no position at one of the moments, as after a decay.

        Source:
            TEME to pseudo-Earth-fixed: Vallado et al., Revisiting Spacetrack Report #3, AIAA 2006-6753,
            appendix C. Polar motion (10 m) is left out.
        """
        errors, position, velocity = self.satrec().sgp4_array(instants.days, instants.fractions)
        if errors.any():
            first = int(np.flatnonzero(errors)[0])
            raise ConfigError(
                f"The orbit of {self.name} cannot be followed to {instants.times_s[first]:.0f} s from the start, "
                f"its elements being of {self.epoch:%Y-%m-%d}: {SGP4_ERRORS[int(errors[first])]}",
                remedy="Take elements nearer to the start, or a higher orbit",
                satellite=self.name,
            )
        cosine, sine = np.cos(instants.angles_rad), np.sin(instants.angles_rad)
        fixed = _turned(position, cosine, sine)
        moving = _turned(velocity, cosine, sine)
        moving[:, 0] += instants.rate_rad_s * fixed[:, 1]
        moving[:, 1] -= instants.rate_rad_s * fixed[:, 0]
        return fixed, moving


def constellation(
    first: Orbit, satellites: int, planes: int, *, phasing: int = 1, spread_deg: float = 360.0
) -> tuple[Orbit, ...]:
    """A Walker constellation: copies of an orbit in planes turned about the Earth's axis.

    Args:
        first: The satellite that the others are shifted from.
        satellites: How many there are in all.
        planes: How many planes they share; divides `satellites`.
        phasing: By how many times 360 / `satellites` degrees a satellite is ahead of its neighbour in the plane
            before.
        spread_deg: Over which angle the ascending nodes are spread: 360 for a Walker delta, 180 for a star.

    Returns:
        The satellites plane by plane, named ``<first>-<plane>-<place>``.

    Raises:
        ConfigError: Counts that do not divide, or an angle out of range.

    Source:
        Walker, Satellite constellations, Journal of the British Interplanetary Society 37 (1984), page 559 and on.

    Example:
        >>> first = Orbit.sun_synchronous(600, datetime(2026, 11, 20, tzinfo=UTC), name="w")
        >>> [orbit.name for orbit in constellation(first, 4, 2)]
        ['w-1-1', 'w-1-2', 'w-2-1', 'w-2-2']
    """
    if planes < 1 or satellites < 1 or satellites % planes:
        raise ConfigError(
            f"{satellites} satellites cannot be shared evenly by {planes} planes",
            remedy="Give a number of satellites that is a multiple of that of planes, both at least 1",
            satellites=satellites,
            planes=planes,
        )
    if not 0.0 < spread_deg <= 360.0:
        raise ConfigError(
            f"Ascending nodes cannot be spread over {spread_deg} degrees",
            remedy="Give more than 0 and at most 360 degrees",
            spread_deg=spread_deg,
        )
    share = satellites // planes
    return tuple(
        _shifted(
            first,
            f"{first.name}-{plane + 1}-{place + 1}",
            node_deg=plane * spread_deg / planes,
            along_deg=place * 360.0 / share + plane * phasing * 360.0 / satellites,
        )
        for plane in range(planes)
        for place in range(share)
    )


def _shifted(orbit: Orbit, name: str, *, node_deg: float, along_deg: float) -> Orbit:
    node = tle.angle(orbit.node_deg + node_deg)
    anomaly = tle.angle(orbit.mean_anomaly_deg + along_deg)
    line2 = f"{orbit.line2[:17]}{node}{orbit.line2[25:43]}{anomaly}{orbit.line2[51:68]}"
    return Orbit(name, orbit.line1, f"{line2}{tle.checksum(line2)}")


def _radius_km(altitude_km: float) -> float:
    if not _LOWEST_KM <= altitude_km <= _HIGHEST_KM:
        raise ConfigError(
            f"An altitude of {altitude_km} km is not between {_LOWEST_KM:.0f} and {_HIGHEST_KM:.0f} km",
            remedy="Give the height of the orbit above the ground in kilometres",
            altitude_km=altitude_km,
        )
    return EARTH_RADIUS_KM + altitude_km


def _mean_motion_rad_s(radius_km: float) -> float:
    return math.sqrt(EARTH_MU_KM3_S2 / radius_km**3)


def _turned(vectors: Floats, cosine: Floats, sine: Floats) -> Floats:
    """Vectors float64[times, 3] in a frame turned about the third axis."""
    first, second, third = vectors.T
    return np.stack([cosine * first + sine * second, cosine * second - sine * first, third], axis=1)
