"""Scoring labelled images: what is told about an image, and which bands are looked at."""

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.evaluation import answers, score
from taran_eo.imagery import Contract, LabelledImage
from taran_eo.imagery.source import gdal


@pytest.fixture
def labelled(tmp_path):
    """An image of half a metre a pixel with one band, and a ship in it that is what is bright."""
    path = tmp_path / "grey.tif"
    pixels = np.full((1, 40, 50), 9, np.uint8)
    pixels[:, 10:14, 20:30] = 200
    place = {"crs": CRS.from_epsg(32631), "transform": Affine(0.5, 0, 500_000, 0, -0.5, 4_750_000)}
    with gdal(), rasterio.open(path, "w", "GTiff", 50, 40, 1, dtype="uint8", **place) as file:
        file.write(pixels)
    runs = " ".join(f"{col * 40 + 11} 4" for col in range(20, 30))
    (tmp_path / "masks.csv").write_text(f"ImageId,EncodedPixels,width,height\ngrey.tif,{runs},50,40\n")
    return LabelledImage(path, 40, 50, (runs,))


def test_a_ship_is_measured_in_the_metres_of_its_image(labelled):
    def scored(**options):
        (answer,) = answers([labelled], lambda pixels: pixels[0] > 99, Contract(), halo=0, alignment=16, **options)
        return score(answer)

    tile = scored()
    assert (tile.true_positive_px, tile.f2, tile.ships, tile.found) == (40, 1.0, (1, 0, 0, 0), (1, 0, 0, 0))
    assert tile.area_m2 == pytest.approx(40 * 50 * 0.25, rel=2e-3)
    assert scored(tile_size=16, bands=(1,)) == tile


def test_evaluate_tells_what_does_not_meet_the_contract(labelled, taran_eo):
    call = ("evaluate", "--images", labelled.path.parent, "--masks", labelled.path.parent / "masks.csv", "--json")
    said = taran_eo(*call)
    assert said.code == 0
    one_band, scale = said.err.splitlines()
    assert one_band.startswith("taran-eo: grey.tif has one band")
    assert scale.startswith("taran-eo: grey.tif has 0.5 m a pixel")
    chosen = taran_eo(*call, "--bands", 1)
    assert (chosen.out, chosen.err.splitlines()) == (said.out, [scale])
    refused = taran_eo(*call, "--bands", "7,8,9")
    assert (refused.code, refused.out) == (1, "")
    assert "not the bands 7,8,9" in refused.err
