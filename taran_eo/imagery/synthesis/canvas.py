"""A block of a scene being painted: its colours, and where it lies."""

from dataclasses import dataclass, field
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.synthesis.noise import Field
from taran_eo.imagery.window import Window

Colour = tuple[float, float, float]


def mix(paint: Field, colour: Colour | Field, alpha: Field) -> None:
    """Paint `colour` (three grey levels, or float32[3, rows, cols]) over `paint`, in place, with opacity `alpha`."""
    if isinstance(colour, tuple):
        for plane, level in zip(paint, colour, strict=True):
            plane += (np.float32(level) - plane) * alpha
    else:
        paint += (colour - paint) * alpha


@dataclass(eq=False, slots=True)
class Canvas:
    """A block being painted.

    Attributes:
        window: Where the block lies in the scene, in pixels.
        gsd_m: Metres a pixel.
        colour: float32[3, rows, cols], grey levels, painted in place.
        owner: int32[rows, cols], number of the ship that is seen there, from 1; 0 for none.
    """

    window: Window
    gsd_m: float
    colour: Field
    owner: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.owner = np.zeros(self.colour.shape[1:], dtype=np.int32)

    @classmethod
    def blank(cls, window: Window, gsd_m: float) -> "Canvas":
        """A black block."""
        return cls(window, gsd_m, np.zeros((3, window.rows, window.cols), dtype=np.float32))

    @property
    def rows_m(self) -> NDArray[np.float64]:
        """float64[rows], distance of the pixel centres from the scene's top in metres."""
        return (np.arange(self.window.row, self.window.row_stop, dtype=np.float64) + 0.5) * self.gsd_m

    @property
    def cols_m(self) -> NDArray[np.float64]:
        """float64[cols], distance of the pixel centres from the scene's left side in metres."""
        return (np.arange(self.window.col, self.window.col_stop, dtype=np.float64) + 0.5) * self.gsd_m

    def part(self, window: Window) -> "Canvas | None":
        """The part of this block inside `window`, sharing its memory; None where they do not meet."""
        inside = window.relative_to(self.window).clipped(self.window.rows, self.window.cols)
        if inside.rows == 0 or inside.cols == 0:
            return None
        place = Window(self.window.row + inside.row, self.window.col + inside.col, inside.rows, inside.cols)
        view = Canvas(place, self.gsd_m, self.colour[:, *inside.slices])
        view.owner = self.owner[inside.slices]
        return view

    def around(self, row_m: float, col_m: float, radius_m: float) -> "Canvas | None":
        """The part of this block within a square around a place; None where it does not reach."""
        first_row = int((row_m - radius_m) / self.gsd_m) - 1
        first_col = int((col_m - radius_m) / self.gsd_m) - 1
        side = int(2 * radius_m / self.gsd_m) + 3
        return self.part(Window(first_row, first_col, side, side))

    def blend(self, colour: Colour | Field, alpha: Field) -> None:
        """Paint `colour` (three grey levels, or float32[3, rows, cols]) with the opacity `alpha`."""
        mix(self.colour, colour, alpha)

    def axes(self, row_m: float, col_m: float, heading_deg: float) -> tuple[Field, Field]:
        """Metres ahead of a place and to its right, for a heading clockwise from up: float32[rows, cols] each."""
        down = (self.rows_m - row_m)[:, None]
        right = (self.cols_m - col_m)[None, :]
        ahead_down, ahead_right = -cos(radians(heading_deg)), sin(radians(heading_deg))
        ahead = down * ahead_down + right * ahead_right
        aside = right * -ahead_down + down * ahead_right
        return ahead.astype(np.float32), aside.astype(np.float32)
