"""The green difference: bands without what they share with the green one, reversible to the last bit.

Red, green and blue of one place are alike, and so are the bands of most sensors; a codec that looks at one band at a
time pays for it. ``(band - green + half) modulo 2**bits`` has as many bits as the band, so it needs no wider codec;
the half puts "no difference" into the middle, where neither a predictor nor a wavelet meets the edge of the range.
An error in a difference could wrap around that edge, so only lossless codecs use it.

Source:
    Known as transform HP1 (r - g, g, b - g, modulo) from the JPEG-LS encoder of Hewlett-Packard.
"""

import numpy as np

from taran_eo.codec.image_shape import Pixels

GREEN = 1
"""The band that is taken from the others: green of red, green, blue and of blue, green, red, near infrared."""

_ROWS_LOOKED_AT = 64
"""Rows by which a band is judged; on real tiles these choose as all rows do."""


def subtract_green(pixels: Pixels, differenced: int, bits: int) -> Pixels:
    """The same image with green taken from some bands.

    Args:
        pixels: uint8 or uint16[bands, rows, cols], samples below 2**bits.
        differenced: Bit b says that band b loses its green.
        bits: Bits of a sample.
    """
    return _shifted(pixels, differenced, bits, sign=-1)


def add_green(pixels: Pixels, differenced: int, bits: int) -> Pixels:
    """What `subtract_green` was given."""
    return _shifted(pixels, differenced, bits, sign=1)


def worth_differencing(pixels: Pixels, bits: int) -> int:
    """The bands that vary less without their green, one bit each; 0 where green helps none.

    Variation is the mean step from a sample to its right neighbour, over some rows. It asks for no second run of
    a codec, and errs only where both ways cost about the same.

    Args:
        pixels: uint8 or uint16[bands, rows, cols].
        bits: Bits of a sample.
    """
    bands, rows, cols = pixels.shape
    if bands <= GREEN or cols < 2:
        return 0
    some = pixels[:, :: max(rows // _ROWS_LOOKED_AT, 1)]
    all_others = ((1 << bands) - 1) & ~(1 << GREEN)
    apart, together = (_steps(image) for image in (some, subtract_green(some, all_others, bits)))
    return sum(1 << band for band in range(bands) if band != GREEN and together[band] < apart[band])


def _steps(pixels: Pixels) -> list[int]:
    return [int(np.abs(np.diff(band.astype(np.int32), axis=1)).sum(dtype=np.int64)) for band in pixels]


def _shifted(pixels: Pixels, differenced: int, bits: int, *, sign: int) -> Pixels:
    if not differenced:
        return pixels
    shifted = pixels.copy()
    half, peak = 1 << (bits - 1), (1 << bits) - 1
    green = pixels[GREEN].astype(np.int32)
    for band in range(len(pixels)):
        if differenced >> band & 1:
            shifted[band] = ((pixels[band] + sign * (green - half)) & peak).astype(pixels.dtype)
    return shifted
