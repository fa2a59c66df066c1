"""Scenarios, the scenes behind them, and what the wire adds: what is said holds, and what cannot be is named."""

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.codec.bundle import BUNDLE_BYTES
from taran_eo.codec.chip import open_chip
from taran_eo.codec.image import expand
from taran_eo.config import load_json, load_toml, parse
from taran_eo.downlink import runs
from taran_eo.downlink.acquisition import acquire, segment_starts_s
from taran_eo.downlink.daylight import noons_s, sun_direction
from taran_eo.downlink.instants import Instants
from taran_eo.downlink.orbit import Orbit
from taran_eo.downlink.overheads import NAME_BYTES, Overheads
from taran_eo.downlink.runs import Source, fit
from taran_eo.downlink.scenario import Imaging, Ratios, Scenario
from taran_eo.downlink.strategies import STRATEGIES, chosen
from taran_eo.downlink.traffic import Alike, Traffic
from taran_eo.errors import ConfigError, CorruptDataError
from taran_eo.wire import Cfdp, File, Framing, send

USUAL = {"orbit": {"altitude_km": 600.0}, "stations": ["svalbard"]}


CODED = {"family": "ccsds", "coding": "constant"}


def scenario(**changes):
    return parse({**USUAL, **changes}, Scenario, source="the test")


# What the wire adds.


@given(
    size=st.integers(0, 6000),
    name=st.integers(1, 40),
    kind=st.sampled_from(["tm", "aos"]),
    interleaving=st.sampled_from([0, 1, 2, 5]),
    fecf=st.booleans(),
    crc=st.booleans(),
    widths=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 8])),
)
def test_the_formula_agrees_with_the_wire(size, name, kind, interleaving, fecf, crc, widths):
    framing = Framing(kind=kind, spacecraft=7, interleaving=interleaving, fecf=fecf or not interleaving)
    cfdp = Cfdp(crc=crc, entity_bytes=widths[0], number_bytes=widths[1])
    stream = b"".join(send([File("n" * name, bytes(size))], framing, cfdp))
    frames = Overheads(framing, cfdp).file_frames(np.array([size]), name)[0]
    assert len(stream) == frames * framing.cadu_bytes


def test_products_go_in_bundles():
    framing, cfdp = Framing(spacecraft=7), Cfdp()
    sizes = np.array([0, 1, 67, BUNDLE_BYTES - 1, BUNDLE_BYTES, BUNDLE_BYTES + 1, 3 * BUNDLE_BYTES + 5])
    counted = Overheads(framing, cfdp).frames(sizes)
    for size, frames in zip(sizes.tolist(), counted.tolist(), strict=True):
        bundles = [BUNDLE_BYTES] * (size // BUNDLE_BYTES) + [size % BUNDLE_BYTES] * (size % BUNDLE_BYTES > 0)
        # One stream each: a file does not begin in the last frame of another.
        streams = (b"".join(send([File("n" * NAME_BYTES, bytes(part))], framing, cfdp)) for part in bundles)
        assert sum(map(len, streams)) == frames * framing.cadu_bytes


@given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=8))
def test_files_that_follow_each_other_share_at_most_a_frame(sizes):
    """So the sum over files is never too little, and too much by less than a frame each."""
    framing, cfdp = Framing(spacecraft=7), Cfdp()
    stream = b"".join(send([File("n" * NAME_BYTES, bytes(size)) for size in sizes], framing, cfdp))
    counted = Overheads(framing, cfdp).file_frames(np.array(sizes)).sum()
    assert counted - len(sizes) < len(stream) / framing.cadu_bytes <= counted


# The scenes.

SCENES = Traffic(
    source="made up",
    scene_km2=2.0,
    pixel_m=1.5,
    header_bytes=60.0,
    origin_bytes=90.0,
    alike=(
        Alike(scenes=6, ships=0, ships_bytes=0, mask_bytes=0, chips_bytes=0, regions_bytes=100),
        Alike(scenes=3, ships=1, ships_bytes=20, mask_bytes=50, chips_bytes=900, regions_bytes=1000),
        Alike(scenes=1, ships=5, ships_bytes=60, mask_bytes=150, chips_bytes=4000, regions_bytes=3000),
    ),
)


