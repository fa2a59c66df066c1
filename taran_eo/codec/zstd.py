"""zstandard over horizontal differences: needs no extra, so it is what the base install can do.

A sample is predicted by its left neighbour, modulo 2**bits; the low bytes of all samples come first, then the high
bytes where there are any.

Source:
    The predictor of TIFF 6.0, section 14, and the planes of bytes of its third supplement.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taran_eo.codec import frame
from taran_eo.codec.image_shape import ImageShape, Pixels


@dataclass(frozen=True, slots=True)
class Zstd:
    """zstandard of level 19 behind a horizontal predictor."""

    number: ClassVar[int] = 6
    name: ClassVar[str] = "zstd"
    lossless: ClassVar[bool] = True

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The frame of the differences."""
        steps = np.diff(pixels, axis=2, prepend=pixels.dtype.type(0)) & pixels.dtype.type(shape.peak)
        planes = np.ascontiguousarray(steps, dtype=steps.dtype.newbyteorder("<")).view(np.uint8)
        return frame.close(planes.reshape(-1, steps.itemsize).T.tobytes())

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a frame.

        Raises:
            CorruptDataError: It holds more or fewer.
        """
        width = shape.dtype.itemsize
        planes = np.frombuffer(frame.open_(body, shape.samples * width), dtype=np.uint8).reshape(width, -1)
        steps = np.ascontiguousarray(planes.T).view(shape.dtype.newbyteorder("<")).astype(shape.dtype)
        summed = np.cumsum(steps.reshape(shape.bands, shape.rows, shape.cols), axis=2, dtype=shape.dtype)
        pixels: Pixels = summed & shape.dtype.type(shape.peak)
        return pixels
