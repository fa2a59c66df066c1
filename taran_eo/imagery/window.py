"""Where pixels are: windows of a scene, and the cover of a scene by tiles with a halo."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels, in rows and columns counted from the scene's upper left corner.

    Attributes:
        row: First row; may be negative before clipping.
        col: First column.
        rows: Number of rows.
        cols: Number of columns.

    Example:
        >>> Window(4, 8, 10, 20).grown(2).clipped(12, 100)
        Window(row=2, col=6, rows=10, cols=24)
    """

    row: int
    col: int
    rows: int
    cols: int

    @property
    def row_stop(self) -> int:
        """The row after the last one."""
        return self.row + self.rows

    @property
    def col_stop(self) -> int:
        """The column after the last one."""
        return self.col + self.cols

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that cut this window out of an array that starts at the scene's origin."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def grown(self, margin: int) -> "Window":
        """This window with `margin` more pixels on each side."""
        return Window(self.row - margin, self.col - margin, self.rows + 2 * margin, self.cols + 2 * margin)

    def clipped(self, rows: int, cols: int) -> "Window":
        """The part of this window inside a scene of `rows` x `cols`; empty windows have zero rows or cols."""
        row, col = min(max(self.row, 0), rows), min(max(self.col, 0), cols)
        row_stop, col_stop = min(max(self.row_stop, row), rows), min(max(self.col_stop, col), cols)
        return Window(row, col, row_stop - row, col_stop - col)

    def relative_to(self, other: "Window") -> "Window":
        """The same pixels, counted from the upper left corner of `other`."""
        return Window(self.row - other.row, self.col - other.col, self.rows, self.cols)


Part = tuple[Window, NDArray[np.bool_]]
"""Some pixels of a scene: a window, and which of its pixels they are, bool[rows, cols]."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Some pixels of a scene: what a network sees of it at once.

    Attributes:
        core: The pixels whose answer this tile is asked for; the cores of a scene partition it.
        window: The pixels given, `core` with its halo. Where the scene ends at the bottom or right it may
            reach past the scene, so that its sides are multiples of the alignment.
        pixels: uint8[bands, rows, cols] over `window`; 0 wherever `valid` is False.
        valid: bool[rows, cols] over `window`; False at nodata and past the scene's end.
    """

    core: Window
    window: Window
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def cover(rows: int, cols: int, tile_size: int, halo: int, alignment: int) -> Iterator[tuple[Window, Window]]:
    """The cores that partition a scene, row-major, each with its window.

    Core origins are multiples of `tile_size`, and windows are clipped at the scene's top and left and extended
    to a multiple of `alignment` at its bottom and right: what a network computes on a core then depends on the
    scene alone, and never on the tile size, as long as the halo covers its receptive field.

    Args:
        rows: Rows of the scene.
        cols: Columns of the scene.
        tile_size: Side of a core in pixels, a multiple of `alignment`.
        halo: Margin around a core in pixels, a multiple of `alignment`.
        alignment: The network's total stride in pixels.

    Yields:
        Pairs of core and window.

    Raises:
        ConfigError: The tile size or the halo is no multiple of the alignment.
    """
    check_grid(tile_size, halo, alignment)
    for row in range(0, rows, tile_size):
        for col in range(0, cols, tile_size):
            core = Window(row, col, tile_size, tile_size).clipped(rows, cols)
            inside = Window(row, col, tile_size, tile_size).grown(halo).clipped(rows, cols)
            yield (
                core,
                Window(inside.row, inside.col, _up(inside.rows, alignment), _up(inside.cols, alignment)),
            )


def check_grid(tile_size: int, halo: int, alignment: int) -> None:
    """Refuse sizes that `cover` could not work with.

    Raises:
        ConfigError: The tile size or the halo is no multiple of the alignment.
    """
    for name, value, least in (("tile size", tile_size, alignment), ("halo", halo, 0)):
        if value < least or value % alignment:
            below = max(least, value // alignment * alignment)
            raise ConfigError(
                f"The {name} of {value} pixels is no multiple of the alignment, {alignment} pixels",
                remedy=f"Choose {below} or {below + alignment}",
                value=value,
                alignment=alignment,
            )