@given(share=st.floats(0.0, 2.0))
def test_as_many_ships_are_drawn_as_are_asked_for(share):
    density = SCENES.ships_km2 * share
    scenes = np.full(50, 4000)
    drawn = SCENES.draw(scenes, density, np.random.default_rng(3))
    expected = density * SCENES.scene_km2 * 4000 * 50
    chance = 6 * np.sqrt(5 * expected) + 1e-9
    assert drawn.ships.sum() == pytest.approx(expected, abs=chance)
    # What goes with ships grows with them, and the coarse image of the sea does not.
    assert drawn.mask_bytes.sum() == pytest.approx(expected / 0.8 * 30, abs=50 * chance)
    assert (drawn.regions_bytes >= 100 * 4000).all()


def test_scenes_as_they_are_have_the_mean_of_the_run():
    drawn = SCENES.draw(np.full(200, 1000), None, np.random.default_rng(1))
    assert drawn.ships.mean() == pytest.approx(800, rel=0.02)
    assert drawn.ships_bytes.mean() == pytest.approx(12_000, rel=0.02)
    again = SCENES.draw(np.full(200, 1000), None, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn.chips_bytes, again.chips_bytes)


def test_more_ships_than_scenes_can_give_are_refused():
    with pytest.raises(ConfigError, match=r"ships_km2 = 1\.5, but .* made up give 1 at most"):
        SCENES.draw(np.array([5]), 1.5, np.random.default_rng(0))
    empty = SCENES.model_copy(update={"alike": SCENES.alike[:1]})
    with pytest.raises(ConfigError, match="give 0 at most"):
        empty.draw(np.array([5]), 0.1, np.random.default_rng(0))
    assert empty.draw(np.array([5]), 0.0, np.random.default_rng(0)).ships.tolist() == [0]


def test_pixels_of_chips_and_regions_are_as_many_as_on_board(tmp_path, taran_eo):
    assert taran_eo("synth", "-o", tmp_path / "in", "--scenes", 2, "--size", "256x320", "--seed", 3, "-q").code == 0

    def products(level):
        out = tmp_path / level
        assert taran_eo("run", tmp_path / "in", "-o", out, "--level", level, "--codec", "zstd", "-q").code == 0
        for path in out.glob("*.product"):
            product = runs._open(path)
            yield product.ships(), product.header, [*product.items[level].values()]

    for ships, header, items in products("chips"):
        assert ships
        assert runs.chip_pixels(ships, header) == sum(open_chip(item, 3)[2][0].size for item in items)
    for ships, header, (coarse, *fine) in products("regions"):
        cut = expand(coarse)[0].size + sum(open_chip(item, 3)[2][0].size for item in fine)
        # Rectangles around the squares hold some more.
        assert runs.region_pixels(ships, header) <= cut <= 1.5 * runs.region_pixels(ships, header)


def test_a_run_is_read_with_the_bytes_of_its_products(tmp_path, taran_eo):
    out = tmp_path / "out"
    assert taran_eo("synth", "-o", tmp_path / "in", "--scenes", 3, "--size", "200x300", "--seed", 3, "-q").code == 0
    assert taran_eo("run", tmp_path / "in", "-o", out, "-q").code == 0
    read = Source(run=out).open()
    products = [runs._open(path) for path in sorted(out.glob("*.product"))]
    # To the last bit, in whatever order scenes were finished.
    for order in itertools.permutations(products):
        assert read == fit(order, source="out", gsd_m=99.0)
    assert read.scene_km2 == pytest.approx(200 * 300 * 1.5**2 / 1e6, rel=0.01)
    ships = sum(len(each.ships()) for each in products)
    assert read.ships_km2 == pytest.approx(ships / (3 * read.scene_km2))
    total = 3 * (read.header_bytes + read.origin_bytes)
    total += sum(each.scenes * (each.ships_bytes + each.mask_bytes) for each in read.alike)
    assert total == pytest.approx(sum(path.stat().st_size for path in out.glob("*.product")))
    # A model in a file draws as the run does.
    model = tmp_path / "model.json"
    model.write_text(read.model_dump_json())
    assert Source(model=model).open() == read
    product = next(out.glob("*.product"))
    product.write_bytes(product.read_bytes()[:-1])
    with pytest.raises(CorruptDataError, match=product.name):
        Source(run=out).open()


