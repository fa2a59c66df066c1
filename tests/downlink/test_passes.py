"""Passes: the same as another library finds, the same as looking every second, and laws that hold for all."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, load, wgs84

from taran_eo.downlink.orbit import Orbit, constellation
from taran_eo.downlink.passes import geometry, passes, profiles, unseen
from taran_eo.downlink.stations import Station, catalogue, station
from taran_eo.errors import ConfigError

START = datetime(2026, 11, 20, tzinfo=UTC)
DAY_S = 86400.0
TIMESCALE = load.timescale(builtin=True)
ORBITS = {
    "sun-synchronous": Orbit.sun_synchronous(500.0, START, name="sun-synchronous"),
    "high": Orbit.circular(1200.0, 55.0, START, node_deg=33.0, name="high"),
    "low": Orbit.circular(300.0, 51.6, START, node_deg=133.0, name="low"),
    # An orbit like Molniya's: it climbs for hours, and culminates twice in a pass.
    "eccentric": Orbit.from_tle(
        "eccentric\n"
        "1 00001U          26324.00000000  .00000000  00000-0  00000+0 0    00\n"
        "2 00001  63.4000 100.0000 7200000 270.0000  10.0000  2.00600000    04\n"
    ),
}


def placed(name, mask_deg):
    return station(name).model_copy(update={"min_elevation_deg": float(mask_deg)})


@pytest.mark.parametrize("mask_deg", [0, 5, 30])
@pytest.mark.parametrize("name", ["svalbard", "toulouse", "punta-arenas"])
@pytest.mark.parametrize("orbit", ORBITS.values(), ids=ORBITS)
def test_passes_are_those_of_skyfield(orbit, name, mask_deg):
    """To a second over whole days; its own search stops at half a second, and takes passes by their tops only."""
    place = placed(name, mask_deg)
    days = 2 if orbit.name != "eccentric" else 4
    found = passes([orbit], [place], START, days * DAY_S)
    there = wgs84.latlon(place.latitude_deg, place.longitude_deg, place.altitude_m)
    times, kinds = EarthSatellite(orbit.line1, orbit.line2, orbit.name, TIMESCALE).find_events(
        there,
        TIMESCALE.from_datetime(START - timedelta(days=1)),
        TIMESCALE.from_datetime(START + timedelta(days=days + 1)),
        altitude_degrees=mask_deg,
    )
    seconds = np.array([(moment - START).total_seconds() for moment in times.utc_datetime()])
    for kind, ours in ((0, [one.rise_s for one in found]), (2, [one.set_s for one in found])):
        theirs = seconds[(kinds == kind) & (seconds > 0.0) & (seconds < days * DAY_S)]
        inside = [moment for moment in ours if 0.0 < moment < days * DAY_S]
        np.testing.assert_allclose(inside, theirs, atol=1.0)
    for one in found:
        tops = seconds[(kinds == 1) & (seconds > one.rise_s) & (seconds < one.set_s)]
        if len(tops) == 1 and one.rise_s > 0.0 and one.set_s < days * DAY_S:
            # High on an eccentric orbit the top is flat for minutes.
            assert abs(tops[0] - one.culmination_s) < (3.0 if orbit.name == "eccentric" else 1.0)


def test_the_comparison_had_something_to_compare():
    counts = {
        (orbit, name): len(passes([ORBITS[orbit]], [placed(name, 5)], START, 2 * DAY_S))
        for orbit, name in (("sun-synchronous", "svalbard"), ("high", "toulouse"), ("low", "punta-arenas"))
    }
    assert all(count > 5 for count in counts.values()), counts


@pytest.mark.parametrize("orbit", ORBITS.values(), ids=ORBITS)
def test_passes_are_what_one_sees_looking_every_second(orbit):
    """The slow twin: each second propagated on its own, without grid, cubic or search."""
    span_s = 43210.0
    times = np.arange(0.0, span_s, 1.0)
    for place in (placed("kiruna", 5), placed("wallops", 20), placed("awarua", 70)):
        look = geometry(orbit, place, START, times)
        seen = np.zeros(times.size, dtype=bool)
        for one in passes([orbit], [place], START, span_s):
            during = (times >= one.rise_s) & (times <= one.set_s)
            seen |= during
            assert look.elevation_deg[during].max(initial=place.min_elevation_deg) <= one.max_elevation_deg + 1e-3
            assert look.elevation_deg[during].max(initial=0.0) >= one.max_elevation_deg - 0.05 or one.duration_s < 2.0
        # A second is in doubt only where the elevation is within a hundredth of a degree of the least.
        doubtful = np.abs(look.elevation_deg - place.min_elevation_deg) < 0.01
        np.testing.assert_array_equal(seen[~doubtful], (look.elevation_deg > place.min_elevation_deg)[~doubtful])


def test_the_sky_is_that_of_skyfield():
    orbit, place = ORBITS["high"], station("mcmurdo")
    times = np.arange(0.0, DAY_S, 600.0)
    look = geometry(orbit, place, START, times)
    there = wgs84.latlon(place.latitude_deg, place.longitude_deg, place.altitude_m)
    moments = TIMESCALE.from_datetimes([START + timedelta(seconds=float(moment)) for moment in times])
    between = (EarthSatellite(orbit.line1, orbit.line2, "", TIMESCALE) - there).at(moments)
    elevation, azimuth, distance = between.altaz()
    np.testing.assert_allclose(look.range_km, distance.km, atol=0.01)
    np.testing.assert_allclose(look.elevation_deg, elevation.degrees, atol=1e-3)
    np.testing.assert_allclose(np.cos(np.radians(look.azimuth_deg - azimuth.degrees)), 1.0, atol=1e-8)
    # The range rate, by differences of the range.
    apart = geometry(orbit, place, START, times + 0.5).range_km - geometry(orbit, place, START, times - 0.5).range_km
    np.testing.assert_allclose(look.range_rate_km_s, apart, atol=1e-4)


@settings(max_examples=30)
@given(
    altitude_km=st.floats(250, 2000),
    inclination_deg=st.floats(0, 180),
    latitude_deg=st.floats(-90, 90),
    longitude_deg=st.floats(-180, 180),
    mask_deg=st.floats(0, 89),
    span_s=st.floats(1, 60000),
)
def test_laws_of_passes(altitude_km, inclination_deg, latitude_deg, longitude_deg, mask_deg, span_s):
    orbit = Orbit.circular(altitude_km, inclination_deg, START)
    place = Station(
        name="site", latitude_deg=latitude_deg, longitude_deg=longitude_deg, min_elevation_deg=mask_deg, g_t_db_k=30.0
    )
    found = passes([orbit], [place], START, span_s)
    assert found == sorted(found, key=lambda one: one.rise_s)
    for one in found:
        assert 0.0 <= one.rise_s <= one.culmination_s <= one.set_s <= span_s
        assert mask_deg - 1e-3 <= one.max_elevation_deg <= 90.0
        ends = geometry(orbit, place, START, np.array([one.rise_s, one.culmination_s, one.set_s])).elevation_deg
        assert ends[1] == pytest.approx(one.max_elevation_deg, abs=0.01)
        if one.rise_s > 0.0:
            assert ends[0] == pytest.approx(mask_deg, abs=0.01)
        if one.set_s < span_s:
            assert ends[2] == pytest.approx(mask_deg, abs=0.01)
    assert all(before.set_s < after.rise_s for before, after in pairwise(found))


def test_a_cut_span_cuts_the_passes_and_no_more():
    orbit, place = ORBITS["sun-synchronous"], placed("svalbard", 5)
    whole = passes([orbit], [place], START, DAY_S)
    middle = whole[3]
    inside = passes([orbit], [place], START + timedelta(seconds=middle.culmination_s + 10.0), middle.duration_s / 4)
    assert len(inside) == 1
    assert (inside[0].rise_s, inside[0].set_s) == (0.0, middle.duration_s / 4)
    # It sinks already, so it is highest at once.
    assert inside[0].culmination_s == 0.0
    until = passes([orbit], [place], START, middle.culmination_s - 10.0)
    assert [one.rise_s for one in until] == pytest.approx([one.rise_s for one in whole[:4]], abs=0.01)
    assert until[3].set_s == until[3].culmination_s == middle.culmination_s - 10.0
    later = passes([orbit], [place], START + timedelta(seconds=5000.3), DAY_S - 5000.3)
    shifted = [one.rise_s + 5000.3 for one in later]
    assert shifted == pytest.approx([one.rise_s for one in whole if one.rise_s > 5000.3], abs=0.01)


def test_a_satellite_that_never_sets_is_one_pass():
    still = Orbit.circular(35786.0, 0.0, START, node_deg=0.0, name="still")
    east = geometry(still, placed("fucino", 5), START, np.zeros(1))
    seen = [place for place in catalogue() if geometry(still, place, START, np.zeros(1)).elevation_deg[0] > 10.0]
    assert seen, east
    for place in seen:
        (one,) = passes([still], [place], START, DAY_S / 4)
        assert (one.rise_s, one.set_s) == (0.0, DAY_S / 4)


def test_many_at_once_are_the_single_ones():
    orbits = constellation(ORBITS["sun-synchronous"], 6, 3)
    stations = [placed("svalbard", 5), placed("toulouse", 10), placed("troll", 0)]
    together = passes(orbits, stations, START, DAY_S)
    apart = [one for orbit in orbits for place in stations for one in passes([orbit], [place], START, DAY_S)]
    assert together == sorted(apart, key=lambda one: (one.rise_s, one.satellite, one.station))
    assert together == passes(orbits[::-1], stations[::-1], START, DAY_S)


def test_profiles_are_the_geometry_through_each_pass():
    orbits = constellation(ORBITS["high"], 2, 1)
    stations = [placed("kiruna", 5), placed("matera", 15)]
    found = passes(orbits, stations, START, DAY_S / 2)[3:9]
    found.reverse()
    named = {orbit.name: orbit for orbit in orbits}, {place.name: place for place in stations}
    every = list(profiles(orbits, stations, found, START, 20.0))
    assert len(every) == len(found) == 6
    for one, profile in zip(found, every, strict=True):
        assert (profile.times_s[0], profile.times_s[-1]) == (one.rise_s, one.set_s)
        assert 0.0 < np.diff(profile.times_s).max() <= 20.0
        alone = geometry(named[0][one.satellite], named[1][one.station], START, profile.times_s)
        for field in ("range_km", "elevation_deg", "azimuth_deg", "range_rate_km_s"):
            np.testing.assert_allclose(getattr(profile, field), getattr(alone, field), rtol=1e-9, atol=1e-9)
    assert list(profiles(orbits, stations, [], START)) == []


@pytest.mark.parametrize(
    ("altitude_km", "minutes"),
    [
        (500.0, {"svalbard": 98.6, "kiruna": 70.4, "toulouse": 31.7}),
        (600.0, {"svalbard": 111.7, "kiruna": 81.6, "toulouse": 38.0}),
        (700.0, {"svalbard": 132.5, "kiruna": 96.1, "toulouse": 50.0}),
    ],
)
def test_contact_time_is_near_that_of_the_survey(altitude_km, minutes):
    """Minutes a day from 5 degrees on, surveyed for one day and plane; here the mean over planes, to a tenth."""
    stations = [placed(name, 5) for name in minutes]
    hours = (0.5, 6.5, 9.5, 10.5, 18.5, 22.5)
    orbits = [
        Orbit.sun_synchronous(altitude_km, START, ltan_h=ltan_h, phase_deg=phase_deg, name=f"{ltan_h} {phase_deg}")
        for ltan_h in hours
        for phase_deg in (0.0, 120.0, 240.0)
    ]
    found = passes(orbits, stations, START, DAY_S)
    for name, expected in minutes.items():
        mean = sum(one.duration_s for one in found if one.station == name) / 60.0 / len(orbits)
        assert mean == pytest.approx(expected, rel=0.11)


def test_a_station_that_sees_nothing_is_named():
    flat = Orbit.circular(500.0, 10.0, START, name="flat")
    stations = [placed("svalbard", 5), Station(name="equator", latitude_deg=0.0, longitude_deg=20.0, g_t_db_k=30.0)]
    found = passes([flat], stations, START, DAY_S)
    assert {one.station for one in found} == {"equator"}
    assert unseen(stations, found) == ("svalbard",)


def test_refusals():
    orbit, place = ORBITS["low"], placed("kiruna", 5)
    for duration_s in (0.0, -5.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="Passes cannot be sought over"):
            passes([orbit], [place], START, duration_s)
    with pytest.raises(ConfigError, match="Two satellites are called low"):
        passes([orbit, orbit], [place], START, 10.0)
    with pytest.raises(ConfigError, match="Two stations are called kiruna"):
        passes([orbit], [place, place], START, 10.0)
    with pytest.raises(ConfigError, match="no time zone"):
        passes([orbit], [place], datetime(2026, 11, 20), 10.0)  # noqa: DTZ001
    with pytest.raises(ConfigError, match=r"step of 0\.0 s"):
        profiles([orbit], [place], [], START, 0.0)


@pytest.mark.parametrize("mask_deg", [-1.0, 90.0, float("nan")])
def test_masks_out_of_range_are_refused(mask_deg):
    with pytest.raises(ValueError, match="min_elevation_deg"):
        Station(name="site", latitude_deg=0.0, longitude_deg=0.0, g_t_db_k=30.0, min_elevation_deg=mask_deg)


def test_the_catalogue_is_of_places_on_earth():
    names = [place.name for place in catalogue()]
    assert len(names) == len(set(names)) >= 12
    for place in catalogue():
        there = wgs84.latlon(place.latitude_deg, place.longitude_deg, place.altitude_m)
        np.testing.assert_allclose(place.position_km(), there.itrs_xyz.km, atol=1e-6)
        assert 25.0 < place.g_t_at(8.2e9) < 40.0
