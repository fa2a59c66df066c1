"""JPEG XL, lossless: the smallest of all here, for comparison and for the ground; no flight heritage.

The bands lie one below the other in one plane. The codestream is bare, without the box of a file. Its header is
packed into bits and may ask for crops, layers and previews of any size, so that decoding begins only where all bits up
to the first sample are those that our encoder writes for the shape. The lossy mode has headers of too many kinds for
that; `Jpeg2000` is the codec with loss.

Source:
    ISO/IEC 18181-1: size header, image metadata, colour encoding and frame header; coded by libjxl.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taran_eo.codec import confined
from taran_eo.codec.image_shape import ImageShape, Pixels, corrupt, imagecodecs

_EFFORT = 3
"""Of 1 to 9: where it still compresses 10 MB in a second."""
_LONGEST = 1 << 30
_SIGNATURE = "1111111101010000"  # FF 0A, each byte from its lowest bit on
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Columns over rows, which spare the columns in the size header."""
_WIDTHS = (9, 13, 18, 30)
"""Bits of a length minus one, by its selector."""
# Not all default, regular, modular, no flags, no YCbCr, upsampling 1.
_FRAME = "0" + "00" + "1" + "00" + "0" + "00"
# One pass, no crop, replacing, the last, no name, neither smoothing nor extensions.
_FRAME_REST = "00" + "0" + "00" + "1" + "00" + "0" + "0" + "00" + "00" + "00"
_GROUP_BITS = 2
_CONTAINER = b"\x00\x00\x00\x0cJXL "
_CODESTREAM_BOX = b"jxlc"


@dataclass(frozen=True, slots=True)
class JpegXl:
    """The codec, in its modular mode."""

    number: ClassVar[int] = 5
    name: ClassVar[str] = "jpeg-xl"
    lossless: ClassVar[bool] = True

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The codestream.

        Raises:
            FormatError: More rows or columns than a codestream holds.
        """
        shape.refuse_beyond(_LONGEST, "JPEG XL")
        plane = np.ascontiguousarray(pixels.reshape(shape.stacked))
        stream = bytes(
            imagecodecs().jpegxl_encode(
                plane, lossless=True, effort=_EFFORT, bitspersample=shape.bits, usecontainer=False, numthreads=1
            )
        )
        return _bare(stream)

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream.

        Raises:
            CorruptDataError: Its header is not one that `encode` writes for the shape.
        """
        _check(body, shape)
        return confined.decode("jpegxl_decode", body, shape, numthreads=1)


def _bare(stream: bytes) -> bytes:
    """The codestream in a file; libjxl puts a box around samples of more than 12 bits, whatever it is asked."""
    if not stream.startswith(_CONTAINER):
        return stream
    place = stream.index(_CODESTREAM_BOX)
    size = int.from_bytes(stream[place - 4 : place], "big")  # of the whole box; 0 where it reaches to the end
    return stream[place + 4 : place - 4 + size if size else None]


def _check(body: bytes, shape: ImageShape) -> None:
    """Refuse a codestream that does not begin with what we write for `shape`.

    Raises:
        CorruptDataError: It does not.
    """
    rows, cols = shape.stacked
    bits = "".join(f"{byte:08b}"[::-1] for byte in body[:40])
    head = next((head for head in _heads(rows, cols, shape.bits) if bits.startswith(head)), None)
    if head is None:
        raise corrupt(f"A JPEG XL codestream is not one of {rows} x {cols} samples of {shape.bits} bits")
    frame = bits[-(-len(head) // 8) * 8 :]
    if not frame.startswith(_FRAME) or not frame.startswith(_FRAME_REST, len(_FRAME) + _GROUP_BITS):
        raise corrupt("A JPEG XL codestream is not one plain frame")


def _heads(rows: int, cols: int, bits: int) -> list[str]:
    """Signature, size and metadata of an image: the size may be written in three ways."""
    wide = [_low_first(index + 1, 3) for index, (over, under) in enumerate(_RATIOS) if rows * over // under == cols]
    sizes = ["0" + _length(rows) + ratio for ratio in wide] + ["0" + _length(rows) + "000" + _length(cols)]
    if rows % 8 == 0 and rows <= 256:
        small = "1" + _low_first(rows // 8 - 1, 5)
        sizes += [small + ratio for ratio in wide]
        if cols % 8 == 0 and cols <= 256:
            sizes.append(small + "000" + _low_first(cols // 8 - 1, 5))
    return [_SIGNATURE + size + _metadata(bits) for size in sizes]


def _metadata(bits: int) -> str:
    """Not all default, no extra fields; integers of `bits`; grey under D65; no extensions, default transforms."""
    depth = {8: "00", 10: "10", 12: "01"}.get(bits, "11" + _low_first(bits - 1, 6))
    narrow = "1" if bits <= 12 else "0"  # whether 16-bit buffers suffice
    transfer = "01" + _low_first(11 if bits == 8 else 6, 4)  # 13, sRGB, or 8, linear; written less 2
    colour = "0" + "0" + "10" + "10" + "0" + transfer + "10"  # no ICC profile, grey, D65, no gamma, relative intent
    return "00" + "0" + depth + narrow + "00" + "0" + colour + "00" + "1"


def _length(value: int) -> str:
    selector = next(index for index, width in enumerate(_WIDTHS) if value <= 1 << width)
    return _low_first(selector, 2) + _low_first(value - 1, _WIDTHS[selector])


def _low_first(value: int, width: int) -> str:
    return f"{value:0{width}b}"[::-1]