def test_the_model_that_comes_with_the_package_opens():
    usual = Source().open()
    assert sum(each.scenes for each in usual.alike) == 21
    assert usual.scene_km2 == pytest.approx((768 * 1.5e-3) ** 2)


# When images are taken.


PERIOD_S = 5800.0
NOONS_S = np.arange(-1000.0, 4 * 86400, PERIOD_S)


@given(duty=st.floats(0.01, 0.5), segment_s=st.floats(1, 300), days=st.floats(0.1, 3), seed=st.integers(0, 9))
def test_segments_do_not_overlap_and_keep_the_share_of_the_time(duty, segment_s, days, seed):
    duration_s = days * 86400
    imaging = Imaging(duty=duty, segment_s=segment_s)
    starts_s = segment_starts_s(imaging, NOONS_S, PERIOD_S, duration_s, np.random.default_rng(seed))
    assert (np.diff(starts_s) >= segment_s - 1e-6).all()
    assert starts_s.size == 0 or starts_s[0] >= 0
    assert starts_s.size == 0 or starts_s[-1] + segment_s <= duration_s
    assert abs(starts_s.size * segment_s - duty * duration_s) <= 2 * (duty * PERIOD_S + segment_s)
    # In the sunlit half, but for the one segment by which a share may be rounded up.
    middles_s = starts_s + segment_s / 2
    nearest = np.abs(middles_s[:, None] - NOONS_S).min(axis=1, initial=np.inf)
    assert (nearest <= PERIOD_S / 4 + segment_s).all()


@pytest.mark.parametrize(
    ("moment", "direction"),
    [
        # Equinox and solstices of 2026 (Astronomical Almanac, to the minute); the obliquity is 23.44 degrees.
        (datetime(2026, 3, 20, 14, 46, tzinfo=UTC), (1, 0, 0)),
        (datetime(2026, 6, 21, 8, 25, tzinfo=UTC), (0, 0.91748, 0.39778)),
        (datetime(2026, 12, 21, 20, 50, tzinfo=UTC), (0, -0.91748, -0.39778)),
    ],
)
def test_the_sun_stands_where_the_almanac_says(moment, direction):
    days = np.array([2440587.5 + moment.timestamp() / 86400])
    np.testing.assert_allclose(sun_direction(days)[0], direction, atol=5e-4)


@pytest.mark.parametrize(("ltan_h", "ascending"), [(10.5, True), (22.5, False)])
def test_noon_is_at_the_equator_on_the_side_of_the_sun(ltan_h, ascending):
    """An orbit that goes north over the equator at half past ten has its noon there, all month."""
    start = datetime(2026, 3, 20, tzinfo=UTC)
    orbit = Orbit.sun_synchronous(600, start, ltan_h=ltan_h)
    noons = noons_s(orbit, start, 30 * 86400)
    assert np.diff(noons) == pytest.approx(orbit.period_s, abs=90)
    inside = noons[(noons > 0) & (noons < 30 * 86400)]
    position, velocity = orbit.earth_fixed(Instants.of(start, inside))
    latitude_deg = np.degrees(np.arcsin(position[:, 2] / np.linalg.norm(position, axis=1)))
    assert (abs(latitude_deg) < 20).all()
    assert ((velocity[:, 2] > 0) == ascending).all()


@given(busy=st.lists(st.floats(0, 80_000), max_size=6), seed=st.integers(0, 9))
def test_no_image_is_taken_while_the_satellite_points_to_a_station(busy, seed):
    spans = [(each, each + 600.0) for each in sorted(busy)]
    spans = [after for before, after in itertools.pairwise([(-1e9, -1e9), *spans]) if after[0] > before[1]]

    def taken(busy_s):
        rng = np.random.default_rng(seed)
        given = {"ships_km2": None, "bits_km2": 1e6, "noons_s": NOONS_S, "period_s": PERIOD_S}
        return acquire(Imaging(), SCENES, busy_s=busy_s, duration_s=86400.0, rng=rng, **given)

    free, bound = taken([]), taken(spans)
    assert free.cancelled == 0
    assert bound.cancelled + bound.taken_s.size == free.taken_s.size
    for start_s, end_s in spans:
        assert ((bound.taken_s <= start_s) | (bound.taken_s - bound.length_s >= end_s)).all()


