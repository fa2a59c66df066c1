"""Cameras: the bits that they measure, and frames with the sharpness and the noise that they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo.config import parse
from taran_eo.errors import ConfigError
from taran_eo.imagery import sensor as module
from taran_eo.imagery.sensor import SENSORS, Band, Sensor, observe, sensor_named


def made(**changes):
    band = {"name": "one", "gsd_m": 2.0, "bits": 12, **changes.pop("band", {})}
    return Sensor(name="made", bands=(Band(**band),), source="made up", **changes)


def test_the_bits_of_spot_6_are_those_of_its_native_sampling():
    """12 bits of 2 m and four times 12 bits of 8 m, on the ground of a pixel of 1.5 m: not the 24 of a display tile."""
    sensor = sensor_named("spot-6")
    assert sensor.bits_km2 == 12 * 500**2 + 4 * 12 * 125**2
    assert sensor.bits_pixel(1.5) == pytest.approx((1 + 4 / 16) * 12 * (1.5 / 2) ** 2)
    assert sensor.bits_pixel(2.0) == pytest.approx(15)


def test_the_bits_of_sentinel_2_add_up_over_three_samplings():
    sensor = sensor_named("sentinel-2")
    assert len(sensor.bands) == 13
    assert sensor.bits_km2 == pytest.approx(12 * (4 * 100**2 + 6 * 50**2 + 3 * (1000 / 60) ** 2))


@given(gsd_m=st.floats(0.1, 100), factor=st.integers(1, 9))
def test_bits_grow_with_the_area_of_a_pixel(gsd_m, factor):
    sensor = sensor_named("colour-frame")
    assert sensor.bits_pixel(factor * gsd_m) == pytest.approx(factor**2 * sensor.bits_pixel(gsd_m))


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.name)
def test_a_frame_has_one_image_a_band_in_its_own_sampling(sensor):
    steps = [round(band.gsd_m / sensor.finest_m) for band in sensor.bands]
    side = 4 * int(np.lcm.reduce(steps))
    frame = observe(sensor, np.random.default_rng(1), side, 2 * side)
    for band, step, samples in zip(sensor.bands, steps, frame, strict=True):
        assert samples.dtype == np.uint16
        assert samples.shape == (side // step, 2 * side // step)
        assert samples.max() < 2**band.bits
        assert samples.std() > 0


def test_equal_generators_make_equal_frames():
    sensor = sensor_named("spot-6")
    frames = [observe(sensor, np.random.default_rng(seed), 32, 32, ships=2, land=False) for seed in (7, 7, 8)]
    assert all((one == two).all() for one, two in zip(frames[0], frames[1], strict=True))
    assert any((one != two).any() for one, two in zip(frames[0], frames[2], strict=True))


@settings(max_examples=20)
@given(mtf=st.floats(0.05, 0.5), step=st.sampled_from([8, 16]))
def test_a_wave_at_nyquist_keeps_the_modulation_that_the_band_says(mtf, step):
    """The fine grid stands for the continuous ground: a wave of two samples a cycle, seen in phase."""
    sensor = made(band={"mtf_nyquist": mtf}, full_well_e=1e15, read_noise_e=0.0)
    period = 2 * step
    wave = np.cos(2 * np.pi * (np.arange(40 * step) + 0.5 - step / 2) / period)
    ground = (0.5 + 0.4 * np.tile(wave, (2 * step, 1))).astype(np.float32)
    seen = module._sampled(ground, sensor.bands[0], step, sensor, np.random.default_rng(0))[0, 8:-8]
    light = (seen / 4095 - module._PATH) / (module._WHITE - module._PATH)
    assert (light.max() - light.min()) / 2 / 0.4 == pytest.approx(mtf, rel=0.03)


@pytest.mark.parametrize(("full_well_e", "read_noise_e"), [(20_000.0, 0.0), (60_000.0, 30.0), (20_000.0, 200.0)])
def test_flat_ground_has_the_noise_of_its_electrons(full_well_e, read_noise_e):
    """Variance is that of the photons, of the electronics and of rounding: e + r^2 electrons, and 1/12 of a step."""
    sensor = made(full_well_e=full_well_e, read_noise_e=read_noise_e)
    ground = np.full((400, 400), 0.5, np.float32)
    samples = module._sampled(ground, sensor.bands[0], 1, sensor, np.random.default_rng(3)).astype(float)
    part = module._PATH + 0.5 * (module._WHITE - module._PATH)
    step_e = full_well_e / 4095
    assert samples.mean() == pytest.approx(part * 4095, rel=1e-3)
    assert samples.var() == pytest.approx((part * full_well_e + read_noise_e**2) / step_e**2 + 1 / 12, rel=0.03)


def test_what_fills_the_well_is_cut_off():
    sensor = made(full_well_e=100.0, read_noise_e=1000.0)
    samples = module._sampled(np.ones((64, 64), np.float32), sensor.bands[0], 1, sensor, np.random.default_rng(3))
    assert (samples.min(), samples.max()) == (0, 4095)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="multiples of 4"):
        observe(sensor_named("spot-6"), np.random.default_rng(0), 30, 32)
    with pytest.raises(ConfigError, match="spot-6, sentinel-2"):
        sensor_named("spot")
    odd = sensor_named("spot-6").model_dump(mode="json")
    odd["bands"][1]["gsd_m"] = 5.0
    with pytest.raises(ConfigError, match=r"gsd_m = 5.0 of blue is no multiple of the finest, 2.0"):
        parse(odd, Sensor, source="a scenario")
    sharp = sensor_named("colour-frame").model_dump(mode="json")
    sharp["bands"][0]["mtf_nyquist"] = 0.7
    with pytest.raises(ConfigError, match="mtf_nyquist"):
        parse(sharp, Sensor, source="a scenario")


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.name)
def test_a_sensor_survives_its_file(sensor):
    assert parse(sensor.model_dump(mode="json"), Sensor, source="a file") == sensor
