"""Orbits: the text there and back, the plane and the place that were asked for, and every bad element set."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, load
from skyfield.framelib import itrs

from taran_eo.downlink.instants import Instants
from taran_eo.downlink.orbit import EARTH_RADIUS_KM, Orbit, constellation
from taran_eo.errors import ConfigError, CorruptDataError

START = datetime(2026, 11, 20, tzinfo=UTC)
# The space station on 2008-09-20, the usual example of the format.
STATION = """ISS (ZARYA)
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""
# Vanguard 1, the first case of AIAA 2006-6753: eccentric, 180 days into 2000.
VANGUARD = """1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753
2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667
"""


def test_elements_are_read_as_they_stand():
    orbit = Orbit.from_tle(STATION)
    assert orbit.name == "ISS (ZARYA)"
    # Day 264 and 0.51782528 of it; the text has eight decimals, a millisecond.
    assert abs(orbit.epoch - datetime(2008, 9, 20, 12, 25, 40, 104192, tzinfo=UTC)) < timedelta(milliseconds=1)
    assert orbit.inclination_deg == 51.6416
    assert orbit.period_s == pytest.approx(86400 / 15.72125391)
    assert orbit.altitude_km == pytest.approx(350, abs=5)
    assert orbit.text == STATION
    assert Orbit.from_tle(VANGUARD).name == "00005"
    assert Orbit.from_tle(STATION.replace("ISS", "0 ISS").replace("\n", "  \r\n")) == orbit


ORBITS = st.builds(
    Orbit.sun_synchronous,
    st.floats(300, 1500),
    st.just(START),
    ltan_h=st.floats(0, 23.99),
    phase_deg=st.floats(-720, 720),
)


@given(orbit=ORBITS)
def test_made_orbits_are_legal_text(orbit):
    assert Orbit.from_tle(orbit.text) == orbit
    assert len(orbit.line1) == len(orbit.line2) == 69


@given(orbit=ORBITS, line=st.integers(1, 2), place=st.integers(0, 68), letter=st.sampled_from("0123456789 -.+A"))
def test_a_changed_letter_is_found_and_its_line_named(orbit, line, place, letter):
    lines = orbit.text.splitlines()
    before = lines[line][place]
    lines[line] = lines[line][:place] + letter + lines[line][place + 1 :]

    def counts(one):
        return int(one) if one.isdigit() else int(one == "-")

    same_sum = place < 68 and counts(before) == counts(letter)
    try:
        found = Orbit.from_tle("\n".join(lines))
    except CorruptDataError as error:
        assert "TLE" in str(error)
    else:
        assert same_sum, "a digit was changed, and the checksum says so"
        assert found.text.splitlines() == lines


def test_a_wrong_checksum_names_line_and_digits():
    with pytest.raises(
        CorruptDataError, match=r"Line 2 of the TLE ends with the checksum 8, but .* add up to 7"
    ) as found:
        Orbit.from_tle(STATION.replace("563537", "563538"))
    assert (found.value.line, found.value.expected, found.value.found) == (2, 7, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines instead of 2"),
        ("\n\n", "0 lines"),
        (STATION + STATION, "6 lines"),
        (STATION.replace("2927", "292"), "Line 1 of the TLE has 68 characters instead of 69"),
        (STATION.replace("563537", "5635370"), "Line 2 of the TLE has 70 characters"),
        (STATION.replace("ZARYA", "ЗАРЯ"), "holds 'З' as character 6, which is not ASCII"),
        (STATION.replace("0006703", "000٧703"), "not ASCII"),
        (STATION.replace(" 51.6416", " 5l.6416"), "Line 2 of the TLE has a column"),
        (STATION.replace("08264.5178", "08264,5178"), "Line 1 of the TLE has a column"),
        ("\n".join(VANGUARD.splitlines()[::-1]), "Line 1 of the TLE has a column"),
        (
            STATION.splitlines()[1] + "\n" + VANGUARD.splitlines()[1],
            "Line 1 of the TLE is of satellite 25544 and line 2 of",
        ),
        ("\x00" * 200, "1 lines"),
    ],
)
def test_what_is_no_element_set_is_refused(text, message):
    with pytest.raises(CorruptDataError, match=message):
        Orbit.from_tle(text)


@given(text=st.text(max_size=300))
def test_any_text_is_an_orbit_or_refused(text):
    with pytest.raises(CorruptDataError):
        Orbit.from_tle(text)


def test_an_orbit_within_the_earth_is_no_orbit():
    line2 = "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 25.7212539156353"
    line2 += str(sum(int(c) if c.isdigit() else c == "-" for c in line2) % 10)
    with pytest.raises(CorruptDataError, match=r"ISS.*has no orbit.*decayed"):
        Orbit.from_tle("\n".join([*STATION.splitlines()[:2], line2]))


def ascending(orbit, around_s):
    """Seconds and longitude of the ascending node nearest to a moment."""
    times = around_s + np.arange(-3600.0, 3600.0)
    position, _ = orbit.earth_fixed(Instants.of(START, times))
    nodes = np.flatnonzero((position[:-1, 2] < 0.0) & (position[1:, 2] >= 0.0))
    node = nodes[np.argmin(np.abs(times[nodes] - around_s))]
    return times[node], np.degrees(np.arctan2(position[node, 1], position[node, 0]))


@pytest.mark.parametrize("ltan_h", [0.5, 6.0, 10.5, 22.25])
@pytest.mark.parametrize("altitude_km", [450.0, 800.0])
def test_the_plane_follows_the_sun(altitude_km, ltan_h):
    orbit = Orbit.sun_synchronous(altitude_km, START, ltan_h=ltan_h)
    for day in (0, 60):
        # Local mean time at the node is the time of day and an hour each 15 degrees east.
        seconds, longitude_deg = ascending(orbit, 86400.0 * day)
        assert abs((seconds / 3600.0 + longitude_deg / 15.0 - ltan_h + 12.0) % 24.0 - 12.0) < 0.05


