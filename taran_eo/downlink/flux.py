"""How strong the signal is on the ground, where the Radio Regulations set a limit."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.link import Link, decibels, slant_range_km

Floats = NDArray[np.float64]

REFERENCE_BAND_HZ = 4000.0
"""The band that the limits are for: Radio Regulations (2020), article 21, table 21-4."""
LIMITED_HZ = (8.025e9, 8.4e9)
"""Earth exploration-satellite service, space to Earth: the band whose limits are here (table 21-4)."""


def flux_dbw_m2(link: Link, range_km: Floats) -> Floats:
    """Power flux density on the ground in any 4 kHz, in dBW/m2.

    The amplifier is saturated and the antenna points here; the spectrum of a root raised cosine is flat in its
    middle, at power over symbol rate.

    Args:
        link: The satellite's side.
        range_km: float64[...], distance.

    Returns:
        float64[...].
    """
    density = link.eirp_dbw - decibels(max(link.symbol_rate_sym_s, REFERENCE_BAND_HZ)) + decibels(REFERENCE_BAND_HZ)
    result: Floats = density - 10.0 * np.log10(4.0 * math.pi * (1000.0 * range_km) ** 2)
    return result


def flux_limit_dbw_m2(elevation_deg: Floats) -> Floats:
    """The limit at an angle of arrival above the horizontal, in dBW/m2 in any 4 kHz, for `LIMITED_HZ`.

    Source:
        Radio Regulations (2020), article 21, table 21-4: -150 up to 5 degrees, then half a decibel more for each
        degree, -140 from 25 degrees on.

    Example:
        >>> flux_limit_dbw_m2(np.array([0.0, 15.0, 90.0])).tolist()
        [-150.0, -145.0, -140.0]
    """
    return -150.0 + 0.5 * (np.clip(elevation_deg, 5.0, 25.0) - 5.0)


def beyond_limits(link: Link, altitude_km: float) -> Iterator[str]:
    """What of a link the Radio Regulations do not allow, in words; nothing outside of the band that is known here.

    Args:
        link: The satellite's side.
        altitude_km: Least height of the orbit.
    """
    low_hz, high_hz = LIMITED_HZ
    if not low_hz <= link.frequency_hz <= high_hz:
        return
    elevation_deg = np.arange(0.0, 90.5, 0.5)
    excess_db = flux_dbw_m2(link, slant_range_km(altitude_km, elevation_deg)) - flux_limit_dbw_m2(elevation_deg)
    worst = int(np.argmax(excess_db))
    if excess_db[worst] > 0.0:
        yield (
            f"The power flux density on the ground is {excess_db[worst]:.1f} dB above what table 21-4 of the Radio "
            f"Regulations allows at {elevation_deg[worst]:g} degrees: lower link.power_w or link.antenna_gain_dbi, or "
            "raise link.symbol_rate_sym_s"
        )
    edges_hz = (link.frequency_hz - link.bandwidth_hz / 2, link.frequency_hz + link.bandwidth_hz / 2)
    if edges_hz[0] < low_hz or edges_hz[1] > high_hz:
        yield (
            f"The signal takes {edges_hz[0] / 1e6:,.0f} to {edges_hz[1] / 1e6:,.0f} MHz, and the band for it is "
            f"{low_hz / 1e6:,.0f} to {high_hz / 1e6:,.0f} MHz: lower link.symbol_rate_sym_s or link.roll_off, or move "
            "link.frequency_hz"
        )
