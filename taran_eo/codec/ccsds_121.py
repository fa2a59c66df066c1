"""CCSDS 121.0-B-3, lossless data compression: what flight hardware and libaec speak.

One-dimensional: a sample is predicted by the one before it, residuals are Rice coded in blocks of 64. The bands follow
one another, row by row.

Source:
    CCSDS 121.0-B-3, adaptive entropy coder and unit-delay predictor; coded by libaec.
"""

from dataclasses import dataclass
from typing import ClassVar

from taran_eo.codec import confined
from taran_eo.codec.image_shape import ImageShape, Pixels, imagecodecs

_BLOCK = 64
"""Samples of a block, the most that the standard knows: a tenth smaller and twice as fast as 16 on real tiles."""
_INTERVAL = 128
"""Blocks between two reference samples."""
_PREPROCESS = 8
"""AEC_DATA_PREPROCESS of libaec.h: predict; samples are unsigned, in the order of a little-endian machine."""


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
                pixels.tobytes(),
                bitspersample=shape.bits,
                flags=_PREPROCESS,
                blocksize=_BLOCK,
                rsi=_INTERVAL,
            )
        )

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream.

        Raises:
            CorruptDataError: It ends too early, or is none.
        """
        whole = -(-shape.samples // _BLOCK) * _BLOCK  # the last block is filled up
        options = {"bitspersample": shape.bits, "flags": _PREPROCESS, "blocksize": _BLOCK, "rsi": _INTERVAL}
        size = whole * shape.dtype.itemsize
        pixels = confined.decode("aec_decode", body, shape, samples=whole, out=size, **options)
        return pixels[: shape.samples]
