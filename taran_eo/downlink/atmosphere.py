"""What the atmosphere takes at a place, by the recommendations of ITU-R; needs the extra ``itu``."""

import importlib
import warnings

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.stations import Station
from taran_eo.errors import ConfigError, MissingExtraError

Floats = NDArray[np.float64]

_DISH_M = 5.0
"""Stands for the antenna of a station that gives none: it matters for scintillation only, by tenths of a decibel."""


def itu_loss_db(station: Station, frequency_hz: float, elevation_deg: Floats, unavailable_percent: float) -> Floats:
    """Loss by gases, clouds, rain and scintillation that is exceeded for a share of an average year.

    Args:
        station: Where; rain and water vapour are those of its place.
        frequency_hz: Carrier frequency.
        elevation_deg: float64[...], in the station's sky, at least 5.
        unavailable_percent: How much of the year the loss may be larger, 0.001 to 5.

    Returns:
        float64[...], decibels.

    Raises:
        MissingExtraError: The package itur is not installed.
        ConfigError: An elevation or a share that the recommendation does not cover.

    Source:
        ITU-R P.618-13, section 2.5, as computed by itur.
    """
    if not 0.001 <= unavailable_percent <= 5.0:
        raise ConfigError(
            f"An unavailability of {unavailable_percent} % is not between 0.001 and 5 %",
            remedy="ITU-R P.618 covers no other; give the share of the year in which the link may fail",
            unavailable_percent=unavailable_percent,
        )
    if np.min(elevation_deg) < 5.0 or np.max(elevation_deg) > 90.0:
        raise ConfigError(
            f"An elevation of {float(np.min(elevation_deg))} to {float(np.max(elevation_deg))} degrees leaves 5 to 90",
            remedy="ITU-R P.618 covers no other; take the loss at 5 degrees below them",
        )
    with warnings.catch_warnings():
        # The package warns of what is not ours: deprecations within, and integration tables near the poles.
        warnings.simplefilter("ignore")
        try:
            # Not at the top: importing it takes seconds.
            itur = importlib.import_module("itur")
        except ModuleNotFoundError as error:
            raise MissingExtraError.of("itu", "itur") from error
        loss = itur.atmospheric_attenuation_slant_path(
            station.latitude_deg,
            station.longitude_deg,
            frequency_hz / 1e9,
            np.asarray(elevation_deg, dtype=np.float64),
            unavailable_percent,
            station.dish_m or _DISH_M,
        )
    return np.asarray(loss.to_value("dB"), dtype=np.float64)
