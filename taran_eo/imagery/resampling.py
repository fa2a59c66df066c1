"""A scene on a coarser or finer grid, computed by position so that windows join without a seam.

Each output pixel is the mean of the input under it (coarser) or the interpolation between two neighbours
(finer), along rows and then along columns, with weights that depend on its place in the scene alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.window import Window

Reader = Callable[[Window], tuple[NDArray[np.uint8], NDArray[np.bool_]]]

_CHUNK_PIXELS = 4 * 2**20
"""Input pixels taken at once; larger reads are halved, so that strong reductions stay in bounded memory."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of `rows` x `cols` laid over an input of `source_rows` x `source_cols`."""

    rows: int
    cols: int
    source_rows: int
    source_cols: int

    def read(self, reader: Reader, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Resampled pixels of a window that lies inside this grid.

        Args:
            reader: Reads a window of the input: uint8[bands, rows, cols], 0 where not valid, and the valid
                pixels, bool[rows, cols].
            window: A window of this grid.

        Returns:
            uint8[bands, rows, cols], 0 where not valid; and bool[rows, cols], True where at least half of the
            input's weight is valid. Invalid input does not bleed into its neighbours.
        """
        row_taps, row_weights = _taps(window.row, window.rows, self.rows, self.source_rows)
        col_taps, col_weights = _taps(window.col, window.cols, self.cols, self.source_cols)
        first_row, first_col = int(row_taps.min()), int(col_taps.min())
        need = Window(first_row, first_col, int(row_taps.max()) - first_row + 1, int(col_taps.max()) - first_col + 1)
        if need.rows * need.cols > _CHUNK_PIXELS and window.rows * window.cols > 1:
            return self._halved(reader, window)
        pixels, valid = reader(need)
        weight = _mix(valid.astype(np.float32), row_taps - first_row, row_weights, axis=0)
        weight = _mix(weight, col_taps - first_col, col_weights, axis=1)
        good = weight >= 0.5
        divisor = np.where(good, weight, np.float32(1))
        out = np.empty((len(pixels), window.rows, window.cols), dtype=np.uint8)
        for band, plane in enumerate(pixels):
            total = _mix(plane.astype(np.float32), row_taps - first_row, row_weights, axis=0)
            total = _mix(total, col_taps - first_col, col_weights, axis=1)
            out[band] = np.rint(np.clip(total / divisor, 0, 255)) * good
        return out, good

    def _halved(self, reader: Reader, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        axis = 0 if window.rows >= window.cols else 1
        if axis == 0:
            half = window.rows // 2
            parts = (
                Window(window.row, window.col, half, window.cols),
                Window(window.row + half, window.col, window.rows - half, window.cols),
            )
        else:
            half = window.cols // 2
            parts = (
                Window(window.row, window.col, window.rows, half),
                Window(window.row, window.col + half, window.rows, window.cols - half),
            )
        (first, first_valid), (second, second_valid) = (self.read(reader, part) for part in parts)
        return np.concatenate([first, second], axis + 1), np.concatenate([first_valid, second_valid], axis)


def _taps(start: int, count: int, out: int, source: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Input positions and weights of output positions start to start + count: both [taps, count].

    The kernel is a box as wide as an output pixel (at least as an input pixel, where it becomes the
    triangle of linear interpolation), cut at the input's ends and scaled to the sum 1.
    """
    factor = source / out
    position = np.arange(start, start + count)
    if factor > 1:
        low, high = position * factor, (position + 1) * factor
        first = np.floor(low).astype(np.intp)
        taps = first + np.arange(int(np.ceil(factor)) + 1)[:, None]
        weights = np.minimum(taps + 1, high) - np.maximum(taps, low)
    else:
        centre = (position + 0.5) * factor - 0.5
        first = np.floor(centre).astype(np.intp)
        taps = first + np.arange(2)[:, None]
        weights = 1 - np.abs(taps - centre)
    weights = np.clip(weights, 0, None) * ((taps >= 0) & (taps < source))
    weights /= weights.sum(axis=0)
    return np.clip(taps, 0, source - 1), weights.astype(np.float32)


def _mix(
    values: NDArray[np.float32], taps: NDArray[np.intp], weights: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    # One tap after the other, in a fixed order: a pixel's sum is then the same bits in every window.
    total: NDArray[np.float32] | None = None
    for tap, weight in zip(taps, weights, strict=True):
        term = np.take(values, tap, axis=axis) * (weight[:, None] if axis == 0 else weight)
        total = term if total is None else total + term
    assert total is not None  # noqa: S101 there are always two taps or more
    return total
