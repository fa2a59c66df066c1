"""The ship list: position, oriented box, heading axis, score and size of each ship, in about ten bytes a ship.

A page of the list holds ships one after the other, each as seven numbers in LEB128: how far its row and its column
are from those of the ship before (zigzag), length, width, heading, score, pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec import leb128
from taran_eo.errors import CorruptDataError

PER_PIXEL = 4
"""Steps a pixel of positions and sides; half a step is 0.2 m at 1.5 m a pixel."""

TURN = 256
"""Steps of half a turn: a heading axis is told to 0.35 degrees."""

TOP_SCORE = 127

PAGE_SHIPS = 80
"""Ships on a page, about as many as one frame holds."""

_FIELDS = 7
_MOST = 1 << 33
"""Beyond any scene of 2**31 pixels a side."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A ship as it goes down, in whole steps.

    Attributes:
        row: Centre of the box, in quarters of a pixel from the top of the scene.
        col: Centre of the box, in quarters of a pixel from the left of the scene.
        length: Long side of the box, in quarters of a pixel.
        width: Other side of the box, in quarters of a pixel.
        heading: Axis of the long side clockwise from the top of the image, in steps of 180 / 256 degrees.
        score: Mean probability of the ship's pixels, in steps of 1 / 127.
        pixels: Ship pixels.
    """

    row: int
    col: int
    length: int
    width: int
    heading: int
    score: int
    pixels: int

    @classmethod
    def of(cls, box: Sequence[Sequence[float]], score: float, pixels: int) -> "Sighting":
        """The sighting of a ship.

        Args:
            box: Corners (row, col) of its oriented box in pixels, in their order around it.
            score: Mean probability of its pixels.
            pixels: Ship pixels.
        """
        row, col = (sum(values) / len(box) for values in zip(*box, strict=True))
        sides = sorted((math.dist(a, b), a, b) for a, b in pairwise(box[:3]))
        (width, _, _), (length, tail, head) = sides[0], sides[-1]
        axis = math.atan2(head[1] - tail[1], tail[0] - head[0]) / math.pi
        return cls(
            row=round(row * PER_PIXEL),
            col=round(col * PER_PIXEL),
            length=round(length * PER_PIXEL),
            width=round(width * PER_PIXEL),
            heading=round(axis * TURN) % TURN,
            score=round(score * TOP_SCORE),
            pixels=pixels,
        )

    def corners(self) -> NDArray[np.float64]:
        """The corners of the box, float64[4, 2] (row, col) in pixels, in their order around it."""
        angle = math.pi * self.heading / TURN
        along = np.array([-math.cos(angle), math.sin(angle)]) * (self.length / PER_PIXEL / 2)
        across = np.array([math.sin(angle), math.cos(angle)]) * (self.width / PER_PIXEL / 2)
        centre = np.array([self.row, self.col]) / PER_PIXEL
        around = np.stack([-along - across, along - across, along + across, across - along])
        return np.asarray(centre + around, dtype=np.float64)


def pages(ships: Sequence[Sighting]) -> list[bytes]:
    """The pages of a list of ships, each readable by itself."""
    return [_page(ships[start : start + PAGE_SHIPS]) for start in range(0, len(ships), PAGE_SHIPS)]


def _page(ships: Sequence[Sighting]) -> bytes:
    numbers = np.array([astuple(ship) for ship in ships], dtype=np.int64)
    steps = np.diff(numbers[:, :2], axis=0, prepend=0)
    numbers[:, :2] = (steps << 1) ^ (steps >> 63)
    return leb128.encode(numbers)


def read_page(data: bytes) -> tuple[Sighting, ...]:
    """The ships of a page that `pages` wrote.

    Raises:
        CorruptDataError: Any other bytes.
    """
    values = leb128.decode(data)
    if values.size % _FIELDS or not 0 < values.size <= PAGE_SHIPS * _FIELDS:
        raise CorruptDataError(
            f"A page of {values.size} numbers is none of a ship list",
            remedy="Fetch the product again; if it stays so, it was not written by this version of taran_eo",
        )
    numbers = values.reshape(-1, _FIELDS)
    numbers[:, :2] = np.cumsum((numbers[:, :2] >> 1) ^ -(numbers[:, :2] & 1), axis=0)
    ships = tuple(Sighting(*ship) for ship in numbers.tolist())
    for ship in ships:
        if not (0 <= ship.row < _MOST and 0 <= ship.col < _MOST and ship.heading < TURN and ship.score <= TOP_SCORE):
            raise CorruptDataError(
                f"A ship list holds a ship that cannot be: {ship}", remedy="Fetch the product again", ship=ship
            )
    return ships
