"""Chips: pieces of a scene with their place in it, each an image that is opened by itself."""

import numpy as np

from taran_eo.codec import leb128
from taran_eo.codec.image import ImageCodec, compress, expand
from taran_eo.codec.image_shape import Pixels

MOST_SIDE = 512
"""Of a chip, in pixels: what is found beyond 768 m of one ship at 1.5 m is not one ship."""

PIECE = 128
"""Side in pixels of the squares that a whole scene goes down in. On real tiles they cost 2 % more in JPEG-LS than
squares of 768, and a lost frame takes 10 kB of pixels with it, not 400."""

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