@pytest.mark.parametrize(("altitude_km", "inclination_deg"), [(500, 97.40), (600, 97.79), (700, 98.19)])
def test_inclinations_are_the_usual_ones(altitude_km, inclination_deg):
    assert Orbit.sun_synchronous(altitude_km, START).inclination_deg == pytest.approx(inclination_deg, abs=0.01)


@given(altitude_km=st.floats(300, 1500), inclination_deg=st.floats(0, 180), phase_deg=st.floats(0, 360))
def test_circular_orbits_stay_at_their_height(altitude_km, inclination_deg, phase_deg):
    orbit = Orbit.circular(altitude_km, inclination_deg, START, node_deg=-50.0, phase_deg=phase_deg)
    assert orbit.altitude_km == pytest.approx(altitude_km, abs=0.01)
    position, velocity = orbit.earth_fixed(Instants.of(START, np.linspace(0.0, orbit.period_s, 50)))
    height = np.linalg.norm(position, axis=1) - EARTH_RADIUS_KM
    # The flattened Earth moves a satellite up and down by some kilometres.
    np.testing.assert_allclose(height, altitude_km, atol=25.0)
    assert (np.linalg.norm(velocity, axis=1) < 8.4).all()
    assert abs(orbit.epoch - START) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("orbit", "start"),
    [
        (Orbit.from_tle(STATION), datetime(2008, 9, 20, tzinfo=UTC)),
        (Orbit.from_tle(VANGUARD), datetime(2000, 6, 27, tzinfo=UTC)),
        (Orbit.sun_synchronous(600, START), START),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_places_are_those_of_skyfield(orbit, start):
    """Skyfield goes by precession, nutation and apparent sidereal time; here, mean sidereal time does it at once."""
    seconds = np.arange(0.0, 3 * 86400.0, 977.0)
    timescale = load.timescale(builtin=True)
    times = timescale.from_datetimes([start + timedelta(seconds=float(s)) for s in seconds])
    there = EarthSatellite(orbit.line1, orbit.line2, orbit.name, timescale).at(times)
    expected, velocity = there.frame_xyz_and_velocity(itrs)
    position, moving = orbit.earth_fixed(Instants.of(start, seconds))
    np.testing.assert_allclose(position, expected.km.T, atol=0.005)
    np.testing.assert_allclose(moving, velocity.km_per_s.T, atol=1e-5)


@given(
    planes=st.integers(1, 6),
    share=st.integers(1, 6),
    phasing=st.integers(0, 5),
    spread_deg=st.sampled_from([180.0, 360.0]),
)
def test_a_constellation_is_even(planes, share, phasing, spread_deg):
    first = Orbit.circular(700.0, 60.0, START, node_deg=359.99996, phase_deg=12.0, name="w")
    all_of_them = constellation(first, planes * share, planes, phasing=phasing, spread_deg=spread_deg)
    assert len({orbit.name for orbit in all_of_them}) == len({orbit.line2 for orbit in all_of_them}) == planes * share
    assert all(Orbit.from_tle(orbit.text) == orbit for orbit in all_of_them)
    for place, orbit in enumerate(all_of_them):
        plane, along = divmod(place, share)
        ahead = orbit.node_deg - first.node_deg - plane * spread_deg / planes
        assert abs((ahead + 180.0) % 360.0 - 180.0) < 2e-4
        further = along * 360.0 / share + plane * phasing * 360.0 / (planes * share)
        assert abs((orbit.mean_anomaly_deg - 12.0 - further + 180.0) % 360.0 - 180.0) < 2e-4
        assert orbit.inclination_deg == 60.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Orbit.sun_synchronous(100, START), "altitude of 100 km is not between 150 and 50000 km"),
        (lambda: Orbit.sun_synchronous(float("nan"), START), "altitude of nan km"),
        (lambda: Orbit.sun_synchronous(6100, START), r"No orbit at 6100 km is sun-synchronous"),
        (lambda: Orbit.sun_synchronous(600, START, ltan_h=24.0), r"ascending node of 24\.0 h"),
        (lambda: Orbit.sun_synchronous(600, datetime(2026, 11, 20)), "no time zone"),  # noqa: DTZ001
        (lambda: Orbit.circular(600, 181, START), "inclination of 181 degrees"),
        (lambda: constellation(Orbit.from_tle(STATION), 10, 3), "10 satellites cannot be shared evenly by 3 planes"),
        (lambda: constellation(Orbit.from_tle(STATION), 0, 0), "0 satellites"),
        (lambda: constellation(Orbit.from_tle(STATION), 2, 2, spread_deg=0.0), r"spread over 0\.0 degrees"),
        (lambda: Instants.of(datetime(2026, 1, 1), np.zeros(1)), "no time zone"),  # noqa: DTZ001
    ],
)
def test_orbits_that_cannot_be_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
    assert Orbit.sun_synchronous(5900, START).inclination_deg > 160.0


def test_a_decay_on_the_way_is_named():
    falling = Orbit.from_tle(STATION.replace("-11606-4", " 99999-1").replace("0  2927", "0  2924"))
    with pytest.raises(ConfigError, match=r"The orbit of ISS .* cannot be followed to \d+ s .* of 2008-09-20"):
        falling.earth_fixed(Instants.of(datetime(2008, 9, 20, tzinfo=UTC), np.arange(0.0, 60 * 86400.0, 3600.0)))
