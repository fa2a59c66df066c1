"""How real numbers meet a format: divided by a scale, one for all or one a channel."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taran_eo.errors import FormatError
from taran_eo.formats.coding import Format, Rounding, decode, encode


@dataclass(frozen=True)
class Scaling:
    """Scales between real numbers and the numbers of a format: ``real = scale * number``.

    Attributes:
        scales: One scale for a whole tensor, or one for each channel; positive and finite.
        axis: The axis that the channels lie on; None with one scale for all.

    Raises:
        FormatError: A scale that is not positive and finite, or more than one without an axis.

    Example:
        >>> Scaling.power_of_two(-3).scales
        (0.125,)
    """

    scales: tuple[float, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or any(not (math.isfinite(scale) and scale > 0) for scale in self.scales):
            raise FormatError(f"Scales {self.scales[:4]} are not all positive numbers", remedy="Give positive scales")
        if self.axis is None and len(self.scales) != 1:
            raise FormatError(f"{len(self.scales)} scales need an axis", remedy="Say which axis the channels lie on")

    @classmethod
    def power_of_two(cls, exponent: int) -> Self:
        """The scale ``2**exponent`` for a whole tensor."""
        return cls((2.0**exponent,))

    @classmethod
    def covering(cls, largest: ArrayLike, fmt: Format, *, axis: int | None = None, power_of_two: bool = True) -> Self:
        """The smallest scales with which the largest magnitudes do not saturate.

        Args:
            largest: The largest magnitude of a tensor, or of each channel ``[channels]``; 0 is taken as 1.
            fmt: The format to fit.
            axis: The axis of the channels, or None.
            power_of_two: Whether to take the next power of two above.

        Raises:
            FormatError: A magnitude that is negative or no finite number.
        """
        magnitudes = np.atleast_1d(np.asarray(largest, dtype=np.float64))
        if not (np.isfinite(magnitudes) & (magnitudes >= 0)).all():
            raise FormatError(
                f"Magnitudes {magnitudes[:4]} are no numbers from zero up", remedy="Look for a diverged run"
            )
        scales = np.where(magnitudes == 0, 1.0, magnitudes) / fmt.largest
        if power_of_two:
            mantissas, exponents = np.frexp(scales)
            # frexp gives [0.5, 1): an exact power of two is its own ceiling.
            scales = np.ldexp(1.0, np.where(mantissas == 0.5, exponents - 1, exponents))
        return cls(tuple(float(scale) for scale in scales), axis)

    @property
    def exponents(self) -> tuple[int, ...]:
        """The exponents of scales that are powers of two.

        Raises:
            FormatError: A scale that is not.
        """
        parts = [math.frexp(scale) for scale in self.scales]
        if any(mantissa != 0.5 for mantissa, _ in parts):
            raise FormatError("Not all scales are powers of two", remedy="Round them, or take the real-valued route")
        return tuple(exponent - 1 for _, exponent in parts)

    def along(self, dimensions: int) -> NDArray[np.float64]:
        """The scales in a shape that broadcasts over an array of so many dimensions."""
        if self.axis is None:
            return np.array(self.scales[0])
        return np.array(self.scales).reshape(
            [-1 if axis == self.axis % dimensions else 1 for axis in range(dimensions)]
        )


def quantize(
    reals: ArrayLike,
    fmt: Format,
    scaling: Scaling,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint64]:
    """Real numbers to the codes of a scaled format.

    With powers of two the division is exact and the value is rounded once; with real scales the quotient is
    first rounded to binary64.

    Args:
        reals: ``[...]``.
        fmt: The target format.
        scaling: Its scales.
        rounding: What to do between two neighbours.
        rng: Source of chance for stochastic rounding.

    Returns:
        Bit patterns ``uint64[...]``.

    Raises:
        FormatError: As for `encode`.
    """
    numbers = np.asarray(reals, dtype=np.float64)
    return encode(numbers / scaling.along(numbers.ndim), fmt, rounding, rng)


def dequantize(codes: ArrayLike, fmt: Format, scaling: Scaling) -> NDArray[np.float64]:
    """The codes of a scaled format to real numbers.

    Args:
        codes: Bit patterns ``[...]``.
        fmt: Their format.
        scaling: Its scales.

    Returns:
        ``float64[...]``.

    Raises:
        FormatError: As for `decode`.
    """
    numbers = decode(codes, fmt)
    return numbers * scaling.along(numbers.ndim)
