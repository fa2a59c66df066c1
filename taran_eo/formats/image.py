"""Small floats are integers in disguise: the exact integer image of a format.

Every finite value of a format is an integer multiple of its smallest step, so a dot product of such values is
an exact sum of integers, in whatever order. This module gives the image and the widths that follow from it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taran_eo.errors import FormatError
from taran_eo.formats.coding import Format, decode, encode
from taran_eo.formats.integer import Integer

_LANES: tuple[type[np.signedinteger], ...] = (np.int8, np.int16, np.int32, np.int64)
_UNSIGNED_LANES: tuple[type[np.unsignedinteger], ...] = (np.uint8, np.uint16, np.uint32, np.uint64)


@dataclass(frozen=True)
class IntegerImage:
    """The integers that the finite values of a format are, in steps of ``2**step_exponent``.

    Example:
        >>> from taran_eo.formats import MiniFloat
        >>> integer_image(MiniFloat(2, 3))
        IntegerImage(step_exponent=-3, low=-60, high=60)
    """

    step_exponent: int
    low: int
    high: int

    @property
    def bits(self) -> int:
        """Width of the two's complement (or, without negative values, unsigned) integer that holds it."""
        return max((-self.low - 1).bit_length(), self.high.bit_length()) + 1 if self.low < 0 else self.high.bit_length()

    @property
    def magnitude(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def lane(self) -> np.dtype[np.integer]:
        """The narrowest numpy integer that holds it.

        Raises:
            FormatError: It needs more than 64 bits.
        """
        for lane in _LANES if self.low < 0 else _UNSIGNED_LANES:
            if self.bits <= np.dtype(lane).itemsize * 8:
                return np.dtype(lane)
        raise FormatError(
            f"An image of {self.bits} bits fits no machine integer",
            remedy="Take a format with fewer exponent bits, or emulate it in floating point",
            bits=self.bits,
        )


def integer_image(fmt: Format) -> IntegerImage:
    """The integer image of a format.

    Args:
        fmt: Any; its infinities and NaN are left out.

    Returns:
        The step and the range of the integers.
    """
    if isinstance(fmt, Integer):
        return IntegerImage(fmt.step_exponent, fmt.lowest_integer, fmt.highest_integer)
    # In integers, as the image of a wide format is no binary64 number.
    field, mantissa = divmod(fmt.largest_magnitude_code, 1 << fmt.mantissa_bits)
    high = ((1 << fmt.mantissa_bits) + mantissa) << (field - 1)
    return IntegerImage(fmt.step_exponent, -high if fmt.signed else 0, high)


def to_image(codes: ArrayLike, fmt: Format) -> NDArray[np.int64]:
    """Codes to the integers they stand for; the sign of zero is lost.

    Args:
        codes: Bit patterns ``[...]``.
        fmt: Their format.

    Returns:
        ``int64[...]``, in steps of ``2**integer_image(fmt).step_exponent``.

    Raises:
        FormatError: Infinity or NaN among the codes, or an image beyond 53 bits.
    """
    _refuse_wide(fmt)
    numbers = decode(codes, fmt)
    if not np.isfinite(numbers).all():
        raise FormatError("Infinity and NaN have no integer image", remedy="Encode finite values only")
    return np.ldexp(numbers, -fmt.step_exponent).astype(np.int64)


def from_image(image: ArrayLike, fmt: Format) -> NDArray[np.uint64]:
    """Integers of the image to codes; the inverse of `to_image`.

    Args:
        image: Integers ``[...]``.
        fmt: The format.

    Returns:
        Bit patterns ``uint64[...]``.

    Raises:
        FormatError: An integer that is no value of the format, or an image beyond 53 bits.
    """
    _refuse_wide(fmt)
    integers = np.asarray(image, dtype=np.int64)
    codes = encode(np.ldexp(integers.astype(np.float64), fmt.step_exponent), fmt)
    if not np.array_equal(to_image(codes, fmt), integers):
        raise FormatError(f"Some integers are no values of {fmt}", remedy="Round them to the format first")
    return codes


def accumulator_bits(weights: Format, activations: Format, terms: int) -> int:
    """Width of the two's complement integer that holds any sum of so many products, exactly.

    Args:
        weights: Format of the one factor.
        activations: Format of the other.
        terms: How many products, at least 1.

    Returns:
        Bits, with that of the sign.

    Example:
        >>> from taran_eo.formats import MiniFloat
        >>> accumulator_bits(MiniFloat(2, 3), MiniFloat(2, 4, signed=False), terms=9 * 64)
        24
    """
    first, second = integer_image(weights), integer_image(activations)
    products = [a * b for a in (first.low, first.high) for b in (second.low, second.high)]
    return max((-min(products) * terms - 1).bit_length(), (max(products) * terms).bit_length()) + 1


def product_bits(weights: Format, activations: Format) -> int:
    """Width of the two's complement integer that holds any one product, exactly: `accumulator_bits` of one term."""
    return accumulator_bits(weights, activations, terms=1)


def exact_terms(weights: Format, activations: Format, limit: int) -> int:
    """How many worst-case products can be added before the sum's magnitude passes `limit`.

    With ``limit=2**24`` this says how long a float32 dot product stays exact, with ``2**31 - 1`` an int32 one.

    Args:
        weights: Format of the one factor.
        activations: Format of the other.
        limit: In products of the steps of both.

    Returns:
        The number of products; 0 where one alone is too large.

    Example:
        >>> from taran_eo.formats import MiniFloat
        >>> exact_terms(MiniFloat(3, 2), MiniFloat(3, 2), 2**24)
        83
    """
    return limit // (integer_image(weights).magnitude * integer_image(activations).magnitude)


def _refuse_wide(fmt: Format) -> None:
    bits = integer_image(fmt).bits
    if bits > 53:
        raise FormatError(
            f"The integer image of {fmt} has {bits} bits, more than the 53 that are handled exactly here",
            remedy="Take a format with fewer exponent bits",
            bits=bits,
        )
