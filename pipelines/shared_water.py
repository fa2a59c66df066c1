"""Which images show the same water: tiles of the competition overlap, and further crops were cut from such tiles.

The tiles of a scene lie on a grid of 256 pixels, and a crop is named by its tile, row and column. So each crop is laid
over each tile at each place that the grid allows, and the fine texture of both is correlated: the same exposure gives
0.9 and more, anything else less than 0.4. Writes pipelines/results/shared_water.json; takes two minutes.

    python pipelines/shared_water.py
"""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery import LabelledImage, read_labels
from taran_eo.provenance import Provenance, environment, sha256_file

DATA = Path("../shared/data")
TILES = (DATA / "airbus/train", DATA / "airbus/val")
TILE_MASKS, CROP_MASKS = DATA / "airbus/masks.csv", DATA / "airbus_crops/masks.csv"
CROPS = DATA / "airbus_crops"
LABELS = ("exact", "weak", "pseudo")  # the negative ones are other imagery
GRID, SIDE = 256, 768
LEAST = 48  # rows and columns that an overlap must have to be told
PATCH = 96  # the middle of an overlap decides whether to look at all of it
WORTH_A_LOOK, SAME = 0.3, 0.5

Texture = NDArray[np.float32]


def texture(image: LabelledImage) -> Texture:
    """The fine detail of an image, ``float32[rows, cols]``."""
    grey = cv2.cvtColor(image.pixels(), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 3.0)


def correlation(first: Texture, others: Texture) -> NDArray[np.float32]:
    """Normalized correlation of ``[rows, cols]`` with each of ``[n, rows, cols]``."""
    energy = np.square(first).sum() * np.square(others).sum(axis=(1, 2))
    return np.tensordot(others, first, 2) / np.sqrt(np.maximum(energy, 1e-6))


def overlaps(crop: Texture, place: tuple[int, int], tiles: Texture) -> Iterator[tuple[int, float]]:
    """Tiles ``[n, 768, 768]`` that show what a crop at a row and column of its own tile shows, and how alike."""
    for shift in np.ndindex(5, 5):
        corner = np.array(place) + GRID * (np.array(shift) - 2)
        top, bottom = np.maximum(corner, 0), np.minimum(corner + crop.shape, SIDE)
        if (bottom - top < LEAST).any():
            continue
        inner = np.maximum((bottom - top - PATCH) // 2, 0)
        alike = correlation(*_cut(crop, tiles, corner, top + inner, bottom - inner))
        for index in np.flatnonzero(alike > WORTH_A_LOOK):
            whole = correlation(*_cut(crop, tiles[index : index + 1], corner, top, bottom))[0]
            if whole > SAME:
                yield int(index), float(whole)


def _cut(crop: Texture, tiles: Texture, corner: NDArray, top: NDArray, bottom: NDArray) -> tuple[Texture, Texture]:
    (row, col), (end_row, end_col) = top - corner, bottom - corner
    return crop[row:end_row, col:end_col], tiles[:, top[0] : bottom[0], top[1] : bottom[1]]


def main() -> None:
    """Compare everything with the tiles, and write down the pairs."""
    tiles = [image for folder in TILES for image in read_labels(folder, TILE_MASKS)]
    textures = np.stack([texture(tile) for tile in tiles])
    crops = [(crop, *crop.path.stem.split("_")[1:]) for crop in read_labels(CROPS, CROP_MASKS, LABELS)]
    pairs = []
    for image, row, col in [*crops, *((tile, 0, 0) for tile in tiles)]:
        for index, alike in overlaps(texture(image), (int(row), int(col)), textures):
            if tiles[index] is not image:
                pairs.append(
                    {"image": image.path.name, "other": tiles[index].path.name, "correlation": round(alike, 3)}
                )
    inputs = {str(path): sha256_file(path) for path in (TILE_MASKS, CROP_MASKS)}
    told = {"pairs": pairs, "provenance": Provenance((environment(),), inputs=inputs).to_dict()}
    Path("pipelines/results/shared_water.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
