"""CCSDS 121.0-B-3, lossless data compression: what flight hardware and libaec speak.

One-dimensional: a sample is predicted by the one before it, residuals are Rice coded in blocks of 64. The bands follow
one another, row by row.

Source:
    CCSDS 121.0-B-3, sections 3 (adaptive entropy coder) and 4 (preprocessor, unit delay); coded by libaec.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taran_eo.codec.image_shape import ImageShape, Pixels, corrupt, imagecodecs

_BLOCK = 64
"""Samples of a block, the largest that section 5.1 allows: a tenth smaller and twice as fast as 16 on real tiles."""
_INTERVAL = 128
"""Blocks between two reference samples."""
_PREPROCESS = 8
"""AEC_DATA_PREPROCESS of libaec.h: predict; samples are unsigned and little endian by default."""


@dataclass(frozen=True, slots=True)
class Ccsds121:
    """The adaptive entropy coder with its unit-delay predictor."""

    number: ClassVar[int] = 1
    name: ClassVar[str] = "ccsds-121"
    lossless: ClassVar[bool] = True

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The codestream; it has no header of its own."""
        return bytes(
            imagecodecs().aec_encode(
                pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes(),
                bitspersample=shape.bits,
                flags=_PREPROCESS,
                blocksize=_BLOCK,
                rsi=_INTERVAL,
            )
        )

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream.

        Raises:
            CorruptDataError: It ends too early.
        """
        whole = -(-shape.samples // _BLOCK) * _BLOCK  # the last block is filled up
        size = whole * shape.dtype.itemsize
        data = imagecodecs().aec_decode(
            body, bitspersample=shape.bits, flags=_PREPROCESS, blocksize=_BLOCK, rsi=_INTERVAL, out=size
        )
        if len(data) != size:
            raise corrupt(f"A CCSDS 121 codestream holds {len(data)} bytes of samples instead of {size}")
        pixels: Pixels = np.frombuffer(data, dtype=shape.dtype.newbyteorder("<")).astype(shape.dtype)
        return pixels[: shape.samples]
