"""What a camera delivers before anybody made a picture of it: bands of their own sampling and bits, blurred and noisy.

Ratios of compression mean something against these bits only. A tile to look at has 24 bits a pixel of 1.5 m; the
camera that it came from measured 8.4 on the same ground, in fewer, wider and less sharp samples, and their noise is
what a lossless codec cannot shorten.
"""

from dataclasses import replace
from math import log, pi, sqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from taran_eo.config import Settings
from taran_eo.errors import ConfigError
from taran_eo.imagery.synthesis.noise import Field as Plane
from taran_eo.imagery.synthesis.world import compose
from taran_eo.imagery.window import Window

_DETECTOR_MTF = 2 / pi
"""Modulation that the square of a detector leaves at Nyquist: sinc(1/2)."""
_FINER = 2
"""The ground is rendered so many times finer than the finest band, at least."""
_PATH, _WHITE = 0.03, 0.4
"""Parts of the full well that the air alone fills, and that what a display shows as white fills: assumed. Clouds in
the sun fill the rest, as an exposure for land and sea leaves room for them."""

_Metres = Annotated[float, Field(gt=0)]


class Band(Settings):
    """One band of a camera.

    Attributes:
        name: Such as "green".
        gsd_m: Distance of its samples on the ground, at nadir, before anything is resampled.
        bits: Bits of a sample.
        mix: What it sees of red, green and blue: a stand-in for its spectrum, in synthetic frames only.
        mtf_nyquist: Modulation transfer of optics, motion and detector at half a cycle a sample.
    """

    name: str
    gsd_m: _Metres
    bits: Annotated[int, Field(ge=8, le=16)]
    mix: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    mtf_nyquist: Annotated[float, Field(gt=0.01, lt=_DETECTOR_MTF)] = 0.25

    @property
    def blur_samples(self) -> float:
        """Standard deviation of the Gaussian that, with the detector, has this modulation transfer; in samples."""
        return sqrt(-2 * log(self.mtf_nyquist / _DETECTOR_MTF)) / pi


class Sensor(Settings):
    """A camera.

    Attributes:
        name: What it is called.
        bands: Its bands.
        full_well_e: Electrons at the largest sample.
        read_noise_e: Standard deviation of the electronics in electrons.
        source: Where these numbers are from, and which of them are assumed.
    """

    name: str
    bands: Annotated[tuple[Band, ...], Field(min_length=1)]
    full_well_e: Annotated[float, Field(gt=0)] = 60_000.0
    read_noise_e: Annotated[float, Field(ge=0)] = 30.0
    source: str

    @model_validator(mode="after")
    def _samples_align(self) -> "Sensor":
        for band in self.bands:
            steps = band.gsd_m / self.finest_m
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"gsd_m = {band.gsd_m} of {band.name} is no multiple of the finest, {self.finest_m}")
        return self

    @property
    def finest_m(self) -> float:
        """Distance of the samples of the finest band in metres."""
        return min(band.gsd_m for band in self.bands)

    @property
    def bits_km2(self) -> float:
        """Bits that a square kilometre gives, all bands together, at nadir."""
        return sum(band.bits * 1e6 / band.gsd_m**2 for band in self.bands)

    def bits_pixel(self, gsd_m: float) -> float:
        """Bits that the camera measured on the ground of one pixel of a product of `gsd_m` metres.

        Example:
            >>> sensor_named("spot-6").bits_pixel(1.5)
            8.4375
        """
        return self.bits_km2 * gsd_m**2 / 1e6


def _sentinel_2() -> tuple[Band, ...]:
    sampling = {
        10: ("B02", "B03", "B04", "B08"),
        20: ("B05", "B06", "B07", "B8A", "B11", "B12"),
        60: ("B01", "B09", "B10"),
    }
    return tuple(Band(name=name, gsd_m=gsd_m, bits=12) for gsd_m, names in sampling.items() for name in names)


