"""A picture of what has arrived of a scene: pixels where there are any, the mask, a box around each ship."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from taran_eo.imagery.mask import NODATA, SHIP
from taran_eo.imagery.source import gdal
from taran_eo.imagery.window import Window

SIDE = 1024
"""The longer side of a preview has as many pixels at most."""

# Apart for all eyes, on a dark sea and in print.
_SEA, _UNKNOWN, _SHIP, _BOX = (16, 42, 67), (128, 128, 128), (255, 255, 255), (255, 176, 0)
_BOX_MARGIN = 3


class Preview:
    """Takes pieces of a scene as they come, and keeps no more of them than it shows.

    Args:
        rows: Rows of the scene.
        cols: Columns of the scene.
    """

    def __init__(self, rows: int, cols: int) -> None:
        self._step = -(-max(rows, cols) // SIDE)
        self._canvas = np.empty((-(-rows // self._step), -(-cols // self._step), 3), dtype=np.uint8)
        self._canvas[:] = _SEA

    def pixels(self, window: Window, pixels: NDArray[np.uint8]) -> None:
        """Show pixels uint8[bands, rows, cols] of a window; the first three bands, or the first as grey."""
        (rows, tops), (cols, lefts) = self._shown(window.row, window.rows), self._shown(window.col, window.cols)
        bands = pixels[:3] if pixels.shape[0] >= 3 else pixels[[0, 0, 0]]
        self._canvas[rows, cols] = bands[:, tops][:, :, lefts].transpose(1, 2, 0)

    def unknown(self, window: Window) -> None:
        """Show that the pixels of a window have not arrived."""
        (rows, _), (cols, _) = self._shown(window.row, window.rows), self._shown(window.col, window.cols)
        self._canvas[rows, cols] = _UNKNOWN

    def labels(self, window: Window, labels: NDArray[np.uint8], *, over_pixels: bool) -> None:
        """Show labels uint8[rows, cols] of a window; above pixels only where data are missing."""
        (rows, tops), (cols, lefts) = self._shown(window.row, window.rows), self._shown(window.col, window.cols)
        view = self._canvas[rows, cols]
        view[labels[tops][:, lefts] == NODATA] = _UNKNOWN
        if not over_pixels:
            # A ship is smaller than a step: it shows where any of its pixels lies.
            ship_rows, ship_cols = np.nonzero(labels == SHIP)
            self._canvas[(window.row + ship_rows) // self._step, (window.col + ship_cols) // self._step] = _SHIP

    def box(self, corners: NDArray[np.float64]) -> None:
        """Draw a box float64[4, 2] (row, col) in pixels of the scene, a little larger than it is."""
        low = corners.min(axis=0) / self._step - _BOX_MARGIN
        high = corners.max(axis=0) / self._step + _BOX_MARGIN
        limit = np.array(self._canvas.shape[:2]) - 1
        (top, left), (bottom, right) = (np.clip(np.rint(each), 0, limit).astype(int) for each in (low, high))
        for row in (top, bottom):
            self._canvas[row, left : right + 1] = _BOX
        for col in (left, right):
            self._canvas[top : bottom + 1, col] = _BOX

    def write(self, path: Path) -> None:
        """Write it as PNG."""
        rows, cols, bands = self._canvas.shape
        with (
            gdal(),
            rasterio.open(path, "w", driver="PNG", height=rows, width=cols, count=bands, dtype="uint8") as dataset,
        ):
            dataset.write(self._canvas.transpose(2, 0, 1))

    def _shown(self, start: int, size: int) -> tuple[slice, NDArray[np.int64]]:
        """Where the canvas shows a range of rows or columns, and which of them it shows."""
        first = -(-start // self._step)
        stop = -(-(start + size) // self._step)
        return slice(first, stop), np.arange(first, stop) * self._step - start
