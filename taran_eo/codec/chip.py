"""Chips: pieces of a scene with their place in it, each an image that is opened by itself; and which pieces go down."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec import leb128
from taran_eo.codec.image import ImageCodec, compress, expand
from taran_eo.codec.image_shape import Pixels
from taran_eo.codec.ship_list import Sighting
from taran_eo.imagery.window import Window

MOST_SIDE = 512
"""Of a chip, in pixels: what is found beyond 768 m of one ship at 1.5 m is not one ship."""

MARGIN = 8
"""Pixels around the box of a ship that its chip shows."""

CELL = 64
"""Side in pixels of the squares of which the fine part of a region-of-interest image is made."""

SURROUNDINGS = 32
"""Pixels around the box of a ship that are fine in a region-of-interest image."""

PIECE = 128
"""Side in pixels of the squares that a whole scene goes down in: in larger ones a lost frame takes more with it, and
smaller ones compress worse (`pipelines/ladder.py` measures both)."""

COARSE = 8
"""Side in pixels of the squares that one pixel of the coarse part of a region-of-interest image stands for."""


def close_chip(row: int, col: int, pixels: Pixels, codec: ImageCodec) -> bytes:
    """A piece of a scene as an item.

    Args:
        row: Row of its upper left pixel in the scene.
        col: Column of that pixel.
        pixels: uint8 or uint16[bands, rows, cols].
        codec: How the pixels are compressed.
    """
    return leb128.encode(np.array([row, col])) + compress(pixels, codec)


def open_chip(item: bytes, bands: int) -> tuple[int, int, Pixels]:
    """The row, the column and the pixels that `close_chip` made this item of.

    Args:
        item: What `close_chip` returned.
        bands: Bands of the scene.

    Raises:
        CorruptDataError: Any other bytes, or more than `MOST_SIDE` allows.
    """
    row, position = leb128.read_one(item, 0)
    col, position = leb128.read_one(item, position)
    return row, col, expand(item[position:], max_samples=bands * MOST_SIDE**2)


def chip_window(ship: Sighting, rows: int, cols: int) -> Window:
    """What the chip of a ship shows of a scene of so many pixels; of what is too large for one, the middle."""
    top, left, bottom, right = _bounds(ship, MARGIN)
    row, height = _within(top, bottom, rows)
    col, width = _within(left, right, cols)
    return Window(row, col, height, width)


def _within(start: int, stop: int, size: int) -> tuple[int, int]:
    """Start and length of a range, cut to `MOST_SIDE` around its middle and to the scene; one pixel at least."""
    spare = max(0, stop - start - MOST_SIDE)
    start, stop = max(0, start + spare // 2), min(size, stop - (spare - spare // 2))
    start = min(start, size - 1)
    return start, max(1, stop - start)


def fine_cells(ships: Iterable[Sighting], rows: int, cols: int) -> NDArray[np.bool_]:
    """Which squares of `CELL` pixels of a scene hold a ship or its surroundings, bool[cells down, cells across]."""
    cells = np.zeros((-(-rows // CELL), -(-cols // CELL)), dtype=np.bool_)
    for ship in ships:
        top, left, bottom, right = _bounds(ship, SURROUNDINGS)
        cells[max(0, top) // CELL : -(-bottom // CELL), max(0, left) // CELL : -(-right // CELL)] = True
    return cells


def _bounds(ship: Sighting, margin: int) -> tuple[int, int, int, int]:
    """First row and column, and those behind the last, of the box of a ship and a margin; not cut to the scene."""
    corners = ship.corners()
    (top, left), (bottom, right) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    return int(top) - margin, int(left) - margin, int(bottom) + margin, int(right) + margin
