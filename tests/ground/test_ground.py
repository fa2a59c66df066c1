"""What arrives is what was sent, level by level; and what does not arrive is named, and nothing else is lost."""

import dataclasses
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

from taran_eo.codec import Header, Origin, RunLength, Sighting, assemble, bundles, pack, pages, unpack
from taran_eo.codec.chip import close_chip
from taran_eo.codec.image import codec_named, compress
from taran_eo.codec.part import KEY_BYTES, Part, pack_part
from taran_eo.engines import ReferenceEngine
from taran_eo.errors import OutputError
from taran_eo.ground import compare, land
from taran_eo.imagery import open_scene, read_mask
from taran_eo.imagery.source import gdal
from taran_eo.imagery.synthetic import write_synthetic_scene
from taran_eo.imagery.window import Window
from taran_eo.model import Model
from taran_eo.onboard import files, process, run, verify
from taran_eo.onboard.crew import Options
from taran_eo.onboard.cutting import cut

SIZE = (300, 410)
PLAIN = {"ships": 0, "land": False, "cloudy": False, "swath_edge": False, "crs": None, "transform": None}
ORIGIN = Origin(model="m", model_digest="0" * 64, threshold=0.5, software="taran-eo")
HEADER = Header(
    origin=ORIGIN.key.hex(),
    scene="harbour",
    rows=1,
    cols=1,
    bands=3,
    crs=None,
    transform=None,
    gsd_m=None,
    stretch=None,
    ships=0,
    ship_pixels=0,
    nodata_pixels=0,
    tile=768,
    layout=(0, 1),
    levels={},
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Two scenes: one with ships that lies on Earth, one without anything."""
    folder = tmp_path_factory.mktemp("scenes")
    transform = rasterio.Affine(1.5, 0.0, 500_000.0, 0.0, -1.5, 4_650_000.0)
    options = {"crs": rasterio.CRS.from_epsg(32631), "transform": transform, "cloudy": False, "swath_edge": False}
    (folder / "coast").mkdir()
    rng = np.random.default_rng(5)
    write_synthetic_scene(folder / "coast" / "ships.tif", *SIZE, rng=rng, ships=6, land=True, **options)
    calm = np.random.default_rng(11)
    write_synthetic_scene(folder / "empty.tif", 140, 90, rng=calm, ships=0, land=False, **options)
    return folder


@pytest.fixture(scope="module")
def sent(scenes, tmp_path_factory):
    """The outputs of a run at each level, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("sent"), {}

    def at(level, codec="jpeg-ls") -> Path:
        out = folder / f"{level}-{codec}"
        if out not in made:
            made[out] = run([scenes], out, Model.open(), options=Options(level=level, codec=codec))
            assert verify(out).findings == ()
        return out

    return at


def compared(out, folder, **options):
    return list(compare(out, folder, landed(out, folder, **options)))


def landed(out, folder, *, lost=()):
    return land((file.data for n, file in enumerate(files(out, twice=False)) if n not in lost), folder)


def pixels(path):
    with gdal(), rasterio.open(path) as dataset:
        return dataset.read(), dataset.transform, dataset.crs


@pytest.mark.parametrize("level", ["counts", "ships", "mask", "chips", "regions", "scene"])
def test_what_was_sent_is_there(sent, scenes, tmp_path, level):
    out = sent(level)
    landing = landed(out, tmp_path)
    assert landing.whole and landing.findings == ()
    assert [scene.scene for scene in landing.scenes] == ["coast/ships", "empty"]
    assert json.loads((tmp_path / "reception.json").read_text())["scenes"][0]["missing"] == []
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    ships, empty = landing.scenes
    assert names == {*ships.outputs, *empty.outputs, "reception.json"}
    assert ("coast/ships.ships.geojson" in names) == (level != "counts")
    assert ("coast/ships.mask.tif" in names) == (level not in ("counts", "ships"))
    assert ("coast/ships.chip_00001.tif" in names) == (level == "chips")
    assert {"coast/ships.preview.png", "empty.preview.png"} <= names
    assert ships.ships > 0 and empty.ships == 0
    if "coast/ships.mask.tif" in names:
        assert all(mask.identical for mask in compare(out, tmp_path, landing))
        # Not only the labels: the files are the same, georeference and all.
        assert (tmp_path / "empty.mask.tif").read_bytes() == (out / "empty.mask.tif").read_bytes()
        assert read_mask(tmp_path / "coast/ships.mask.tif").labels.shape == SIZE


def test_the_ground_may_lie_inside_what_is_compared(sent):
    """A link's outputs in a folder of the run are not taken for masks that were sent."""
    out = sent("mask")
    compared(out, out / "first")
    assert [(mask.name, mask.identical) for mask in compared(out, out / "ground")] == [
        ("coast/ships", True),
        ("empty", True),
    ]


def test_ships_on_the_ground_are_those_on_board(sent, tmp_path):
    out = sent("ships")
    landed(out, tmp_path)
    board, ground = (
        json.loads((folder / "coast/ships.ships.geojson").read_text())["features"] for folder in (out, tmp_path)
    )
    assert len(board) == len(ground) > 0
    for above, below in zip(board, ground, strict=True):
        a, b = above["properties"], below["properties"]
        assert Sighting.of(a["box"], a["score"], a["pixels"]) == Sighting.of(b["box"], b["score"], b["pixels"])
        assert b["length_m"] == pytest.approx(a["length_m"], abs=0.4)
        assert abs((b["heading_deg"] - a["heading_deg"] + 90) % 180 - 90) < 0.6 or a["length_px"] < a["width_px"] + 1
        # The place on the ground is the centre of the box, that on board the centre of gravity.
        assert b["latitude_deg"] == pytest.approx(a["latitude_deg"], abs=8e-5)
        assert b["longitude_deg"] == pytest.approx(a["longitude_deg"], abs=1e-4)
        assert below["geometry"]["type"] == "Polygon"


def test_the_whole_scene_comes_back_without_loss(sent, scenes, tmp_path):
    landed(sent("scene"), tmp_path)
    with open_scene(scenes / "coast" / "ships.tif", Model.open().contract) as scene:
        expected = scene.read(Window(0, 0, *SIZE))[0]
    found, transform, crs = pixels(tmp_path / "coast/ships.scene.tif")
    np.testing.assert_array_equal(found, expected)
    assert (transform, crs.to_epsg()) == (scene.transform, 32631)


def test_regions_are_fine_around_ships_and_coarse_elsewhere(sent, scenes, tmp_path):
    landed(sent("regions"), tmp_path)
    with open_scene(scenes / "coast" / "ships.tif", Model.open().contract) as scene:
        expected = scene.read(Window(0, 0, *SIZE))[0].astype(int)
    found = pixels(tmp_path / "coast/ships.regions.tif")[0].astype(int)
    ships = json.loads((tmp_path / "coast/ships.ships.geojson").read_text())["features"]
    fine = np.zeros(SIZE, bool)
    for each in ships:
        (top, left), (bottom, right) = np.min(each["properties"]["box"], 0), np.max(each["properties"]["box"], 0)
        rows = slice(max(0, int(top) - 24), int(bottom) + 24)
        fine[rows, max(0, int(left) - 24) : int(right) + 24] = True
    np.testing.assert_array_equal(found[:, fine], expected[:, fine])
    assert 0 < np.abs(found - expected)[:, ~fine].mean() < 12
    # Means over squares: what is coarse keeps its brightness.
    assert found.mean() == pytest.approx(expected.mean(), abs=0.5)


def test_chips_show_the_ships_in_their_place(sent, scenes, tmp_path):
    landed(sent("chips"), tmp_path)
    with open_scene(scenes / "coast" / "ships.tif", Model.open().contract) as scene:
        whole = scene.read(Window(0, 0, *SIZE))[0]
    chips = sorted((tmp_path / "coast").glob("ships.chip_*.tif"))
    features = json.loads((tmp_path / "coast/ships.ships.geojson").read_text())["features"]
    assert len(chips) == len(features)
    for chip, feature in zip(chips, features, strict=True):
        found, transform, _ = pixels(chip)
        col, row = ~scene.transform @ (transform.c, transform.f)
        top, left = round(row), round(col)
        np.testing.assert_array_equal(found, whole[:, top : top + found.shape[1], left : left + found.shape[2]])
        centre = feature["properties"]["row"] - top, feature["properties"]["col"] - left
        assert 0 < centre[0] < found.shape[1] and 0 < centre[1] < found.shape[2]


def test_lossy_pixels_stay_within_their_bound(sent, scenes, tmp_path):
    landed(sent("scene", "jpeg-ls-near-2"), tmp_path)
    with open_scene(scenes / "coast" / "ships.tif", Model.open().contract) as scene:
        expected = scene.read(Window(0, 0, *SIZE))[0].astype(int)
    found = pixels(tmp_path / "coast/ships.scene.tif")[0].astype(int)
    assert 0 < np.abs(found - expected).max() <= 2


def test_what_is_missing_is_named_and_no_sea(sent, tmp_path):
    out = sent("chips")
    assert [file.name for file in files(out, twice=False)] == [
        "00000-counts-ships.teo",
        "00001-mask.teo",
        "00002-chips.teo",
    ]
    landing = landed(out, tmp_path, lost={1})
    assert not landing.whole
    assert landing.scenes[0].missing == ("1 of 1 items of level mask: 0",)
    assert landing.scenes[1].missing == ()
    assert (read_mask(tmp_path / "coast/ships.mask.tif").labels == 255).all()
    assert [mask.identical for mask in compare(out, tmp_path, landing)] == [False, True]
    without = landed(out, tmp_path / "without", lost={0})
    assert without.scenes == ()
    assert len(without.lost) == 1 and "of level mask" in without.lost[0] and "of level chips" in without.lost[0]
    assert all(mask.received is None for mask in compare(out, tmp_path / "without", without))


def test_files_may_overlap_repeat_and_have_holes(sent, tmp_path):
    data = b"".join(file.data for file in files(sent("chips"), twice=True))
    holed = data[:700] + bytes(500) + data[1200:]
    landing = land([holed, data[: len(data) // 2], data[-300:]], tmp_path)
    assert landing.whole
    assert len(landing.scenes) == 2


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "", ".", "a/../../b", "a\nb", "x" * 300, "a//b"])
def test_a_name_from_afar_stays_below_the_folder(sent, tmp_path, name):
    product = unpack((sent("mask") / "empty.product").read_bytes())
    renamed = dataclasses.replace(product.header, scene=name)
    forged = assemble(product.made_by(), renamed, {"ships": [], "mask": []})
    landing = land([pack(forged)], tmp_path / "ground")
    assert [scene.scene for scene in landing.scenes] == [name]
    assert set(landing.scenes[0].outputs) == {
        f"scene_{renamed.key.hex()}{ending}" for ending in (".ships.geojson", ".mask.tif", ".preview.png")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["ground"]


def test_scenes_of_one_name_do_not_replace_one_another(sent, tmp_path):
    product = unpack((sent("mask") / "empty.product").read_bytes())
    other = dataclasses.replace(product.header, scene="EMPTY", gsd_m=3.0)
    second = assemble(product.made_by(), other, {"ships": [], "mask": []})
    landing = land([pack(product), pack(second)], tmp_path)
    assert [set(scene.outputs) for scene in landing.scenes] == [
        {f"{name}{ending}" for ending in (".ships.geojson", ".mask.tif", ".preview.png")}
        for name in ("empty", f"EMPTY~{other.key.hex()}")
    ]


def test_what_no_encoder_of_ours_wrote_is_told_and_the_rest_is_there(sent, tmp_path):
    """Every checksum of a part in order, as an attacker or a defect would have it."""
    product = unpack((sent("mask") / "coast" / "ships.product").read_bytes())
    origin, header = product.made_by(), product.header
    good = {step: list(items.values()) for step, items in product.items.items()}
    chip = close_chip(290, 400, np.zeros((3, 20, 20), np.uint8), codec_named("jpeg-ls"))
    wide = compress(np.zeros((3, 9, 9), np.uint8), codec_named("zstd"))
    deep = compress(np.full((3, 38, 52), 300, np.uint16), codec_named("zstd"))
    small = RunLength().compress(np.ones((3, 3), np.uint8))
    for items, told in [
        ({"mask": [small]}, "the mask at row 0, column 0 cannot be read"),
        ({"mask": [b"\x00" * 30]}, "the mask at row 0, column 0 cannot be read"),
        ({"ships": [b"\x01\x02"]}, "page 1 of the ship list cannot be read"),
        ({"chips": [chip]}, "chip 1 cannot be read"),
        ({"chips": [b"junk"]}, "chip 1 cannot be read"),
        ({"regions": [wide]}, "piece 1 of level regions cannot be read"),
        ({"regions": [deep]}, "piece 1 of level regions cannot be read"),
        ({"regions": [compress(np.zeros((3, 38, 52), np.uint8), codec_named("zstd")), chip]}, "region 1 cannot"),
        ({"scene": [b"-"] * 12}, "piece 12 of level scene cannot be read"),
    ]:
        landing = land([pack(assemble(origin, header, good | items))], tmp_path)
        assert not landing.whole
        assert any(told in line for line in landing.scenes[0].missing), (told, landing.scenes[0].missing)
        if "mask" not in items:
            assert (read_mask(tmp_path / "coast/ships.mask.tif").labels == 1).sum() == header.ship_pixels
    shifted = dataclasses.replace(header, layout=(0, 5))
    landing = land([pack(assemble(origin, shifted, good))], tmp_path)
    assert any("the layout of the mask cannot be read" in line for line in landing.scenes[0].missing)
    assert (read_mask(tmp_path / "coast/ships.mask.tif").labels == 255).all()
    assert len(json.loads((tmp_path / "coast/ships.ships.geojson").read_text())["features"]) == header.ships
    nowhere = dataclasses.replace(header, crs="EPSG:nonsense")
    landing = land([pack(assemble(origin, nowhere, good))], tmp_path)
    assert "coordinate reference system" in landing.scenes[0].missing[0]
    vast = dataclasses.replace(header, rows=1 << 17, cols=1 << 17, layout=(0, 2**10), tile=1 << 12)
    landing = land([pack(assemble(origin, vast, {"ships": [], "mask": []}))], tmp_path)
    assert "pixels" in landing.scenes[0].missing[0] and landing.scenes[0].outputs == {}
    landing = land([pack_part(Part(9, b"\0" * KEY_BYTES, 0, (b"x",)))], tmp_path)
    assert landing.lost and "unknown kind 9" in landing.lost[0]


def test_nothing_at_all_is_told(tmp_path):
    landing = land([], tmp_path / "deep" / "ground")
    assert landing.scenes == () and not landing.whole
    assert json.loads((tmp_path / "deep" / "ground" / "reception.json").read_text())["scenes"] == []


@pytest.mark.parametrize(
    "crs", ["http://127.0.0.1:9/x", "+proj=longlat +nadgrids=/etc/passwd", "OGC:CRS84", "EPSG:", "EPSG:5703", "x" * 99]
)
def test_a_reference_system_from_afar_is_a_code_or_wkt_and_nothing_else(sent, tmp_path, crs):
    """Neither is an address fetched nor a file named; and one such scene leaves the others alone."""
    product = unpack((sent("mask") / "coast" / "ships.product").read_bytes())
    items = {step: list(held.values()) for step, held in product.items.items()}
    forged = pack(assemble(product.made_by(), dataclasses.replace(product.header, crs=crs), items))
    landing = land([forged, (sent("mask") / "empty.product").read_bytes()], tmp_path)
    assert len(landing.scenes) == 2
    assert landing.scenes[1].missing == ()
    assert bool(landing.scenes[0].missing) == (crs != "EPSG:5703")  # heights alone: known, and nowhere on the globe


@pytest.mark.parametrize(
    "transform", [(0.0,) * 6, (1e11, 0.0, 1e11, 0.0, -1e11, 1e11), (1.5, 0.0, 1e11, 0.0, -1.5, 0.0)]
)
def test_a_scene_that_lies_nowhere_on_the_globe_lands(sent, tmp_path, transform):
    product = unpack((sent("mask") / "coast" / "ships.product").read_bytes())
    items = {step: list(held.values()) for step, held in product.items.items()}
    forged = assemble(product.made_by(), dataclasses.replace(product.header, transform=transform), items)
    landing = land([pack(forged)], tmp_path)
    assert landing.scenes[0].missing == ()
    assert len(json.loads((tmp_path / "coast/ships.ships.geojson").read_text())["features"]) == product.header.ships


@pytest.mark.parametrize("name", ["a.mask.tif/x", "reception.json/x", "x/" * 700 + "y", "a/" * 3 + "b.png/c"])
def test_a_name_that_would_stand_in_the_way_of_others_is_none(sent, tmp_path, name):
    product = unpack((sent("mask") / "empty.product").read_bytes())
    renamed = dataclasses.replace(product.header, scene=name)
    first = dataclasses.replace(product.header, scene="a")
    forged = [assemble(product.made_by(), header, {"ships": [], "mask": []}) for header in (first, renamed)]
    landing = land(map(pack, forged), tmp_path)
    assert [scene.missing for scene in landing.scenes] == [(), ()]
    assert f"scene_{renamed.key.hex()}.mask.tif" in landing.scenes[1].outputs


def test_the_folder_of_a_run_is_not_that_of_the_ground(sent):
    with pytest.raises(OutputError, match="outputs of a run"):
        landed(sent("mask"), sent("mask"))
    assert verify(sent("mask")).findings == ()


def test_a_folder_whose_report_is_none_is_left_alone(tmp_path):
    (tmp_path / "reception.json").write_text('{"scenes": [{"outputs": ["../else"]}]}')
    (tmp_path.parent / "else").write_bytes(b"not ours")
    land([], tmp_path)
    assert (tmp_path.parent / "else").read_bytes() == b"not ours"
    (tmp_path / "reception.json").write_text("[]")
    with pytest.raises(OutputError, match="no report"):
        land([], tmp_path)


def test_what_needs_a_library_that_is_missing_costs_nothing_else(sent, tmp_path, monkeypatch):
    out = sent("chips")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    landing = landed(out, tmp_path)
    assert any("taran-eo[codecs]" in line for line in landing.scenes[0].missing)
    assert (read_mask(tmp_path / "coast/ships.mask.tif").labels == 1).any()
    assert json.loads((tmp_path / "coast/ships.ships.geojson").read_text())["features"]


def test_a_second_landing_leaves_nothing_of_the_first(sent, tmp_path):
    landed(sent("chips"), tmp_path)
    (tmp_path / "coast" / "ships.chip_0x.tif").write_bytes(b"not ours")
    landing = landed(sent("mask"), tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    outputs = {name for scene in landing.scenes for name in scene.outputs}
    assert names == {*outputs, "reception.json", "coast/ships.chip_0x.tif"}
    land([], tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"reception.json", "ships.chip_0x.tif"}


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 900), (129, 129), (800, 20)])
@pytest.mark.parametrize("level", ["mask", "chips", "regions", "scene"])
def test_odd_sizes_come_back(tmp_path, rows, cols, level):
    path, model = tmp_path / "a.tif", replace(Model.open(), threshold=1e-300)
    write_synthetic_scene(path, rows, cols, rng=np.random.default_rng(2), **PLAIN)
    with open_scene(path, model.contract) as scene:
        outcome = process(scene, model, ReferenceEngine(model.graph), tmp_path / "out", level=level)
        expected = scene.read(Window(0, 0, rows, cols))[0]
    landing = land([pack(outcome.product)], tmp_path / "ground")
    assert landing.whole
    assert (read_mask(tmp_path / "ground" / "a.mask.tif").labels == 1).all()
    if level in ("scene", "regions"):  # all is ship, so all is fine
        np.testing.assert_array_equal(pixels(tmp_path / "ground" / f"a.{level}.tif")[0], expected)


def test_a_dense_harbour_is_fine_in_pieces(tmp_path):
    """Ships everywhere: what is fine is the whole scene, in images that the ground accepts and a lost frame spares."""
    ships = [
        Sighting(4 * row, 4 * col, 80, 20, 30, 100, 90) for row in range(20, 1500, 60) for col in range(20, 1500, 60)
    ]
    scene = SimpleNamespace(rows=1500, cols=1500, read=lambda window: (noise[:, *window.slices], None))
    noise = np.random.default_rng(0).integers(0, 256, (3, 1500, 1500), np.uint8)
    header = dataclasses.replace(HEADER, rows=1500, cols=1500, layout=(0, 4), tile=768)
    items = cut(scene, header, ships, "regions", codec_named("jpeg-ls"))
    assert max(map(len, items["regions"])) < 1 << 20
    product = assemble(ORIGIN, header, {"ships": pages(ships), "mask": []} | items)
    landing = land([pack(product)], tmp_path)
    assert landing.scenes[0].missing == ()
    np.testing.assert_array_equal(pixels(tmp_path / "harbour.regions.tif")[0], noise)


def test_a_preview_shows_ships_larger_than_a_step_of_it(tmp_path):
    """A scene of 3,000 pixels is shown in steps of 3: one pixel of ship still shows."""
    from taran_eo.ground.preview import Preview

    preview = Preview(3000, 2000)
    labels = np.zeros((3000, 2000), np.uint8)
    labels[1001, 500], labels[:300] = 1, 255
    preview.labels(Window(0, 0, 3000, 2000), labels, over_pixels=False)
    preview.box(np.array([[990.0, 480.0], [990.0, 520.0], [1010.0, 520.0], [1010.0, 480.0]]))
    preview.write(tmp_path / "a.png")
    shown = pixels(tmp_path / "a.png")[0].transpose(1, 2, 0)
    assert shown.shape == (1000, 667, 3)
    assert tuple(shown[1001 // 3, 500 // 3]) == (255, 255, 255)
    assert tuple(shown[0, 0]) == (128, 128, 128)
    assert tuple(shown[700, 400]) == (16, 42, 67)
    assert (shown == (255, 176, 0)).all(axis=2).sum() > 40


def test_a_scene_of_one_product_is_a_bundle(sent, tmp_path):
    """One reader for what lies on board and what comes down."""
    product = unpack((sent("mask") / "empty.product").read_bytes())
    (bundle,) = bundles(lambda: [product], twice=False)
    assert bundle.data == (sent("mask") / "empty.product").read_bytes()


def test_chips_are_bounded_whatever_is_taken_for_a_ship(tmp_path):
    """A model that says ship everywhere finds one of 1,300 x 40 pixels."""
    model = replace(Model.open(), threshold=1e-300)
    path = tmp_path / "a.tif"
    write_synthetic_scene(path, 48, 1300, rng=np.random.default_rng(1), **PLAIN)
    with open_scene(path, model.contract) as scene:
        outcome = process(scene, model, ReferenceEngine(model.graph), tmp_path / "out", level="chips")
    landing = land([pack(outcome.product)], tmp_path / "ground")
    assert landing.whole
    assert pixels(tmp_path / "ground" / "a.chip_00001.tif")[0].shape == (3, 48, 512)
