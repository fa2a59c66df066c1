"""The link budget: each decibel between the transmitter's power and the receiver's decision, on a line of its own.

`Link` is the satellite's side, `Station` the ground's; a `Budget` is both at one range and elevation. What does not
close is told with what would close it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taran_eo.downlink.link import (
    BOLTZMANN_DBW_K_HZ,
    Link,
    atmosphere_db,
    decibels,
    es_n0_db,
    free_space_loss_db,
    kept_margin_db,
    sky_noise_db,
    slant_range_km,
    usable_modcods,
)
from taran_eo.downlink.modcod import Coding, ModCod, best_modcod
from taran_eo.downlink.stations import Station
from taran_eo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Term:
    """A line of a budget.

    Attributes:
        name: What it is.
        value_db: What it adds; losses are negative. In dB, or dB of what the name says.
        source: Where it is from.
    """

    name: str
    value_db: float
    source: str


@dataclass(frozen=True, slots=True)
class Budget:
    """All terms of a link at one range and elevation, with one mode.

    Attributes:
        terms: What adds up to the ratio of carrier to noise density, C/N0.
        modem: What adds up from there to that of symbol energy to noise density, Es/N0.
        mode: The mode that is sent.
    """

    terms: tuple[Term, ...]
    modem: tuple[Term, ...]
    mode: ModCod

    @property
    def c_n0_db_hz(self) -> float:
        """Carrier power over noise density."""
        return sum(term.value_db for term in self.terms)

    @property
    def es_n0_db(self) -> float:
        """Energy of a symbol over noise density, all losses counted."""
        return self.c_n0_db_hz + sum(term.value_db for term in self.modem)

    @property
    def eb_n0_db(self) -> float:
        """Energy of a bit of data over noise density."""
        return self.es_n0_db - decibels(self.mode.efficiency_bit)

    @property
    def margin_db(self) -> float:
        """What is left over; negative where the link is open."""
        return self.es_n0_db - self.mode.es_n0_db


def budget(link: Link, station: Station, range_km: float, elevation_deg: float, mode: ModCod) -> Budget:
    """The budget of a link, line by line.

    Args:
        link: The satellite's side.
        station: The ground's side.
        range_km: Distance, above 0.
        elevation_deg: In the station's sky, 0 to 90.
        mode: What is sent.

    Raises:
        ConfigError: A range or an elevation that cannot be.
    """
    if not 0.0 < range_km < math.inf:
        raise ConfigError(f"A range of {range_km} km is not above 0", remedy="Give the distance", range_km=range_km)
    if not 0.0 <= elevation_deg <= 90.0:
        raise ConfigError(
            f"An elevation of {elevation_deg} degrees is not between 0 and 90",
            remedy="A satellite below the horizon has no link",
            elevation_deg=elevation_deg,
        )
    path = float(free_space_loss_db(np.array(range_km), link.frequency_hz))
    air = float(atmosphere_db(link, station, np.array(elevation_deg)))
    warmer = float(sky_noise_db(link, station, np.array(elevation_deg)))
    given = "the link's settings"
    itu = f"ITU-R P.618-13, {link.unavailable_percent} % of the year"
    weather = given if link.unavailable_percent is None else itu
    return Budget(
        (
            Term("transmitter power, dBW", decibels(link.power_w), given),
            Term("amplifier back-off and distortion", -link.losses_db[mode.modulation], f"{given}, {mode.modulation}"),
            Term("feeder", -link.feeder_loss_db, given),
            Term("transmitting antenna, dBi", link.antenna_gain_dbi, given),
            Term("pointing", -link.pointing_loss_db, given),
            Term("polarization", -link.polarization_loss_db, given),
            Term("free space", -path, f"ITU-R P.525-4, {range_km:.0f} km"),
            Term("atmosphere", -air, f"{weather}, {elevation_deg:.1f} degrees"),
            Term("station G/T, dB/K", station.g_t_at(link.frequency_hz), station.source),
            Term("noise of that atmosphere above a clear sky's", -warmer, "ITU-R P.618-13, section 3"),
            Term("Boltzmann constant, -dBW/K/Hz", -BOLTZMANN_DBW_K_HZ, "SI"),
        ),
        (
            Term("symbol rate, -dBHz", -decibels(link.symbol_rate_sym_s), given),
            Term("implementation", -link.implementation_loss_db, given),
        ),
        mode,
    )


def best_budget(link: Link, station: Station, range_km: float, elevation_deg: float) -> Budget:
    """The budget with the mode that is sent at a range and elevation; with the sturdiest where none closes.

    Raises:
        ConfigError: What cannot be, of the range, the elevation or the mode of constant coding.
    """
    modes, losses_db = usable_modcods(link), link.losses_db
    signal_db = float(es_n0_db(link, station, np.array(range_km), np.array(elevation_deg)))
    mode = best_modcod(signal_db, kept_margin_db(link, station), modes, losses_db) or _sturdiest(link)
    return budget(link, station, range_km, elevation_deg, mode)


def _sturdiest(link: Link) -> ModCod:
    losses_db = link.losses_db
    return min(usable_modcods(link), key=lambda one: one.es_n0_db + losses_db[one.modulation])


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A link that does not close at a station's least elevation, and what alone would close it.

    Attributes:
        station: Name of the station.
        elevation_deg: Its least elevation.
        missing_db: By how much it misses, the margin counted.
        mode: The mode that misses by so much: that of the link, else the sturdiest.
        power_w: The power that closes it.
        antenna_gain_dbi: The antenna on board that closes it.
        g_t_db_k: The station that closes it.
        symbol_rate_sym_s: The symbol rate that closes it.
        min_elevation_deg: The elevation from which it closes as it is; None where not even the zenith does.
    """

    station: str
    elevation_deg: float
    missing_db: float
    mode: ModCod
    power_w: float
    antenna_gain_dbi: float
    g_t_db_k: float
    symbol_rate_sym_s: float
    min_elevation_deg: float | None

    def error(self) -> ConfigError:
        """The error that names by how much the link misses, and what would close it."""
        elevation = self.min_elevation_deg
        higher = "" if elevation is None else f", or from {elevation:.1f} degrees of elevation on as it is"
        return ConfigError(
            f"The link to {self.station} misses by {self.missing_db:.1f} dB at {self.elevation_deg:.1f} degrees of "
            f"elevation, with {self.mode.name} and the margin",
            remedy=f"It closes with {self.power_w:.3g} W, or an antenna of {self.antenna_gain_dbi:.1f} dBi on board, "
            f"or a station of {self.g_t_db_k:.1f} dB/K, or {_plain(self.symbol_rate_sym_s)} symbols a second"
            f"{higher}",
            station=self.station,
            missing_db=self.missing_db,
        )


