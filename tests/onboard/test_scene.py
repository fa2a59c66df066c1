"""One scene: the outputs do not know of tiles, the three outputs agree, and all of them appear or none."""

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from taran_eo import graph as graphs
from taran_eo.codec import Sighting, unpack
from taran_eo.errors import ConfigError, ContractError, ModelError, OutputError
from taran_eo.imagery.scene import open_scene
from taran_eo.onboard import Decision, process
from taran_eo.onboard import scene as onboard_scene
from tests.folders import outputs
from tests.graph.networks import chain


class Counting:
    """The reference interpreter, which counts its tiles."""

    tile_size = 768

    def __init__(self, graph):
        self.graph, self.tiles = graph, 0

    def run(self, pixels, wanted):
        self.tiles += 1
        return graphs.run(self.graph, pixels)[:, *wanted.slices]


def done(path, model, folder, **options):
    engine = Counting(model.graph)
    with open_scene(path, model.contract) as scene:
        return process(scene, model, engine, folder, **options), engine


def labels_of(path):
    with rasterio.open(path) as file:
        return file.read(1), file.crs, file.transform


def test_the_result_does_not_depend_on_the_tiles(tmp_path, model, write_geotiff, monkeypatch):
    scene = write_geotiff(tmp_path / "scene.tif")
    monkeypatch.setattr(onboard_scene, "BLOCK_SIZE", 100)
    outcomes = [done(scene, model, tmp_path / str(size), tile_size=size)[0] for size in (512, 64, 30)]
    assert outputs(tmp_path / "512") == outputs(tmp_path / "64") == outputs(tmp_path / "30")
    whole, crs, transform = labels_of(outcomes[0].files[0])
    with rasterio.open(scene) as file:
        pixels, valid = file.read(), file.dataset_mask() > 0
        assert (crs, transform) == (file.crs, file.transform)
    expected = graphs.run(model.graph, pixels)[0] >= 0
    np.testing.assert_array_equal(whole, np.where(valid, expected, 255))
    assert len(outcomes[0].ships) > 3


def test_small_ships_are_left_out_of_the_list_only(tmp_path, model, write_geotiff):
    scene = write_geotiff(tmp_path / "a.tif")
    all_ships, large = (done(scene, model, tmp_path / str(n), min_ship_pixels=n)[0] for n in (1, 200))
    assert large.ships == tuple(ship for ship in all_ships.ships if ship.pixels >= 200) != all_ships.ships
    np.testing.assert_array_equal(labels_of(large.files[0])[0], labels_of(all_ships.files[0])[0])


def test_noise_is_refused_before_it_fills_the_memory(tmp_path, model, write_jpeg, monkeypatch):
    monkeypatch.setattr(onboard_scene, "MOST_SHIPS", 1)
    with pytest.raises(ContractError, match="min-ship-pixels"):
        done(write_jpeg(tmp_path / "a.jpg"), model, tmp_path / "out", tile_size=32)
    assert list((tmp_path / "out").iterdir()) == []


def test_mask_ships_and_product_agree(tmp_path, model, write_geotiff):
    outcome, engine = done(write_geotiff(tmp_path / "a.tif"), model, tmp_path / "out", tile_size=40)
    mask, ships, product = outcome.files
    assert [file.name for file in outcome.files] == ["a.mask.tif", "a.ships.geojson", "a.product"]
    assert sorted((tmp_path / "out").iterdir()) == sorted(outcome.files)
    unpacked = unpack(product.read_bytes())
    assert unpacked == outcome.product
    whole = labels_of(mask)[0]
    for window, labels in unpacked.mask_blocks():
        np.testing.assert_array_equal(labels, whole[window.slices])
    features = json.loads(ships.read_bytes())["features"]
    listed = [feature["properties"] for feature in features]
    assert [Sighting.of(each["box"], each["score"], each["pixels"]) for each in listed] == list(unpacked.ships())
    assert (unpacked.header.ships, unpacked.header.ship_pixels) == (len(listed), (whole == 1).sum())
    assert unpacked.header.nodata_pixels == (whole == 255).sum()
    assert sum(ship.pixels for ship in outcome.ships) == (whole == 1).sum()
    assert outcome.tiles == 5 * 8
    # Tiles without any data cost nothing: the first column of tiles, and the hole in the middle.
    assert 0 < engine.tiles <= outcome.tiles - 6


