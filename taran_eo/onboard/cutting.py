"""Pixels that go down: chips of ships, ships with their surroundings above a coarse sea, or the whole scene.

Pixels are those that the model saw: 8 bits, after the stretch that the header tells and any resampling.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec import Header, Level, Sighting, windows
from taran_eo.codec.chip import COARSE, MOST_SIDE, PIECE, close_chip
from taran_eo.codec.header import Step
from taran_eo.codec.image import ImageCodec, compress
from taran_eo.gate import regions
from taran_eo.imagery.scene import Scene
from taran_eo.imagery.window import Window, cover

PIXELS: tuple[Level, ...] = ("chips", "regions", "scene")
"""The levels that hold any."""

MARGIN = 8
"""Pixels around the box of a ship that its chip shows."""

CELL = 64
"""Side in pixels of the squares of which the fine part of a region-of-interest image is made."""

SURROUNDINGS = 32
"""Pixels around the box of a ship that are fine in a region-of-interest image."""


def cut(
    scene: Scene, header: Header, ships: Sequence[Sighting], level: Level, codec: ImageCodec
) -> dict[Step, list[bytes]]:
    """The items of the pixels that a product of this level holds, none below chips.

    Raises:
        ImageryError: The scene is damaged.
        MissingExtraError: The codec's library is not installed.
    """
    if level == "chips":
        return {"chips": [_chip(scene, window, codec) for window in (_around(ship, scene) for ship in ships)]}
    if level == "regions":
        coarse = [compress(_coarse(scene.read(window)[0]), codec) for window in windows(header)]
        return {"regions": coarse + [_chip(scene, window, codec) for window in _fine(scene, ships)]}
    if level == "scene":
        return {"scene": [compress(scene.read(window)[0], codec) for window in windows(header, PIECE)]}
    return {}


def _chip(scene: Scene, window: Window, codec: ImageCodec) -> bytes:
    return close_chip(window.row, window.col, scene.read(window)[0], codec)


def _bounds(ship: Sighting, margin: int) -> tuple[int, int, int, int]:
    """First and last row and column behind them of the box of a ship and a margin, not clipped to the scene."""
    corners = ship.corners()
    (top, left), (bottom, right) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    return int(top) - margin, int(left) - margin, int(bottom) + margin, int(right) + margin


def _around(ship: Sighting, scene: Scene) -> Window:
    """What the chip of a ship shows; of what is too large for one, the middle."""
    top, left, bottom, right = _bounds(ship, MARGIN)
    row, rows = _within(top, bottom, scene.rows)
    col, cols = _within(left, right, scene.cols)
    return Window(row, col, rows, cols)


def _within(start: int, stop: int, size: int) -> tuple[int, int]:
    """Start and length of a range, cut to `MOST_SIDE` around its middle and to the scene; one pixel at least."""
    spare = max(0, stop - start - MOST_SIDE)
    start, stop = max(0, start + spare // 2), min(size, stop - (spare - spare // 2))
    start = min(start, size - 1)
    return start, max(1, stop - start)


def _fine(scene: Scene, ships: Sequence[Sighting]) -> Iterator[Window]:
    """Rectangles of at most `MOST_SIDE` that hold all ships with their surroundings."""
    cells = np.zeros((-(-scene.rows // CELL), -(-scene.cols // CELL)), dtype=np.bool_)
    for ship in ships:
        top, left, bottom, right = _bounds(ship, SURROUNDINGS)
        cells[max(0, top) // CELL : -(-bottom // CELL), max(0, left) // CELL : -(-right // CELL)] = True
    for region in regions(cells, CELL):
        whole = region.clipped(scene.rows, scene.cols)
        for piece, _ in cover(whole.rows, whole.cols, MOST_SIDE, halo=0, alignment=1):
            yield Window(whole.row + piece.row, whole.col + piece.col, piece.rows, piece.cols)


def _coarse(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means over squares of `COARSE` pixels, uint8[bands, rows, cols]; at the far edges what is there is repeated."""
    bands, rows, cols = pixels.shape
    padded = np.pad(pixels, ((0, 0), (0, -rows % COARSE), (0, -cols % COARSE)), mode="edge")
    squares = padded.reshape(bands, padded.shape[1] // COARSE, COARSE, padded.shape[2] // COARSE, COARSE)
    return np.asarray(np.rint(squares.mean(axis=(2, 4))), dtype=np.uint8)
