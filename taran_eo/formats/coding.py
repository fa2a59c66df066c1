"""Real numbers to codes and back, for whole arrays.

One behaviour at the edges, for every format:

* A finite value beyond the largest becomes the largest (saturation); below zero in an unsigned format, zero.
* Infinity becomes the format's infinity where it has one, else it saturates.
* NaN becomes the format's NaN where it has one, else `FormatError`.
* A minifloat with a sign keeps the sign of zero, also of a value that rounds to zero; an integer has one zero.

`oracle` holds the same rules, one number at a time in exact fractions; the tests compare the two.
"""

from enum import Enum
from functools import cache
from typing import assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taran_eo.errors import FormatError
from taran_eo.formats.integer import Integer
from taran_eo.formats.minifloat import MiniFloat

Format = MiniFloat | Integer

TABLE_BITS = 16
"""Up to this width a format is a table of its values."""


class Rounding(Enum):
    """What happens to a value between two neighbours of a format."""

    NEAREST_EVEN = "nearest even"
    """To the nearer one, a tie to the one whose code is even (where both are, to the smaller magnitude)."""

    TOWARD_ZERO = "toward zero"
    """To the one of smaller magnitude."""

    STOCHASTIC = "stochastic"
    """To either, with probabilities that make the expected value exact; needs a generator."""


@cache
def values(fmt: Format) -> NDArray[np.float64]:
    """The value of every code of a format, which is all that there is to know of it.

    Args:
        fmt: A format of at most 16 bits.

    Returns:
        ``float64[2**bits]`` indexed by code (the bit pattern, sign highest), read-only.

    Raises:
        FormatError: More than 16 bits.

    Example:
        >>> values(MiniFloat(2, 1, signed=False)).tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    if fmt.bits > TABLE_BITS:
        raise FormatError(
            f"{fmt} has 2**{fmt.bits} values, too many for a table", remedy=f"Take {TABLE_BITS} bits or fewer"
        )
    match fmt:
        case Integer():
            codes = np.arange(2**fmt.bits)
            table = np.ldexp(_from_twos_complement(codes, fmt).astype(np.float64), fmt.step_exponent)
        case MiniFloat():
            magnitudes = np.full(2**fmt.magnitude_bits, np.nan)
            top = fmt.largest_magnitude_code + 1
            magnitudes[:top] = [fmt.magnitude(code) for code in range(top)]
            if fmt.specials == "ieee":
                magnitudes[top] = np.inf
            table = np.concatenate([magnitudes, -magnitudes]) if fmt.signed else magnitudes
        case _:
            assert_never(fmt)
    table.setflags(write=False)
    return table


def decode(codes: ArrayLike, fmt: Format) -> NDArray[np.float64]:
    """Codes to real numbers; the inverse of `encode` on every value of the format.

    Args:
        codes: Unsigned integers ``[...]`` below ``2**bits``.
        fmt: Their format.

    Returns:
        ``float64[...]``.

    Raises:
        FormatError: A code of more bits than the format has.
    """
    patterns = np.asarray(codes, dtype=np.int64)
    if patterns.size and (patterns.min() < 0 or patterns.max() >= 2**fmt.bits):
        raise FormatError(
            f"Codes from {patterns.min()} to {patterns.max()} are not codes of {fmt}",
            remedy=f"Codes of {fmt} lie in 0 to {2**fmt.bits - 1}",
        )
    if fmt.bits <= TABLE_BITS:
        return values(fmt)[patterns]
    assert isinstance(fmt, Integer)  # noqa: S101 - a minifloat has at most 16 bits
    return np.ldexp(_from_twos_complement(patterns, fmt).astype(np.float64), fmt.step_exponent)


def encode(
    reals: ArrayLike,
    fmt: Format,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint64]:
    """Real numbers to codes, rounded once.

    Args:
        reals: Any real numbers ``[...]``, taken as binary64.
        fmt: The target.
        rounding: What to do between two neighbours.
        rng: Source of chance for stochastic rounding, else None.

    Returns:
        Bit patterns ``uint64[...]``.

    Raises:
        FormatError: NaN for a format without one, or stochastic rounding without a generator.

    Example:
        >>> decode(encode([0.3, -9.0, 2.25], MiniFloat(2, 1)), MiniFloat(2, 1)).tolist()
        [0.5, -6.0, 2.0]
    """
    numbers = np.asarray(reals, dtype=np.float64)
    match fmt:
        case Integer():
            return _encode_integer(numbers, fmt, rounding, rng)
        case MiniFloat():
            return _encode_minifloat(numbers, fmt, rounding, rng)
        case _:
            assert_never(fmt)


def _encode_integer(
    numbers: NDArray[np.float64], fmt: Integer, rounding: Rounding, rng: np.random.Generator | None
) -> NDArray[np.uint64]:
    _refuse_nan(numbers, fmt)
    with np.errstate(over="ignore"):  # a huge value becomes infinite here and saturates below
        steps = np.ldexp(numbers, -fmt.step_exponent)
    # Clip first: rounding is monotone, so the ends stay ends, and int64 cannot overflow.
    steps = np.clip(steps, fmt.lowest_integer, fmt.highest_integer)
    match rounding:
        case Rounding.NEAREST_EVEN:
            whole = np.rint(steps)
        case Rounding.TOWARD_ZERO:
            whole = np.trunc(steps)
        case Rounding.STOCHASTIC:
            floor = np.floor(steps)
            whole = floor + (_chance(rng, steps.shape) < steps - floor)
        case _:
            assert_never(rounding)
    codes: NDArray[np.uint64] = (whole.astype(np.int64) & ((1 << fmt.bits) - 1)).astype(np.uint64)
    return codes


@cache
def _ladder(fmt: MiniFloat) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Finite magnitudes in rising order: their codes, their values, and the midpoints between neighbours."""
    codes = np.arange(fmt.largest_magnitude_code + 1)
    if not fmt.subnormals:
        codes = np.delete(codes, np.arange(1, 2**fmt.mantissa_bits))
    rungs = values(fmt)[codes]
    return codes, rungs, rungs[:-1] / 2 + rungs[1:] / 2


