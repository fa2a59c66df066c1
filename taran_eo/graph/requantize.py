"""Requantization, defined once, in integers; every engine reproduces it exactly.

An accumulator ``a`` times a multiplier ``n`` is an exact integer ``p``, and ``p / 2**s`` is the result in steps
of the target format. It is rounded once, to nearest even, on the target's grid: in steps of 1 for an integer
and for a minifloat below ``2**(m + 1)``, in steps of ``2**(e - m)`` in a minifloat's binade ``[2**e, 2**(e + 1))``.
A carry into the next binade lands on its first value, so no second rounding arises. Then it saturates.

Rounding is done on the magnitude: shifting a negative number right is not the same in every language.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from taran_eo.formats import Format, Integer, MiniFloat, integer_image
from taran_eo.graph.ops import Requantize

MULTIPLIER_BITS = 24
LARGEST_SHIFT = 56
EXACT_BITS = 53
"""Products stay below ``2**53``, so that an engine may hold them in binary64 without a loss."""


def grid_mantissa(fmt: Format) -> int | None:
    """Mantissa bits of the grid that results are rounded to, or None for a uniform grid."""
    match fmt:
        case Integer():
            return None
        case MiniFloat():
            return fmt.mantissa_bits
        case _:
            assert_never(fmt)


def requantize(accumulators: NDArray[np.int64], how: Requantize, fmt: Format) -> NDArray[np.int64]:
    """Round accumulators to the integer image of a format.

    Args:
        accumulators: ``int64[channels, ...]``; times its multiplier each stays below ``2**53`` in magnitude.
        how: Multipliers and shifts of the channels.
        fmt: The target.

    Returns:
        Integer images ``int64[channels, ...]``.

    Example:
        >>> how = Requantize(np.array([1], np.int32), np.array([2], np.int32))
        >>> requantize(np.array([[9, 10, 11, 130, 138, -7]]), how, MiniFloat(2, 3, signed=False)).tolist()
        [[2, 2, 3, 32, 36, 0]]
    """
    column = (-1, *(1,) * (accumulators.ndim - 1))
    shift = how.shifts.astype(np.int64).reshape(column)
    products = accumulators * how.multipliers.astype(np.int64).reshape(column)
    magnitude = np.abs(products)
    mantissa = grid_mantissa(fmt)
    coarser = np.int64(0) if mantissa is None else np.maximum(_bit_length(magnitude) - 1 - shift - mantissa, 0)
    dropped = shift + coarser
    rounded = _shift_to_nearest_even(magnitude, dropped) << coarser
    image = integer_image(fmt)
    signed = np.where(products < 0, -rounded, rounded)
    result: NDArray[np.int64] = np.clip(signed, image.low, image.high)
    return result


def _bit_length(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    # Exact: below 2**53 the conversion to binary64 does not round.
    return np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)


def _shift_to_nearest_even(magnitude: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    whole = magnitude >> places
    rest = magnitude - (whole << places)
    # Twice the rest against the unit: no half is formed, so places may be 0.
    twice, unit = rest << 1, np.int64(1) << places
    up = (twice > unit) | ((twice == unit) & (whole & 1 == 1))
    rounded: NDArray[np.int64] = whole + up
    return rounded
