"""A radio link: the transmitter on board and its waveform, and the signal and the rate that reach a station."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from taran_eo.config import Settings
from taran_eo.downlink.atmosphere import itu_loss_db
from taran_eo.downlink.modcod import (
    AMPLIFIER_LOSS_DB,
    CCSDS_WHOLE_FRAMES,
    DVB_S2,
    FAMILIES,
    Coding,
    ModCod,
    best_modcods,
    named,
)
from taran_eo.downlink.stations import Station
from taran_eo.errors import ConfigError

Floats = NDArray[np.float64]

LIGHT_KM_S = 299792.458
"""Speed of light (SI)."""
BOLTZMANN_DBW_K_HZ = 10.0 * math.log10(1.380649e-23)
"""The Boltzmann constant (SI), -228.6 dBW/K/Hz."""
_EARTH_RADIUS_KM = 6371.0
"""Mean radius, for the range at an elevation (IUGG 1980)."""
_ELEVATIONS_DEG = (*range(5, 30), *range(30, 91, 5))
"""Where losses are computed; between them they are interpolated, to some hundredths of a decibel."""
_AIR_K, _SPACE_K = 275.0, 2.7
"""Of what absorbs in the atmosphere, and of what lies behind it (ITU-R P.618-13, section 3)."""


Loss = Annotated[float, Field(ge=0, le=30)]


class Link(Settings):
    """A transmitter on board, its waveform, and what is lost on the way.

    The atmosphere's losses are those at 5 degrees of elevation; higher up, they fall with the path through the air.

    Attributes:
        frequency_hz: Carrier frequency.
        power_w: Saturated power of the amplifier.
        antenna_gain_dbi: Gain of the antenna along its axis, which follows the station.
        amplifier_loss_db: What the saturated amplifier costs a modulation, back-off and distortion together; for
            those that are not given, `modcod.AMPLIFIER_LOSS_DB`.
        feeder_loss_db: Between amplifier and antenna.
        pointing_loss_db: Of both antennas together.
        polarization_loss_db: Mismatch of polarization.
        atmosphere_loss_db: Gases, clouds, rain and scintillation that constant and variable coding plan for, the same
            at every station.
        unavailable_percent: Share of an average year in which that may be more, 0.001 to 5: what constant and variable
            coding plan for is then computed for the place of each station, in place of `atmosphere_loss_db` (ITU-R
            P.618, extra ``itu``). None for the fixed loss.
        clear_sky_loss_db: What there is most of the time, which is what adaptive coding uses.
        implementation_loss_db: Of modem and filters, against an ideal receiver.
        symbol_rate_sym_s: Symbols a second.
        roll_off: Of the root raised cosine filter.
        pilots: Whether DVB-S2 frames carry pilots.
        family: Which modes there are.
        coding: Who decides on the mode.
        modcod: The one mode of constant coding; `budget.fixed_for` finds it.
        margin_db: What constant and variable coding leave over.
        adaptive_margin_db: What adaptive coding leaves over, against the delay of the return link.
    """

    frequency_hz: float = Field(default=8.2e9, gt=1e8, lt=1e12)
    power_w: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    antenna_gain_dbi: float = Field(default=6.0, ge=-20, le=70)
    amplifier_loss_db: dict[Literal["BPSK", "QPSK", "8PSK", "16APSK", "32APSK"], Loss] = Field(default_factory=dict)
    feeder_loss_db: float = Field(default=1.0, ge=0, le=30)
    pointing_loss_db: float = Field(default=0.5, ge=0, le=30)
    polarization_loss_db: float = Field(default=0.3, ge=0, le=30)
    atmosphere_loss_db: float = Field(default=2.0, ge=0, le=60)
    unavailable_percent: float | None = Field(default=None, ge=0.001, le=5)
    clear_sky_loss_db: float = Field(default=0.6, ge=0, le=60)
    implementation_loss_db: float = Field(default=1.5, ge=0, le=30)
    symbol_rate_sym_s: float = Field(default=50e6, gt=0, allow_inf_nan=False)
    roll_off: float = Field(default=0.35, ge=0, le=1)
    pilots: bool = True
    family: Literal["dvb-s2", "ccsds"] = "dvb-s2"
    coding: Coding = Coding.VARIABLE
    modcod: str | None = None
    margin_db: float = Field(default=3.0, ge=0, le=60)
    adaptive_margin_db: float = Field(default=1.0, ge=0, le=60)

    @model_validator(mode="after")
    def _one_or_many_modes(self) -> Self:
        if self.family == "ccsds" and self.coding is not Coding.CONSTANT:
            raise ValueError(
                f"link.coding = {self.coding.value!r}, but a mission has one code of link.family = 'ccsds'; "
                "set link.coding to 'constant'"
            )
        if self.modcod is not None and self.coding is not Coding.CONSTANT:
            raise ValueError(
                f"link.modcod = {self.modcod!r}, but link.coding = {self.coding.value!r} chooses among all modes; "
                "set it to 'constant', or leave the mode out"
            )
        return self

    @property
    def modcods(self) -> tuple[ModCod, ...]:
        """The modes to choose from; a mode of `FAMILIES` that is not among them has to be named."""
        return DVB_S2 if self.family == "dvb-s2" else CCSDS_WHOLE_FRAMES

    @property
    def losses_db(self) -> Mapping[str, float]:
        """What the amplifier costs each modulation."""
        return {**AMPLIFIER_LOSS_DB, **{str(name): loss for name, loss in self.amplifier_loss_db.items()}}

    @property
    def bandwidth_hz(self) -> float:
        """What the signal occupies."""
        return self.symbol_rate_sym_s * (1.0 + self.roll_off)

    @property
    def eirp_dbw(self) -> float:
        """What an isotropic antenna would have to radiate, the amplifier saturated."""
        return decibels(self.power_w) + self.antenna_gain_dbi - self.feeder_loss_db


def es_n0_db(link: Link, station: Station, range_km: Floats, elevation_deg: Floats) -> Floats:
    """Energy of a symbol over noise density, before what the amplifier costs a mode.

    Args:
        link: The satellite's side.
        station: The ground's side.
        range_km: float64[...], distance.
        elevation_deg: float64[...], in the station's sky.

    Returns:
        float64[...], decibels.
    """
    losses = link.pointing_loss_db + link.polarization_loss_db + link.implementation_loss_db
    gains = link.eirp_dbw + station.g_t_at(link.frequency_hz) - BOLTZMANN_DBW_K_HZ
    path = free_space_loss_db(range_km, link.frequency_hz) + atmosphere_db(link, station, elevation_deg)
    return gains - losses - decibels(link.symbol_rate_sym_s) - path - sky_noise_db(link, station, elevation_deg)


def rates_bit_s(link: Link, station: Station, range_km: Floats, elevation_deg: Floats) -> Floats:
    """Bits of data a second along a pass; 0 where no mode closes with the margin.

    Adaptive coding needs a return link: over a station without uplink, the satellite codes variably.

    Args:
        link: The satellite's side; with constant coding its mode must be named.
        station: The ground's side.
        range_km: float64[...], distance.
        elevation_deg: float64[...], in the station's sky.

    Returns:
        float64[...].

    Raises:
        ConfigError: Constant coding without a mode, or a mode of another family.
    """
    margin = kept_margin_db(link, station)
    modes = usable_modcods(link)
    carried = np.array([0.0, *(mode.rate_bit_s(link.symbol_rate_sym_s, pilots=link.pilots) for mode in modes)])
    signal = es_n0_db(link, station, range_km, elevation_deg)
    result: Floats = carried[best_modcods(signal, margin, modes, link.losses_db) + 1]
    return result


def decibels(ratio: float) -> float:
    """10 log10 of a ratio above 0."""
    return 10.0 * math.log10(ratio)


def free_space_loss_db(range_km: Floats, frequency_hz: float) -> Floats:
    """Loss between isotropic antennas: 20 log10(4 pi distance / wavelength).

    Source:
        ITU-R P.525-4, equation 3.
    """
    result: Floats = 20.0 * np.log10(4.0 * math.pi * range_km * frequency_hz / LIGHT_KM_S)
    return result


def slant_range_km(altitude_km: float, elevation_deg: Floats) -> Floats:
    """Distance to a satellite at an elevation, on a sphere.

    Source:
        Roddy, Satellite Communications, 4th edition (2006), chapter 3, by the law of cosines.
    """
    rise = _EARTH_RADIUS_KM * np.sin(np.radians(elevation_deg))
    return np.sqrt(rise**2 + altitude_km * (altitude_km + 2.0 * _EARTH_RADIUS_KM)) - rise


def _adapts(link: Link, station: Station) -> bool:
    return link.coding is Coding.ADAPTIVE and station.uplink


def kept_margin_db(link: Link, station: Station) -> float:
    """What is left over above the need of a mode, by the coding in use over a station."""
    return link.adaptive_margin_db if _adapts(link, station) else link.margin_db


def usable_modcods(link: Link) -> tuple[ModCod, ...]:
    """The modes that the link's coding may choose from.

    Raises:
        ConfigError: Constant coding without a mode, or a mode of another family.
    """
    if link.coding is not Coding.CONSTANT:
        return link.modcods
    if link.modcod is None:
        raise ConfigError(
            "A link of constant coding has no mode", remedy=f"Set modcod, such as {link.modcods[0].name!r}"
        )
    mode = named(link.modcod)
    if mode not in FAMILIES[link.family]:
        raise ConfigError(
            f"The mode {mode.name} is not of the family {link.family}",
            remedy=f"Set a mode of it, such as {link.modcods[0].name!r}, or the other family",
            modcod=mode.name,
            family=link.family,
        )
    return (mode,)


def atmosphere_db(link: Link, station: Station, elevation_deg: Floats) -> Floats:
    """Loss in the atmosphere that is planned for, float64 in the shape of the elevations.

    The path through a flat layer goes with the cosecant of the elevation, as ITU-R P.676 takes it
    from 5 degrees on; below, the loss of 5 degrees is kept.

    Raises:
        MissingExtraError: The loss is to be computed, and the package itur is not installed.
    """
    if _adapts(link, station):
        return _through_air(link.clear_sky_loss_db, elevation_deg)
    return _planned_db(link, station, elevation_deg)


def _planned_db(link: Link, station: Station, elevation_deg: Floats) -> Floats:
    if link.unavailable_percent is None:
        return _through_air(link.atmosphere_loss_db, elevation_deg)
    losses_db = _losses_by_place(station, link.frequency_hz, link.unavailable_percent)
    result: Floats = np.interp(elevation_deg, _ELEVATIONS_DEG, losses_db)
    return result


@lru_cache(maxsize=256)
def _losses_by_place(station: Station, frequency_hz: float, unavailable_percent: float) -> Floats:
    """Computed once a station: the recommendation takes a tenth of a second, a pass has thousands of samples."""
    return itu_loss_db(station, frequency_hz, np.array(_ELEVATIONS_DEG), unavailable_percent)


def sky_noise_db(link: Link, station: Station, elevation_deg: Floats) -> Floats:
    """By how much G/T falls below that of a clear sky, float64 in the shape of the elevations.

    What absorbs also radiates: the atmosphere that is planned for makes the antenna warmer than a clear sky does. Of a
    station that gives G/T and no noise temperature this is not known, and its figure is taken as it is.

    Source:
        ITU-R P.618-13, section 3; the antenna is taken to see nothing but the sky.
    """
    if station.noise_k is None or _adapts(link, station):
        return np.zeros(np.shape(elevation_deg))
    clear = _through_air(link.clear_sky_loss_db, elevation_deg)
    planned = np.maximum(_planned_db(link, station, elevation_deg), clear)
    warmer_k = (_AIR_K - _SPACE_K) * (10.0 ** (-clear / 10.0) - 10.0 ** (-planned / 10.0))
    result: Floats = 10.0 * np.log10(1.0 + warmer_k / station.noise_k)
    return result


def _through_air(at_five_db: float, elevation_deg: Floats) -> Floats:
    result: Floats = at_five_db * math.sin(math.radians(5.0)) / np.sin(np.radians(np.maximum(elevation_deg, 5.0)))
    return result