def _encode_minifloat(
    numbers: NDArray[np.float64], fmt: MiniFloat, rounding: Rounding, rng: np.random.Generator | None
) -> NDArray[np.uint64]:
    if fmt.specials == "none":
        _refuse_nan(numbers, fmt)
    codes, rungs, midpoints = _ladder(fmt)
    negative = np.signbit(numbers)
    magnitude = np.abs(numbers)
    if not fmt.signed:
        magnitude = np.where(negative & ~np.isnan(numbers), 0.0, magnitude)
    match rounding:
        case Rounding.NEAREST_EVEN:
            rung = np.searchsorted(midpoints, magnitude, side="left")
            below = np.minimum(rung, len(midpoints) - 1)
            tie = (magnitude == midpoints[below]) & (rung < len(midpoints))
            rung = rung + (tie & (codes[rung] % 2 == 1))
        case Rounding.TOWARD_ZERO:
            rung = np.searchsorted(rungs, magnitude, side="right") - 1
        case Rounding.STOCHASTIC:
            rung = np.minimum(np.searchsorted(rungs, magnitude, side="right") - 1, len(rungs) - 2)
            share = (magnitude - rungs[rung]) / (rungs[rung + 1] - rungs[rung])
            rung = rung + (_chance(rng, magnitude.shape) < share)
        case _:
            assert_never(rounding)
    result = codes[rung]
    if fmt.specials == "ieee":
        result = np.where(np.isinf(magnitude), fmt.largest_magnitude_code + 1, result)
    result = np.where(np.isnan(magnitude), 2**fmt.magnitude_bits - 1, result)
    if fmt.signed:
        result = result | (negative.astype(np.int64) << fmt.magnitude_bits)
    patterns: NDArray[np.uint64] = result.astype(np.uint64)
    return patterns


def _refuse_nan(numbers: NDArray[np.float64], fmt: Format) -> None:
    if np.isnan(numbers).any():
        raise FormatError(
            f"{int(np.isnan(numbers).sum())} of {numbers.size} values are NaN, and {fmt} has no code for it",
            remedy="Find where the NaN arises, or choose a format with specials",
        )


def _chance(rng: np.random.Generator | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if rng is None:
        raise FormatError("Stochastic rounding needs chance", remedy="Pass rng=np.random.default_rng(seed)")
    return rng.random(shape)


def _from_twos_complement(codes: NDArray[np.int64], fmt: Integer) -> NDArray[np.int64]:
    return np.where(codes > fmt.highest_integer, codes - 2**fmt.bits, codes) if fmt.signed else codes
