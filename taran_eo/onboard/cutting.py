"""Pixels that go down: chips of ships, ships with their surroundings above a coarse sea, or the whole scene.

Pixels are those that the model saw: 8 bits, after the stretch that the header tells and any resampling.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec import Header, Level, Sighting, windows
from taran_eo.codec.chip import CELL, COARSE, MOST_SIDE, PIECE, chip_window, close_chip, fine_cells
from taran_eo.codec.header import Step
from taran_eo.codec.image import ImageCodec, compress
from taran_eo.gate import regions
from taran_eo.imagery.scene import Scene
from taran_eo.imagery.window import Window, cover

PIXELS: tuple[Level, ...] = ("chips", "regions", "scene")
"""The levels that hold any."""


def cut(
    scene: Scene, header: Header, ships: Sequence[Sighting], level: Level, codec: ImageCodec
) -> dict[Step, list[bytes]]:
    """The items of the pixels that a product of this level holds, none below chips.

    Raises:
        ImageryError: The scene is damaged.
        MissingExtraError: The codec's library is not installed.
    """
    if level == "chips":
        return {"chips": [_chip(scene, chip_window(ship, scene.rows, scene.cols), codec) for ship in ships]}
    if level == "regions":
        coarse = [compress(_coarse(scene.read(window)[0]), codec) for window in windows(header)]
        return {"regions": coarse + [_chip(scene, window, codec) for window in _fine(scene, ships)]}
    if level == "scene":
        return {"scene": [compress(scene.read(window)[0], codec) for window in windows(header, PIECE)]}
    return {}


def _chip(scene: Scene, window: Window, codec: ImageCodec) -> bytes:
    return close_chip(window.row, window.col, scene.read(window)[0], codec)


def _fine(scene: Scene, ships: Sequence[Sighting]) -> Iterator[Window]:
    """Rectangles of at most `MOST_SIDE` that hold all ships with their surroundings."""
    for region in regions(fine_cells(ships, scene.rows, scene.cols), CELL):
        whole = region.clipped(scene.rows, scene.cols)
        for piece, _ in cover(whole.rows, whole.cols, MOST_SIDE, halo=0, alignment=1):
            yield Window(whole.row + piece.row, whole.col + piece.col, piece.rows, piece.cols)


def _coarse(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means over squares of `COARSE` pixels, uint8[bands, rows, cols]; at the far edges what is there is repeated."""
    bands, rows, cols = pixels.shape
    padded = np.pad(pixels, ((0, 0), (0, -rows % COARSE), (0, -cols % COARSE)), mode="edge")
    squares = padded.reshape(bands, padded.shape[1] // COARSE, COARSE, padded.shape[2] // COARSE, COARSE)
    return np.asarray(np.rint(squares.mean(axis=(2, 4))), dtype=np.uint8)