SENSORS = (
    Sensor(
        name="spot-6",
        bands=(
            Band(name="panchromatic", gsd_m=2.0, bits=12, mtf_nyquist=0.15),
            Band(name="blue", gsd_m=8.0, bits=12, mix=(0, 0, 1)),
            Band(name="green", gsd_m=8.0, bits=12, mix=(0, 1, 0)),
            Band(name="red", gsd_m=8.0, bits=12, mix=(1, 0, 0)),
            Band(name="near infrared", gsd_m=8.0, bits=12, mix=(0.7, 0.1, 0)),
        ),
        source="2 m and 8 m at nadir, 12 bits, resampled to 1.5 m and 6 m on the ground: DINAMIS (data-terra.org), "
        "SPOT-6 and SPOT-7 imagery; other sheets give 2.2 m and 8.8 m, to be checked. Electrons, noise and modulation "
        "transfer are assumed",
    ),
    Sensor(
        name="sentinel-2",
        bands=_sentinel_2(),
        source="12 bits: ESA, Sentinel-2 MSI user guide, radiometric resolution; 4 bands of 10 m, 6 of 20 m, 3 of "
        "60 m: CEOS data base, instrument MSI. Electrons, noise, spectra and modulation transfer are assumed",
    ),
    Sensor(
        name="colour-frame",
        bands=(
            Band(name="red", gsd_m=5.0, bits=10, mix=(1, 0, 0)),
            Band(name="green", gsd_m=5.0, bits=10, mix=(0, 1, 0)),
            Band(name="blue", gsd_m=5.0, bits=10, mix=(0, 0, 1)),
        ),
        full_well_e=12_000.0,
        read_noise_e=8.0,
        source="A colour camera of a small satellite, as such cameras are; assumed in all its numbers",
    ),
)
"""Cameras whose raw data ratios may be told against."""


def sensor_named(name: str) -> Sensor:
    """The camera of `SENSORS` with that name.

    Raises:
        ConfigError: There is none.
    """
    for sensor in SENSORS:
        if sensor.name == name:
            return sensor
    raise ConfigError(
        f"There is no sensor {name!r}", remedy=f"Take one of {', '.join(each.name for each in SENSORS)}", name=name
    )


def observe(
    sensor: Sensor,
    rng: np.random.Generator,
    rows: int,
    cols: int,
    *,
    ships: int | None = None,
    land: bool | None = None,
    cloudy: bool | None = None,
) -> tuple[NDArray[np.uint16], ...]:
    """A synthetic frame that was never a JPEG: what the camera would send of a synthetic scene, before any correction.

    The ground is rendered finer than the finest band and without noise, blurred and summed by each detector, and
    turned into electrons that arrive by chance, into volts with the noise of the electronics, and into whole numbers.

    Args:
        sensor: The camera.
        rng: Source of all chance: equal generators make equal frames.
        rows: Rows of its finest band; the grid of every other band must fit into it.
        cols: Columns of its finest band.
        ships: As in `taran_eo.imagery.synthetic.synthesize`.
        land: As there.
        cloudy: As there.

    Returns:
        uint16[rows, cols] for each band, in its own sampling.

    Raises:
        ConfigError: The size does not hold whole samples of all bands.
    """
    steps = [round(band.gsd_m / sensor.finest_m) for band in sensor.bands]
    if min(rows, cols) < 1 or any(rows % step or cols % step for step in steps):
        raise ConfigError(
            f"A frame of {rows} x {cols} samples does not hold whole samples of all bands of {sensor.name}",
            remedy=f"Give multiples of {np.lcm.reduce(steps)}",
        )
    fine_rows, fine_cols = rows * _FINER, cols * _FINER
    world = compose(
        *(fine_rows, fine_cols),
        rng=rng,
        gsd_m=sensor.finest_m / _FINER,
        ships=ships,
        land=land,
        cloudy=cloudy,
        swath_edge=False,
    )
    levels, _, _ = replace(world, noise=0.0).render(Window(0, 0, fine_rows, fine_cols))
    ground = levels.astype(np.float32) / np.float32(255)
    return tuple(
        _sampled(ground @ np.array(band.mix, dtype=np.float32), band, step * _FINER, sensor, rng)
        for band, step in zip(sensor.bands, steps, strict=True)
    )


def _sampled(ground: Plane, band: Band, step: int, sensor: Sensor, rng: np.random.Generator) -> NDArray[np.uint16]:
    """The samples of a band, each over `step` x `step` of the float32[rows, cols] ground (0 black, 1 white)."""
    blurred = _blurred(_blurred(ground, band.blur_samples * step).T, band.blur_samples * step).T
    rows, cols = blurred.shape
    light = blurred.reshape(rows // step, step, cols // step, step).mean(axis=(1, 3), dtype=np.float64)
    electrons = rng.poisson(sensor.full_well_e * (_PATH + (_WHITE - _PATH) * light)).astype(np.float64)
    electrons += rng.normal(0, sensor.read_noise_e, electrons.shape)
    peak = (1 << band.bits) - 1
    samples: NDArray[np.uint16] = np.rint(np.clip(electrons / sensor.full_well_e, 0, 1) * peak).astype(np.uint16)
    return samples


def _blurred(plane: Plane, deviation: float) -> Plane:
    """A plane under a Gaussian along its rows axis, mirrored at the ends."""
    reach = int(np.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    padded = np.pad(plane, ((reach, reach), (0, 0)), mode="symmetric")
    total = np.zeros_like(plane)
    for offset, weight in enumerate(weights):
        total += weight * padded[offset : offset + len(plane)]
    return total
