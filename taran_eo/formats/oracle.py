"""The slow truth: one number at a time, in exact fractions, straight from the definition of a format.

Nothing here is shared with the fast code in `coding`, apart from the formats themselves, so that the tests
compare two independent readings of the same rules.
"""

import math
from bisect import bisect_left
from fractions import Fraction
from functools import cache
from typing import assert_never

from taran_eo.errors import FormatError
from taran_eo.formats.coding import Format, Rounding
from taran_eo.formats.integer import Integer
from taran_eo.formats.minifloat import MiniFloat


def decode_one(code: int, fmt: Format) -> Fraction | float:
    """The value of one code: a fraction, or a float for -0, infinity and NaN."""
    match fmt:
        case Integer():
            whole = code - 2**fmt.bits if fmt.signed and code >= 2 ** (fmt.bits - 1) else code
            return Fraction(whole) * Fraction(2) ** -fmt.fraction_bits
        case MiniFloat():
            sign = -1 if code >> fmt.magnitude_bits else 1
            field = (code >> fmt.mantissa_bits) % 2**fmt.exponent_bits
            mantissa = Fraction(code % 2**fmt.mantissa_bits, 2**fmt.mantissa_bits)
            top = field == 2**fmt.exponent_bits - 1
            if fmt.specials == "ieee" and top:
                return math.nan if mantissa else sign * math.inf
            if fmt.specials == "ocp" and top and code % 2**fmt.mantissa_bits == 2**fmt.mantissa_bits - 1:
                return math.nan
            if field == 0:
                magnitude = mantissa * Fraction(2) ** (1 - fmt.exponent_bias) if fmt.subnormals else Fraction(0)
            else:
                magnitude = (1 + mantissa) * Fraction(2) ** (field - fmt.exponent_bias)
            return -0.0 if sign < 0 and magnitude == 0 else sign * magnitude
        case _:
            assert_never(fmt)


@cache
def _rungs(fmt: Format, negative: bool) -> tuple[list[Fraction], list[int]]:
    """The finite values that a number of one sign may become, as magnitudes in rising order, and their codes."""
    found: dict[Fraction, int] = {}
    for code in range(1 << fmt.bits):
        value = decode_one(code, fmt)
        if not math.isfinite(value) or (isinstance(fmt, Integer) and value < Fraction(fmt.lowest)):
            continue
        if isinstance(fmt, MiniFloat) and fmt.signed:
            belongs = bool(code >> fmt.magnitude_bits) == negative  # each half of the codes holds its own zero
        else:
            belongs = value == 0 or (value < 0) == negative
        if belongs:
            found.setdefault(abs(Fraction(value)), code)  # without subnormals the first zero is the canonical one
    return sorted(found), [found[magnitude] for magnitude in sorted(found)]


def encode_one(real: float, fmt: Format, rounding: Rounding = Rounding.NEAREST_EVEN) -> int:
    """The code of one real number, found between its two neighbours in the list of all values.

    Args:
        real: Any binary64 number.
        fmt: A format of at most 16 bits.
        rounding: To the nearest (ties to the even code) or toward zero.

    Raises:
        FormatError: NaN for a format without one, or stochastic rounding, which has no single answer.
    """
    if rounding is Rounding.STOCHASTIC:
        raise FormatError("Stochastic rounding has no single answer", remedy="Use encode with a generator")
    negative = math.copysign(1, real) < 0
    if not math.isfinite(real):
        special = [c for c in range(1 << fmt.bits) if _same_special(decode_one(c, fmt), real, c, fmt)]
        if special:
            return special[-1]
        if math.isnan(real):
            raise FormatError(f"{fmt} has no NaN", remedy="Choose a format with specials")
    magnitudes, codes = _rungs(fmt, negative)
    magnitude = magnitudes[-1] if math.isinf(real) else min(abs(Fraction(real)), magnitudes[-1])
    above = bisect_left(magnitudes, magnitude)
    if magnitudes[above] == magnitude:
        return codes[above]
    below = above - 1
    if rounding is Rounding.TOWARD_ZERO:
        return codes[below]
    gap_below, gap_above = magnitude - magnitudes[below], magnitudes[above] - magnitude
    if gap_below == gap_above:
        return codes[below] if codes[below] % 2 == 0 else codes[above]
    return codes[below] if gap_below < gap_above else codes[above]


def _same_special(value: Fraction | float, real: float, code: int, fmt: Format) -> bool:
    if isinstance(value, Fraction):
        return False
    if math.isnan(real):
        sign = isinstance(fmt, MiniFloat) and fmt.signed and code >> fmt.magnitude_bits
        return math.isnan(value) and bool(sign) == (fmt.signed and math.copysign(1, real) < 0)
    return value == real
