"""Ground stations: where they are, what they see and how well they hear; the catalogue is ``stations.toml``."""

import difflib
import math
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from taran_eo.config import Settings, load_toml
from taran_eo.errors import ConfigError

Floats = NDArray[np.float64]

_LIGHT_M_S = 299792458.0
"""Speed of light (SI)."""
_A_KM = 6378.137
_F = 1 / 298.257223563
"""Semi-major axis and flattening of the WGS 84 ellipsoid (NIMA TR8350.2)."""


class Station(Settings):
    """A ground station.

    Attributes:
        name: What it is called.
        latitude_deg: Geodetic latitude, north positive.
        longitude_deg: Longitude, east positive.
        altitude_m: Height above the WGS 84 ellipsoid.
        min_elevation_deg: Below this elevation nothing is received.
        antennas: How many satellites it can follow at once.
        g_t_db_k: Gain over system noise temperature of one antenna at the carrier, clear sky; None where
            `dish_m` and `noise_k` are given instead.
        dish_m: Diameter of one antenna.
        noise_k: System noise temperature under a clear sky.
        efficiency: Of the antenna's aperture, where `dish_m` is given.
        uplink: Whether it can send too, so that lost frames may be asked for again.
        source: Where the figures are from.
    """

    name: str = Field(min_length=1)
    latitude_deg: float = Field(ge=-90, le=90)
    longitude_deg: float = Field(ge=-180, le=180)
    altitude_m: float = Field(default=0.0, ge=-500, le=9000)
    min_elevation_deg: float = Field(default=5.0, ge=0, lt=90)
    antennas: int = Field(default=1, ge=1)
    g_t_db_k: float | None = Field(default=None, ge=-50, le=80)
    dish_m: float | None = Field(default=None, gt=0, le=500)
    noise_k: float | None = Field(default=None, gt=0, le=10000)
    efficiency: float = Field(default=0.55, gt=0, le=1)
    uplink: bool = True
    source: str = Field(default="given by the scenario", min_length=1)

    @model_validator(mode="after")
    def _hears(self) -> Self:
        parts = (self.dish_m, self.noise_k)
        if (self.g_t_db_k is None) == (None in parts) or (self.g_t_db_k is not None and parts != (None, None)):
            raise ValueError("give either g_t_db_k, or dish_m and noise_k")
        return self

    def g_t_at(self, frequency_hz: float) -> float:
        """Gain over system noise temperature in dB/K, of the figure given or of the dish at a carrier."""
        if self.dish_m is None or self.noise_k is None:
            assert self.g_t_db_k is not None  # noqa: S101 - checked when the station was made
            return self.g_t_db_k
        return dish_gain_dbi(self.dish_m, frequency_hz, self.efficiency) - 10.0 * math.log10(self.noise_k)

    def position_km(self) -> Floats:
        """Where it is in the frame that turns with the Earth, float64[3].

        Source:
            Snyder, Map Projections: A Working Manual (1987), equation 4-20 for the radius.
        """
        latitude, longitude = math.radians(self.latitude_deg), math.radians(self.longitude_deg)
        e2 = _F * (2.0 - _F)
        radius = _A_KM / math.sqrt(1.0 - e2 * math.sin(latitude) ** 2)
        height = self.altitude_m / 1000.0
        across = (radius + height) * math.cos(latitude)
        return np.array(
            [
                across * math.cos(longitude),
                across * math.sin(longitude),
                (radius * (1.0 - e2) + height) * math.sin(latitude),
            ]
        )

    def axes(self) -> Floats:
        """East, north and up as rows of float64[3, 3]; up is the normal of the ellipsoid."""
        latitude, longitude = math.radians(self.latitude_deg), math.radians(self.longitude_deg)
        sine, cosine = math.sin(latitude), math.cos(latitude)
        east, north = math.sin(longitude), math.cos(longitude)
        return np.array(
            [[-east, north, 0.0], [-sine * north, -sine * east, cosine], [cosine * north, cosine * east, sine]]
        )


def dish_gain_dbi(diameter_m: float, frequency_hz: float, efficiency: float = 0.55) -> float:
    """Gain of a parabolic antenna: efficiency times (pi diameter / wavelength) squared.

    Source:
        Roddy, Satellite Communications, 4th edition (2006), chapter 6.

    Example:
        >>> round(dish_gain_dbi(5.0, 2.2e9, 0.5), 1)
        38.2
    """
    return 10.0 * math.log10(efficiency * (math.pi * diameter_m * frequency_hz / _LIGHT_M_S) ** 2)


class _Catalogue(Settings):
    station: tuple[Station, ...] = Field(min_length=1)


def catalogue() -> tuple[Station, ...]:
    """All stations of ``stations.toml``, in its order."""
    return load_toml(Path(__file__).with_name("stations.toml"), _Catalogue).station


def station(name: str) -> Station:
    """A station of the catalogue.

    Raises:
        ConfigError: There is none of that name; the nearest is named, or all that there are.

    Example:
        >>> station("svalbard").latitude_deg
        78.22977
    """
    known = {found.name: found for found in catalogue()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"There is no station {name} in the catalogue",
            remedy=f"Did you mean {near[0]}?" if near else f"Name one of {', '.join(known)}, or give its place in full",
            station=name,
            known=tuple(known),
        )
    return known[name]
