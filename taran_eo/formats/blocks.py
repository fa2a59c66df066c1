"""Block scaling: a few neighbours share one power-of-two scale, as in the OCP Microscaling (MX) formats."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taran_eo.errors import FormatError
from taran_eo.formats.coding import Format, decode, encode

MX_BLOCK = 32
SCALE_BITS = 8
_LOWEST, _HIGHEST = -126, 127


@dataclass(frozen=True)
class BlockFormat:
    """Elements of one format in blocks, each with an 8-bit power-of-two scale (E8M0).

    Attributes:
        element: Format of the elements.
        size: Elements that share a scale.

    Raises:
        FormatError: A block of less than one element.

    Example:
        >>> from taran_eo.formats import parse_format
        >>> BlockFormat(parse_format("e2m3")).bits
        6.25
    """

    element: Format
    size: int = MX_BLOCK

    def __post_init__(self) -> None:
        if self.size < 1:
            raise FormatError(f"A block of {self.size} elements holds nothing", remedy="Take at least one")

    @property
    def bits(self) -> float:
        """Bits of an element, with its part of the scale."""
        return self.element.bits + SCALE_BITS / self.size

    @property
    def element_binade(self) -> int:
        """The binade of the largest element."""
        return math.frexp(self.element.largest)[1] - 1

    def __str__(self) -> str:
        return f"mx{self.element}" + ("" if self.size == MX_BLOCK else f"x{self.size}")


def round_blocks(reals: ArrayLike, fmt: BlockFormat, axis: int = -1) -> NDArray[np.float64]:
    """Round real numbers to a block format.

    The scale of a block is ``2**(floor(log2(largest magnitude)) - binade of the largest element)``; what saturates
    then, in the upper part of the top binade, becomes the largest element (OCP Microscaling Formats 1.0, 6.3).

    Args:
        reals: Finite numbers ``[...]``.
        fmt: The block format.
        axis: The axis along which blocks lie; the last block may be short.

    Returns:
        ``float64[...]``.

    Raises:
        FormatError: A number that is not finite.

    Example:
        >>> from taran_eo.formats import parse_format
        >>> round_blocks([7.9, 0.3, -0.1], BlockFormat(parse_format("e2m1"))).tolist()
        [6.0, 0.5, -0.0]
    """
    numbers = np.moveaxis(np.asarray(reals, dtype=np.float64), axis, -1)
    if not np.isfinite(numbers).all():
        raise FormatError("A block that holds infinity or NaN has no scale", remedy="Give finite numbers")
    result = np.empty_like(numbers)
    for first in range(0, numbers.shape[-1], fmt.size):
        block = numbers[..., first : first + fmt.size]
        largest = np.abs(block).max(axis=-1, keepdims=True)
        binade = np.where(largest > 0, np.frexp(largest)[1] - 1, _LOWEST)
        scale = np.ldexp(1.0, np.clip(binade - fmt.element_binade, _LOWEST, _HIGHEST))
        result[..., first : first + fmt.size] = decode(encode(block / scale, fmt.element), fmt.element) * scale
    return np.moveaxis(result, -1, axis)