@pytest.mark.parametrize("crs", ["EPSG:4326", 'LOCAL_CS["a site",UNIT["metre",1]]'])
def test_ships_that_lie_nowhere_on_the_globe_are_listed(tmp_path, model, write_geotiff, crs):
    """Metres taken for degrees, or a grid of a site's own: there is no place, and all else there is."""
    outcome, _ = done(write_geotiff(tmp_path / "a.tif", crs=crs), model, tmp_path / "out", tile_size=64)
    assert len(outcome.ships) > 0
    assert all(ship.longitude_deg is None and ship.pixels > 0 for ship in outcome.ships)


def test_a_scene_that_is_nowhere_gets_pixel_coordinates(tmp_path, model, write_jpeg):
    outcome, _ = done(write_jpeg(tmp_path / "a.jpg"), model, tmp_path / "out", tile_size=64)
    assert outcome.files[1].name == "a.ships.json"
    content = json.loads(outcome.files[1].read_bytes())
    assert content["ships"] == [ship.record() for ship in outcome.ships]
    assert outcome.ships[0].longitude_deg is None
    assert outcome.ships[0].length_m is None


@pytest.mark.parametrize("ending", [".mask.tif", ".ships.json", ".product"])
@pytest.mark.parametrize("again", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path, model, write_jpeg, monkeypatch, ending, again):
    """Nothing, or all that an earlier run wrote, be it that the last of three renames fails."""
    scene = write_jpeg(tmp_path / "a.jpg")
    if again:
        done(scene, model, tmp_path / "out")
        write_jpeg(scene, seed=1)
    before = outputs(tmp_path / "out")
    replace = Path.replace

    def full(self, target):
        if Path(target).name == f"a{ending}":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=f"a{ending}.* cannot be written: No space left") as caught:
        done(scene, model, tmp_path / "out")
    assert caught.value.facts["errno"] == errno.ENOSPC
    assert outputs(tmp_path / "out") == before
    assert len(list((tmp_path / "out").iterdir())) == len(before) == 3 * again


def test_a_damaged_scene_leaves_nothing_behind(tmp_path, model, write_jpeg):
    class Broken:
        def run(self, pixels, wanted):
            raise RuntimeError("no answer")

    with open_scene(write_jpeg(tmp_path / "a.jpg"), model.contract) as scene:
        with pytest.raises(RuntimeError):
            process(scene, model, Broken(), tmp_path / "out", tile_size=32)
        with pytest.raises(ConfigError, match="alignment"):
            process(scene, model, Broken(), tmp_path / "out", tile_size=33)
        two_planes = replace(model, graph=chain("conv3"))
        with pytest.raises(ModelError, match="one logit a pixel"):
            process(scene, two_planes, Broken(), tmp_path / "out", tile_size=32)
    assert list((tmp_path / "out").iterdir()) == []


@given(
    probability=st.floats(0.001, 0.999),
    exponent=st.integers(-24, 1),
    logit=st.integers(-(2**31), 2**31 - 1),
)
def test_decisions_in_integers_are_those_of_probabilities(probability, exponent, logit):
    scale = 2.0**exponent
    decision = Decision.of(probability, scale)
    near = np.array([decision.threshold - 1, decision.threshold], dtype=np.int64) * scale
    bound = math.log(probability / (1 - probability))
    assert near[0] < bound <= near[1]
    score = float(decision.score(np.array([logit], np.int32))[0]) / 65535
    real = 1 / (1 + math.exp(-min(max(logit * scale, -700), 700)))
    # A step of the table is at most 1/16 of a logit, unless a single logit is more than that.
    assert score == pytest.approx(real, abs=max(0.25 * max(1 / 8, min(scale, 1.0)), 4e-4) if scale < 2 else 4e-4)


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0, math.nan])
def test_thresholds_that_are_no_probability_are_refused(probability):
    with pytest.raises(ConfigError, match="probability"):
        Decision.of(probability, 1.0)
