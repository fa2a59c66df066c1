"""Synthetic scenes: the same seed, the same scene, in memory or on disk; and a truth that is true."""

import numpy as np
import pytest
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.errors import ConfigError
from taran_eo.imagery import Contract, Window, kaggle_decode, open_scene, read_mask
from taran_eo.imagery.synthesis.world import compose
from taran_eo.imagery.synthetic import synthesize, write_synthetic_scene

GEO = {"crs": CRS.from_epsg(32618), "transform": Affine(1.5, 0, 500000, 0, -1.5, 2000000)}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(4))
def test_a_seed_fixes_the_scene(seed):
    one, two, other = (synthesize(300, 280, rng=rng(s), ships=5) for s in (seed, seed, seed + 50))
    assert (one.image == two.image).all()
    assert [s.kaggle(300) for s in one.ships] == [s.kaggle(300) for s in two.ships]
    assert (one.image != other.image).any()


@pytest.mark.parametrize("seed", range(6))
def test_blocks_agree_wherever_they_are_cut(seed):
    # All parts at once: what is drawn at a place must not depend on the block it is drawn in.
    world = compose(600, 600, rng=rng(seed), gsd_m=1.5, ships=12, land=True, cloudy=True, swath_edge=True)
    image, owner, valid = world.render(Window(0, 0, 512, 512))
    part = Window(100, 130, 200, 190)
    part_image, part_owner, part_valid = world.render(part)
    # The waves are a matrix product, whose last bit may depend on its shape.
    assert abs(part_image.astype(int) - image[part.slices]).max() <= 1
    assert (part_owner == owner[part.slices]).all()
    assert (part_valid == valid[part.slices]).all()


def test_the_file_holds_the_pixels_of_the_scene_in_memory(tmp_path):
    options = {"ships": 9, "land": True, "cloudy": True, "swath_edge": True}
    scene = synthesize(530, 700, rng=rng(3), **options)
    path, mask_path = tmp_path / "scene.tif", tmp_path / "mask.tif"
    ships = write_synthetic_scene(path, 530, 700, rng=rng(3), mask_path=mask_path, **GEO, **options)
    with open_scene(path, Contract()) as opened:
        pixels, valid = opened.read(Window(0, 0, 530, 700))
        assert (pixels.transpose(1, 2, 0) == scene.image).all()
        assert (valid == scene.valid).all()
        assert opened.gsd_m == pytest.approx(1.5, rel=1e-3)
        assert opened.warnings == ()
    assert (read_mask(mask_path).labels == scene.mask.labels).all()
    assert len(ships) == len(scene.ships)


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_of_a_ship_agrees_with_its_pixels(seed):
    scene = synthesize(768, 768, rng=rng(seed), ships=12, land=False, swath_edge=False)
    assert len(scene.ships) >= 8
    union = np.zeros((768, 768), dtype=int)
    for ship in scene.ships:
        mask = kaggle_decode(ship.kaggle(768), 768, 768)
        assert (mask == ship.on(768, 768)).all()
        union += mask
        rows, cols = np.nonzero(mask)
        inside = rows.min() > 0 and cols.min() > 0 and rows.max() < 767 and cols.max() < 767
        if not inside or ship.length_m < 30:
            continue
        # The bow is sharper than the stern, so the centroid lies a little astern of the middle.
        assert np.hypot(rows.mean() - ship.row, cols.mean() - ship.col) < 0.08 * ship.length_m / 1.5 + 1
        turn = np.radians(ship.heading_deg)
        along = -(rows - ship.row) * np.cos(turn) + (cols - ship.col) * np.sin(turn)
        across = (rows - ship.row) * np.sin(turn) + (cols - ship.col) * np.cos(turn)
        assert np.ptp(along) * 1.5 == pytest.approx(ship.length_m, abs=6)
        assert np.ptp(across) * 1.5 == pytest.approx(ship.width_m, abs=4)
    assert union.max() <= 1
    assert (union.astype(bool) == scene.mask.ship).all()


def test_options_are_obeyed():
    assert synthesize(200, 200, rng=rng(), ships=0).ships == ()
    edge = synthesize(400, 400, rng=rng(), swath_edge=True)
    assert not edge.valid.all()
    assert not edge.image[~edge.valid].any()
    assert (edge.mask.labels[~edge.valid] == 255).all()
    assert synthesize(1, 1, rng=rng()).image.shape == (1, 1, 3)
    assert synthesize(3, 900, rng=rng(1)).image.shape == (3, 900, 3)
    with pytest.raises(ConfigError):
        synthesize(0, 5, rng=rng())


def test_ships_of_all_sizes_and_headings_come_up():
    lengths, headings, levels = [], [], []
    for seed in range(25):
        world = compose(768, 768, rng=rng(seed), gsd_m=1.5, ships=10, land=None, cloudy=None, swath_edge=None)
        lengths += [v.length_m for v in world.vessels]
        headings += [v.heading_deg for v in world.vessels]
        levels.append(sum(world.sea.colour) / 3)
    assert min(lengths) < 15
    assert max(lengths) > 250
    assert np.histogram(headings, 8, (0, 360))[0].min() > 3
    assert min(levels) < 30
    assert max(levels) > 100