def _plain(rate: float) -> str:
    return f"{rate / 1e6:.3g} million" if rate >= 1e5 else f"{rate:,.3f}" if rate < 1 else f"{rate:,.0f}"


def shortfall(link: Link, station: Station, altitude_km: float) -> Shortfall | None:
    """By how much a link misses at the station's least elevation, and what would close it; None where it closes.

    Args:
        link: The satellite's side.
        station: The ground's side.
        altitude_km: Of the orbit, from which the range follows.

    Raises:
        ConfigError: Constant coding without a mode, or a mode of another family.
    """
    mode = _sturdiest(link)
    needed = mode.es_n0_db + link.losses_db[mode.modulation] + kept_margin_db(link, station)
    missing_db = needed - _es_n0_at_mask_db(link, station, altitude_km)
    if missing_db <= 0.0:
        return None
    # On a grid of a tenth of a degree: the signal grows with the elevation.
    elevations = np.arange(math.ceil(station.min_elevation_deg * 10.0), 901) / 10.0
    signals = es_n0_db(link, station, slant_range_km(altitude_km, elevations), elevations)
    closing = elevations[signals >= needed]
    factor = 10.0 ** (missing_db / 10.0)
    return Shortfall(
        station.name,
        station.min_elevation_deg,
        missing_db,
        mode,
        link.power_w * factor,
        link.antenna_gain_dbi + missing_db,
        station.g_t_at(link.frequency_hz) + missing_db,
        link.symbol_rate_sym_s / factor,
        float(closing[0]) if closing.size else None,
    )


def fixed_for(link: Link, stations: Sequence[Station], altitude_km: float) -> Link:
    """A link with the one mode that closes everywhere: at the least elevation of the worst station.

    Raises:
        ConfigError: No mode closes there; says by how many decibels and what would close it.
    """
    planned = link.model_copy(update={"coding": Coding.VARIABLE})
    worst = min(stations, key=lambda place: _es_n0_at_mask_db(planned, place, altitude_km))
    signal_db = _es_n0_at_mask_db(planned, worst, altitude_km)
    mode = best_modcod(signal_db, link.margin_db, link.modcods, link.losses_db)
    if mode is None:
        short = shortfall(planned, worst, altitude_km)
        assert short is not None  # noqa: S101 - no mode closes here
        raise short.error()
    return link.model_copy(update={"coding": Coding.CONSTANT, "modcod": mode.name})


def _es_n0_at_mask_db(link: Link, station: Station, altitude_km: float) -> float:
    elevation = np.array(station.min_elevation_deg)
    return float(es_n0_db(link, station, slant_range_km(altitude_km, elevation), elevation))