# Bad scenarios.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"storage_bytes": 0}, "storage_bytes = 0"),
        ({"storage_byte": 1}, "Did you mean storage_bytes"),
        ({"days": -1.0}, r"days = -1\.0"),
        ({"stations": []}, "stations"),
        ({"orbit": {}}, "altitude_km or orbit.tle"),
        ({"orbit": {"altitude_km": 500.0, "tle": "x"}}, "not both"),
        ({"imaging": {"duty": 0.7}}, r"imaging\.duty = 0\.7"),
        ({"imaging": {"swaths_km": 7.0}}, "Did you mean swath_km"),
        ({"contacts": {"frame_loss": 1.0}}, "frame_loss"),
        ({"link": {"symbol_rate_sym_s": -1.0}}, "symbol_rate_sym_s"),
        ({"processing": {"tile_ms": 0.0}}, "tile_ms"),
        ({"traffic": {"run": "a", "model": "b"}}, "both given"),
        ({"link": CODED, "wire": {"framing": {"interleaving": 5}}}, "set it to 0"),
        ({"link": {"family": "ccsds"}}, r"one code of link\.family = 'ccsds'; set link\.coding to 'constant'"),
        ({"link": {"modcod": "QPSK 1/3"}}, r"link\.modcod = 'QPSK 1/3', but link\.coding = 'variable' chooses"),
        ({"stations": [{"name": "here", "latitude_deg": 1.0}]}, r"stations\.0\.full\.longitude_deg is missing"),
        ({"imaging": {"slew_s": -1.0}}, "slew_s"),
        ({"processing": {"compress_mb_s": {"jpeg_ls": 0.0}}}, r"jpeg_ls = 0\.0"),
        ({"wire": {"cfdp": {"segment_bytes": 100}}}, "end with frames"),
        ({"priorities": {"ships": {"priority": -1}}}, "priority = -1"),
    ],
)
def test_what_cannot_be_is_named(changes, said):
    with pytest.raises(ConfigError, match=said):
        scenario(**changes)


def test_names_that_nobody_knows_are_refused():
    for field, value, said in (("stations", ["svalbrd"], "svalbard"), ("sensor", "nonesuch", "spot-6")):
        with pytest.raises(ConfigError, match=said):
            scenario(**{field: value}).resolved()
    with pytest.raises(ConfigError, match="Did you mean jpeg-ls"):
        chosen(["jpeg-l"])
    with pytest.raises(ConfigError, match="cannot be read"):
        scenario(orbit={"tle": "nowhere.tle"}).orbit.orbits(scenario().start)


def test_elements_come_from_a_file_or_stand_in_the_scenario(tmp_path):
    text = Orbit.sun_synchronous(550, scenario().start).text
    (tmp_path / "elements.tle").write_text(text)
    for tle in (text, str(tmp_path / "elements.tle")):
        found = scenario(orbit={"tle": tle, "satellites": 4, "planes": 2})
        assert len(found.orbit.orbits(found.start)) == 4


def test_usual_ratios_are_those_that_were_measured(repository: Path):
    measured = json.loads((repository / "pipelines" / "results" / "lossless.json").read_text())
    of = {(row["codec"], row["green"]): row for row in measured["rows"] if row["frames"] == "spot-6"}
    lossy = of["jpeg-2000-55db", False]
    found = (of["ccsds-121", True]["ratio"], of["jpeg-ls", True]["ratio"], lossy["ratio"], lossy["psnr_db"])
    usual = Ratios()
    ours = (usual.ccsds_121, usual.jpeg_ls, usual.jpeg_2000, usual.jpeg_2000_psnr_db)
    assert ours == pytest.approx(found, rel=2e-3)


def test_a_resolved_scenario_is_read_back(tmp_path):
    resolved = scenario(stations=["svalbard", "troll"], link={"coding": "adaptive"}).resolved()
    (tmp_path / "scenario.json").write_text(resolved.model_dump_json(exclude_none=True))
    assert load_json(tmp_path / "scenario.json", Scenario) == resolved


def test_the_examples_are_scenarios(repository: Path):
    examples = sorted(repository.glob("pipelines/downlink_*.toml"))
    assert len(examples) >= 3
    for path in examples:
        load_toml(path, Scenario).resolved()


def test_strategies_have_names_of_their_own():
    assert len({each.name for each in STRATEGIES}) == len(STRATEGIES)
    assert chosen(["ships", "raw"]) == (STRATEGIES[0], STRATEGIES[-1])
