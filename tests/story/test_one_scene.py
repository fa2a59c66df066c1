"""The whole way on one synthetic scene: whatever the tiles, the same mask and ships; and the mask comes back."""

import json

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from taran_eo.codec import unpack
from taran_eo.engines import open_engine
from taran_eo.graph import run as run_graph
from taran_eo.imagery import NODATA, open_scene, read_mask
from taran_eo.imagery.synthetic import write_synthetic_scene
from taran_eo.model import Model
from taran_eo.onboard import Decision, process, verify
from taran_eo.onboard import run as run_all


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    transform = Affine.translation(500_000, 4_750_000) @ Affine.scale(1.5, -1.5)
    rng = np.random.default_rng(12)
    options = {"ships": 9, "land": True, "cloudy": False, "swath_edge": True}
    write_synthetic_scene(path, 330, 412, rng=rng, crs=CRS.from_epsg(32631), transform=transform, **options)
    return path


def outputs(scene, model, folder, tile):
    engine = open_engine("auto", model.graph, threads=1)
    with open_scene(scene, model.contract) as opened:
        return process(opened, model, engine, folder, tile_size=tile)


def test_no_seam_whatever_the_tiles(scene, tmp_path):
    model = Model.open()
    by_tile = {tile: outputs(scene, model, tmp_path / str(tile), tile) for tile in (64, 160, 768)}
    masks = {tile: read_mask(outcome.files[0]).labels for tile, outcome in by_tile.items()}
    ships = {tile: [ship.record() for ship in outcome.ships] for tile, outcome in by_tile.items()}
    assert np.array_equal(masks[64], masks[768]) and np.array_equal(masks[160], masks[768])
    assert ships[64] == ships[160] == ships[768]
    assert (masks[768] == NODATA).any() and (masks[768] == 1).any()


def test_the_mask_is_the_threshold_on_the_reference_logits(scene, tmp_path):
    model = Model.open()
    with open_scene(scene, model.contract) as opened:
        (tile,) = opened.tiles(768, model.graph.halo, model.graph.alignment)
    logits = run_graph(model.graph, tile.pixels)[0]
    real = logits * model.graph.logit_scale
    expected = np.where(tile.valid, 1 / (1 + np.exp(-real)) >= model.threshold, NODATA)[:330, :412]
    assert np.array_equal(read_mask(outputs(scene, model, tmp_path, 768).files[0]).labels, expected)
    assert Decision.of(0.5, model.graph.logit_scale).threshold == 0


def test_what_goes_down_comes_back(scene, tmp_path):
    model = Model.open()
    outcome = outputs(scene, model, tmp_path, 128)
    product = unpack(outcome.files[2].read_bytes())
    mask = np.zeros((product.header.rows, product.header.cols), np.uint8)
    for window, labels in product.mask_blocks():
        mask[window.slices] = labels
    assert np.array_equal(mask, read_mask(outcome.files[0]).labels)
    features = json.loads(outcome.files[1].read_text())["features"]
    assert len(features) == len(product.ships()) == len(outcome.ships)
    assert all(2.9 < feature["geometry"]["coordinates"][0][0][0] < 3.1 for feature in features)


def test_a_folder_with_jobs_gives_the_same_and_verifies(scene, tmp_path):
    model = Model.open()
    one = run_all([scene.parent], tmp_path / "one", model, jobs=1)
    two = run_all([scene.parent], tmp_path / "two", model, jobs=2)
    assert (one.scenes, one.ships, one.bytes_out) == (two.scenes, two.ships, two.bytes_out)
    assert (tmp_path / "one" / "scene.product").read_bytes() == (tmp_path / "two" / "scene.product").read_bytes()
    assert verify(tmp_path / "one").findings == ()
