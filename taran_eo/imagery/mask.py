"""Classes on the grid of a scene."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import CorruptDataError
from taran_eo.imagery.rle import coco_encode, kaggle_decode, kaggle_encode

SEA = 0
SHIP = 1
NODATA = 255

MASK_SUFFIX = ".mask.tif"
"""Ending of the masks that we write: by it they are known, and not taken for imagery."""


@dataclass(frozen=True, eq=False, slots=True)
class Mask:
    """The class of each pixel of a scene, or of a part of it.

    Attributes:
        labels: uint8[rows, cols], each `SEA` (0: everything that is no ship), `SHIP` (1) or `NODATA` (255).
    """

    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.ndim != 2:
            raise CorruptDataError(
                f"A mask must be uint8[rows, cols], not {self.labels.dtype}{list(self.labels.shape)}",
                remedy="Convert the labels before making a mask of them",
            )
        if ((self.labels > SHIP) & (self.labels != NODATA)).any():
            raise CorruptDataError(
                "A mask holds a label other than 0 (sea), 1 (ship) and 255 (nodata)",
                remedy="Map the labels to these three before making a mask of them",
            )

    @classmethod
    def of(cls, ship: NDArray[np.bool_], valid: NDArray[np.bool_]) -> "Mask":
        """The mask with `SHIP` where `ship`, `NODATA` where not `valid`; both bool[rows, cols]."""
        return cls(np.where(valid, ship.astype(np.uint8), np.uint8(NODATA)))

    @classmethod
    def from_kaggle(cls, texts: Iterable[str], rows: int, cols: int) -> "Mask":
        """The union of the ships in Kaggle run lengths, one ship a text (empty for none).

        Raises:
            CorruptDataError: A text does not fit a mask of `rows` x `cols`.
        """
        ship = np.zeros((rows, cols), dtype=np.bool_)
        for text in texts:
            ship |= kaggle_decode(text, rows, cols)
        return cls(ship.astype(np.uint8))

    @property
    def rows(self) -> int:
        """Rows of the mask."""
        return int(self.labels.shape[0])

    @property
    def cols(self) -> int:
        """Columns of the mask."""
        return int(self.labels.shape[1])

    @property
    def ship(self) -> NDArray[np.bool_]:
        """bool[rows, cols], True on ships."""
        ship: NDArray[np.bool_] = self.labels == SHIP
        return ship

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool[rows, cols], False without data."""
        valid: NDArray[np.bool_] = self.labels != NODATA
        return valid

    def kaggle(self) -> str:
        """All ship pixels as Kaggle run lengths."""
        return kaggle_encode(self.ship)

    def coco(self) -> dict[str, list[int]]:
        """All ship pixels as uncompressed COCO run lengths."""
        return coco_encode(self.ship)
