"""Draw the README's picture: a synthetic scene, the ships that the shipped model finds in it, and what goes down.

Usage: python pipelines/readme_picture.py [OUTPUT.jpg]
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from taran_eo.engines import open_engine
from taran_eo.imagery import open_scene, read_mask
from taran_eo.imagery.synthetic import write_synthetic_scene
from taran_eo.metrics import TileScore, score_tile
from taran_eo.model import Model
from taran_eo.onboard import Outcome, process

SIZE = 640
INK, PAPER = (40, 40, 40), 250


def main(target: Path) -> None:
    """Make the scene, run the model, write the picture."""
    model = Model.open()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        transform = Affine.translation(500_000, 4_750_000) @ Affine.scale(1.5, -1.5)
        rng = np.random.default_rng([7, 2])
        options = {"ships": 14, "land": True, "cloudy": False, "swath_edge": False}
        ships = write_synthetic_scene(
            path, SIZE, SIZE, rng=rng, crs=CRS.from_epsg(32631), transform=transform, **options
        )
        with open_scene(path, model.contract) as scene:
            engine = open_engine("auto", model.graph, threads=2)
            outcome = process(scene, model, engine, Path(folder))
            (tile,) = scene.tiles(SIZE, model.graph.halo, model.graph.alignment)
        pixels = np.ascontiguousarray(tile.pixels.transpose(1, 2, 0)[..., ::-1])
        mask = read_mask(outcome.files[0]).labels
        score = score_tile([(ship.window, ship.mask) for ship in ships], mask == 1, gsd_m=1.5)
        raw = scene.raw_bytes
    cv2.imwrite(
        str(target),
        _caption(np.hstack([pixels, _found(pixels, outcome), _down(mask)]), outcome, score, raw),
        [cv2.IMWRITE_JPEG_QUALITY, 88],
    )


def _found(pixels: NDArray[np.uint8], outcome: Outcome) -> NDArray[np.uint8]:
    picture = pixels.copy()
    for ship in outcome.ships:
        box = np.round(np.array(ship.box)[:, ::-1] * 8).astype(np.int32)
        cv2.polylines(picture, [box], True, (60, 220, 255), 1, cv2.LINE_AA, shift=3)
        place = (int(ship.col) + 8, int(ship.row) - 8)
        cv2.putText(
            picture, f"{ship.length_m:.0f} m", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 220, 255), 1, cv2.LINE_AA
        )
    return picture


def _down(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where((mask == 1)[..., None], np.uint8(INK[0]), np.uint8(PAPER)).repeat(3, axis=2)


def _caption(picture: NDArray[np.uint8], outcome: Outcome, score: TileScore, raw: int) -> NDArray[np.uint8]:
    strip = np.full((36, picture.shape[1], 3), 255, np.uint8)
    found = sum(score.found)
    told = (
        f"a synthetic scene: {raw:,} bytes",
        f"{found} of {sum(score.ships)} ships found in 6 bits, {score.components - found} false alarms",
        f"what goes down: mask and ships, {outcome.bytes_out:,} bytes",
    )
    for number, text in enumerate(told):
        cv2.putText(strip, text, (number * SIZE + 8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
    return np.vstack([picture, strip])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results" / "readme.jpg")
