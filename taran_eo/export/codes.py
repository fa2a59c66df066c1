"""Weights as the codes of their format, one after the other, and what each code stands for."""

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime import Weights
from taran_eo.formats import Format, Integer, from_image, integer_image, values

CODE_BITS = 8
"""The most that a table of values is made for."""
WIDE_BITS = 16
"""Weights without such a table are numbers of so many bits, in two's complement."""


def packed_weights(weights: Weights) -> tuple[Format | None, NDArray[np.uint8]]:
    """The weights of a convolution in the codes of a format, packed; None where they are their own codes of 16 bits."""
    if weights.lane == 2 and weights.format.bits > CODE_BITS:
        return None, weights.packed.view("<i2").astype("<i2").view(np.uint8)
    # What lies in bytes, though of a wider format, needs no more than these.
    fmt = weights.format if weights.format.bits <= CODE_BITS else Integer(CODE_BITS)
    numbers = weights.packed if weights.lane == 1 else weights.packed.view("<i2")
    return fmt, pack_codes(from_image(numbers.astype(np.int64), fmt), fmt.bits)


def pack_codes(codes: NDArray[np.uint64], bits: int) -> NDArray[np.uint8]:
    """Codes of so many bits one after the other, from the lowest bit of the first byte on.

    Example:
        >>> [f"{byte:08b}" for byte in pack_codes(np.array([0b000101, 0b111000], np.uint64), 6).tolist()]
        ['00000101', '00001110']
    """
    every = (codes[:, None] >> np.arange(bits, dtype=np.uint64)).astype(np.uint8) & 1
    return np.packbits(every.ravel(), bitorder="little")


def unpack_codes(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint64]:
    """The inverse of `pack_codes`, for so many codes."""
    every = np.unpackbits(packed, count=bits * count, bitorder="little").reshape(count, bits)
    codes: NDArray[np.uint64] = every @ (np.uint64(1) << np.arange(bits, dtype=np.uint64))
    return codes


def numbers_of(fmt: Format) -> NDArray[np.int16]:
    """The integer that each code of a format stands for, ``int16[2**bits]``.

    It is 0 for infinity, NaN and what is beyond 16 bits: no weight has such a code.
    """
    with np.errstate(over="ignore"):
        numbers = np.ldexp(values(fmt), -integer_image(fmt).step_exponent)
    return np.where((numbers >= -(2**15)) & (numbers < 2**15), numbers, 0).astype(np.int16)
