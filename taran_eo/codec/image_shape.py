"""What an image codec is told about the pixels, and the library that most of them call."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import CorruptDataError, FormatError, MissingExtraError

Pixels = NDArray[np.unsignedinteger[Any]]
"""Samples [bands, rows, cols]: uint8 of 8 bits, or uint16 of 9 to 16."""


@dataclass(frozen=True, slots=True)
class ImageShape:
    """The size of an image and the width of its samples.

    Attributes:
        bands: 1 to 16.
        rows: Rows of a band.
        cols: Columns of a band.
        bits: Bits of a sample: 8, or 9 to 16.
    """

    bands: int
    rows: int
    cols: int
    bits: int

    @property
    def samples(self) -> int:
        """Samples of all bands."""
        return self.bands * self.rows * self.cols

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """What holds a sample."""
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype(np.uint16)

    @property
    def peak(self) -> int:
        """The largest sample."""
        return (1 << self.bits) - 1

    @property
    def stacked(self) -> tuple[int, int]:
        """Rows and columns of the bands one below the other: one plane, so one header for all."""
        return self.bands * self.rows, self.cols

    def refuse_beyond(self, longest: int, standard: str) -> None:
        """Refuse what is too large for a standard that counts rows and columns to `longest`.

        Raises:
            FormatError: The stacked bands have more rows or columns.
        """
        if max(self.stacked) > longest:
            raise FormatError(
                f"{self.bands} bands of {self.rows} x {self.cols} are more rows or columns than the {longest} "
                f"of {standard}",
                remedy="Cut the image into tiles",
                longest=longest,
            )


def imagecodecs() -> ModuleType:
    """The library of the codecs.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import imagecodecs as library
    except ImportError as error:
        raise MissingExtraError.of("codecs", "imagecodecs") from error
    return library


def corrupt(what: str) -> CorruptDataError:
    """The error for a codestream in which `what` is wrong."""
    return CorruptDataError(
        what, remedy="Fetch the image again; if it stays so, it was not written by this version of taran_eo"
    )
