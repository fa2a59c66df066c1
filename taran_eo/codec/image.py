"""Images to bytes and back: one envelope around every codec.

Layout, version 1 (numbers are LEB128 unless a width is given)::

    "IM" 0x01 | codec (1 byte) | bits (1 byte) | bands | rows | cols | green | body | CRC-32 (4 bytes, little endian)

The body is the codestream of the codec's own standard. Bit b of `green` says that band b was sent less its green
(`taran_eo.codec.green`). An envelope takes 13 to 17 bytes. The size that it claims is checked before anything is
allocated, and the header of the codestream against it before a decoder sees it; decoders run confined
(`taran_eo.codec.confined`).
"""

import difflib
import zlib
from typing import Protocol

import numpy as np

from taran_eo.codec import leb128
from taran_eo.codec.ccsds_121 import Ccsds121
from taran_eo.codec.green import add_green, subtract_green, worth_differencing
from taran_eo.codec.htj2k import Htj2k
from taran_eo.codec.image_shape import ImageShape, Pixels, corrupt
from taran_eo.codec.jpeg_2000 import Jpeg2000
from taran_eo.codec.jpeg_ls import JpegLs
from taran_eo.codec.jpeg_xl import JpegXl
from taran_eo.codec.zstd import Zstd
from taran_eo.errors import ConfigError, CorruptDataError, FormatError

MOST_BANDS = 16
_MAGIC = b"IM\x01"
_CRC_BYTES = 4


class ImageCodec(Protocol):
    """One standard, with the options that its encoder was given; decoding needs none of them."""

    @property
    def number(self) -> int:
        """What it is called in an envelope; never changes its meaning."""

    @property
    def name(self) -> str:
        """What people call it, options included."""

    @property
    def lossless(self) -> bool:
        """Whether what goes in comes out."""

    def encode(self, pixels: Pixels, shape: ImageShape) -> bytes:
        """The codestream of samples [bands, rows, cols]."""

    def decode(self, body: bytes, shape: ImageShape) -> Pixels:
        """The samples of a codestream in their order, as many as `shape` says."""


IMAGE_CODECS: tuple[ImageCodec, ...] = (
    Ccsds121(),
    JpegLs(),
    JpegLs(near=1),
    JpegLs(near=2),
    Jpeg2000(),
    Jpeg2000(psnr_db=50.0),
    Jpeg2000(psnr_db=45.0),
    Jpeg2000(psnr_db=40.0),
    Htj2k(),
    JpegXl(),
    Zstd(),
)
"""The image codecs with their usual options; any other `near` or `psnr_db` does as well."""


