"""JPEG-LS, lossless or with a bound on the error of each sample.

The bands lie one below the other in one plane. The codestream is a complete JPEG-LS file that any decoder reads; only
the SPIFF header that CharLS puts before it, 46 bytes that repeat the rest, is left out.

Source:
    ITU-T T.87 (ISO/IEC 14495-1): markers in annex C, near-lossless coding in annex A; coded by CharLS.
"""

import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taran_eo.codec import confined
from taran_eo.codec.image_shape import ImageShape, Pixels, corrupt, imagecodecs
from taran_eo.errors import ConfigError, FormatError

_START = b"\xff\xd8"
_FRAME, _PARAMETERS, _SCAN = 0xFFF7, 0xFFF8, 0xFFDA
_PRESETS = 1  # T.87, C.2.4.1.1: an LSE segment of this kind holds thresholds; other kinds could change the size
_LONGEST = 0xFFFF
_SPARE_BYTES = 4096
_LARGEST_NEAR = 255  # T.87, C.2.3, which also allows no more than half of the largest sample


@dataclass(frozen=True, slots=True)
class JpegLs:
    """The codec.

    Attributes:
        near: The largest error of a sample; 0 is lossless.

    Raises:
        ConfigError: A bound that the standard does not know.
    """

    number: ClassVar[int] = 2
    near: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.near <= _LARGEST_NEAR:
            raise ConfigError(
                f"JPEG-LS cannot bound errors by {self.near}", remedy=f"Give 0 to {_LARGEST_NEAR}", near=self.near
            )

    @property
    def name(self) -> str:
        """``jpeg-ls`` without loss, else ``jpeg-ls-near-N``."""
        return "jpeg-ls" if self.lossless else f"jpeg-ls-near-{self.near}"

    @property
    def lossless(self) -> bool:
        """Whether what goes in comes out."""
        return self.near == 0

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The codestream.

        Raises:
            FormatError: More rows or columns than the 16 bits of its header hold, or a bound beyond half of the range.
        """
        shape.refuse_beyond(_LONGEST, "JPEG-LS")
        if self.near > shape.peak // 2:
            raise FormatError(
                f"JPEG-LS cannot bound errors by {self.near}, more than the {shape.peak // 2} of {shape.bits} bits",
                remedy="Give a bound of half of the range at most",
                near=self.near,
            )
        plane = np.ascontiguousarray(pixels.reshape(shape.stacked))
        # Noise grows by a fifteenth, for which the library's own estimate of the room has no place.
        room = 2 * plane.nbytes + _SPARE_BYTES
        stream = bytes(imagecodecs().jpegls_encode(plane, level=self.near, out=room))
        return _START + stream[stream.index(_frame(shape)) :]

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream.

        Raises:
            CorruptDataError: Its header is not that of the shape.
        """
        near = _checked(body, shape)
        plane = confined.decode("jpegls_decode", body, shape)
        # CharLS knows 8 and 16 bits: an error within its bound can leave the range of a sample between.
        return np.minimum(plane, shape.dtype.type(shape.peak)) if near else plane


def _frame(shape: ImageShape) -> bytes:
    """The frame header (T.87, C.2.2): marker, length, precision, rows, columns, one component."""
    return struct.pack(">HHBHHB3B", _FRAME, 11, 8 * shape.dtype.itemsize, *shape.stacked, 1, 1, 0x11, 0)


def _checked(body: bytes, shape: ImageShape) -> int:
    """The error bound of a codestream whose header is that of `shape` and says nothing more.

    Raises:
        CorruptDataError: It is not.
    """
    head = _START + _frame(shape)
    if not body.startswith(head):
        raise corrupt(f"A JPEG-LS codestream is not one of {shape.stacked[0]} x {shape.stacked[1]} samples")
    place = len(head)
    if body[place : place + 5] == struct.pack(">HHB", _PARAMETERS, 13, _PRESETS):
        place += 15
    scan = struct.pack(">HHB2B", _SCAN, 8, 1, 1, 0)
    if body[place : place + 7] != scan or len(body) < place + 10:
        raise corrupt("A JPEG-LS codestream has no scan behind its header")
    return body[place + 7]