def codec_named(name: str) -> ImageCodec:
    """The codec of `IMAGE_CODECS` with that name.

    Raises:
        ConfigError: There is none; the remedy names the nearest.
    """
    known = {codec.name: codec for codec in IMAGE_CODECS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(
        f"There is no image codec {name!r}",
        remedy=f"Did you mean {near[0]}?" if near else f"Take one of {', '.join(known)}",
        name=name,
    )


def compress(pixels: Pixels, codec: ImageCodec, *, bits: int | None = None, green: bool = True) -> bytes:
    """The bytes of an image.

    Args:
        pixels: uint8[bands, rows, cols], or uint16 with samples of 9 to 16 bits; 1 to 16 bands.
        codec: One of `IMAGE_CODECS`, or one with other options.
        bits: Bits of a sample; None for 8 of uint8, and of uint16 for what its largest sample needs.
        green: Whether a lossless codec may send bands less their green, where that looks smaller.

    Raises:
        FormatError: No such image, a sample of more bits, or more rows than the codec's standard knows.
        MissingExtraError: The codec needs the extra ``codecs``.
    """
    shape = _shape_of(pixels, bits)
    differenced = worth_differencing(pixels, shape.bits) if green and codec.lossless else 0
    body = codec.encode(np.ascontiguousarray(subtract_green(pixels, differenced, shape.bits)), shape)
    numbers = leb128.encode(np.array([shape.bands, shape.rows, shape.cols, differenced]))
    sealed = _MAGIC + bytes([codec.number, shape.bits]) + numbers + body
    return sealed + zlib.crc32(sealed).to_bytes(_CRC_BYTES, "little")


def expand(data: bytes, *, max_samples: int = 1 << 26) -> Pixels:
    """The image that `compress` made these bytes of, uint8 or uint16[bands, rows, cols].

    Args:
        data: What `compress` returned.
        max_samples: The most samples of all bands that are accepted; nothing is allocated before this is checked.

    Raises:
        CorruptDataError: Any other bytes, or an image of more samples.
        MissingExtraError: Its codec needs the extra ``codecs``.
    """
    number, shape, differenced, body = _opened(data, max_samples)
    codec = next((codec for codec in IMAGE_CODECS if codec.number == number), None)
    if codec is None:
        raise corrupt(f"An image was compressed by codec {number}, which is none of ours")
    pixels = codec.decode(body, shape)
    if int(pixels.max()) > shape.peak:
        raise corrupt(f"An image has a sample of {int(pixels.max())}, more than {shape.bits} bits hold")
    return add_green(pixels.reshape(shape.bands, shape.rows, shape.cols), differenced, shape.bits)


def _shape_of(pixels: Pixels, bits: int | None) -> ImageShape:
    """The shape of an image that can be compressed.

    Raises:
        FormatError: It cannot.
    """
    if pixels.ndim != 3 or pixels.size == 0 or len(pixels) > MOST_BANDS or pixels.dtype not in (np.uint8, np.uint16):
        raise FormatError(
            f"An image of {pixels.dtype} and shape {pixels.shape} cannot be compressed",
            remedy=f"Give uint8 or uint16 of 1 to {MOST_BANDS} bands, rows and cols",
        )
    needed = int(pixels.max()).bit_length()
    least, most = (8, 8) if pixels.dtype == np.uint8 else (9, 16)
    given = max(needed, least) if bits is None else bits
    if not max(needed, least) <= given <= most:
        raise FormatError(
            f"Samples of {pixels.dtype} that need {needed} bits cannot be sent as {given} bits",
            remedy=f"Give {max(needed, least)} to {most} bits, or none to have them counted",
            bits=given,
        )
    return ImageShape(len(pixels), pixels.shape[1], pixels.shape[2], given)


def _opened(data: bytes, max_samples: int) -> tuple[int, ImageShape, int, bytes]:
    """Codec number, shape, differenced bands and body of an envelope.

    Raises:
        CorruptDataError: It is none of ours, or claims more than `max_samples`.
    """
    if not data.startswith(_MAGIC):
        raise corrupt(f"An image begins with {data[:3].hex()}, not with {_MAGIC.hex()}")
    sealed, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if zlib.crc32(sealed) != int.from_bytes(crc, "little"):
        raise corrupt("An image does not match its checksum")
    position = len(_MAGIC) + 2
    if len(sealed) < position:
        raise corrupt("An image ends within its header")
    number, bits = sealed[position - 2 : position]
    bands, position = leb128.read_one(sealed, position)
    rows, position = leb128.read_one(sealed, position)
    cols, position = leb128.read_one(sealed, position)
    differenced, position = leb128.read_one(sealed, position)
    if not 0 < bands * rows * cols <= max_samples:
        raise CorruptDataError(
            f"An image claims {bands} x {rows} x {cols} samples, and 1 to {max_samples} are accepted",
            remedy="Raise max_samples if the image is trusted",
            bands=bands,
            rows=rows,
            cols=cols,
            max_samples=max_samples,
        )
    # Band 1 is the green one: without it nothing was taken from any, and nothing is ever taken from itself.
    if (
        bands > MOST_BANDS
        or not 8 <= bits <= 16
        or differenced >> bands
        or differenced & 0b10
        or (differenced and bands < 2)
    ):
        raise corrupt(f"An image has a header that makes no sense: {bands} bands of {bits} bits, green {differenced}")
    return number, ImageShape(bands, rows, cols, bits), differenced, sealed[position:]
