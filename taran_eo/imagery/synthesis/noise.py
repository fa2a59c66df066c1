"""Noise as a pure function of seed and position: any window of it agrees with any other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def hashed(seed: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint32]:
    """32 well mixed bits for each pair of whole positions; `rows` and `cols` are broadcast.

    Source:
        The mixer is lowbias32 of C. Wellons, Prospecting for Hash Functions (2018).
    """
    # Positions wrap at 2^32 on purpose; the salts keep rows, columns and seeds apart.
    along = rows.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed * 0x632BE5AB & 0xFFFFFFFF)
    bits = along ^ (cols.astype(np.uint32) * np.uint32(0x85EBCA77) + np.uint32(seed & 0xFFFFFFFF))
    bits ^= bits >> np.uint32(16)
    bits *= np.uint32(0x7FEB352D)
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(0x846CA68B)
    bits ^= bits >> np.uint32(16)
    return bits


def unit(bits: NDArray[np.uint32]) -> Field:
    """Hashed bits as float32 in [0, 1)."""
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def white(seed: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Field:
    """Nearly normal white noise of unit variance on a grid: float32[rows, cols] (sum of four bytes)."""
    bits = hashed(seed, rows[:, None], cols[None, :])
    total = bits.view(np.uint8).reshape(*bits.shape, 4).sum(axis=-1, dtype=np.int16)
    noise: Field = (total.astype(np.float32) - np.float32(510)) * np.float32(1 / 147.8)
    return noise


def _cells(position: NDArray[np.float64], spacing: float) -> tuple[NDArray[np.int64], Field]:
    scaled = position / spacing
    cell = np.floor(scaled)
    part = (scaled - cell).astype(np.float32)
    return cell.astype(np.int64), part * part * (3 - 2 * part)


def lattice(
    seed: int, rows: NDArray[np.float64], cols: NDArray[np.float64], spacing: float, stretch: float = 1.0
) -> Field:
    """Smooth noise in [-1, 1] on a grid, interpolated between hashed nodes.

    Args:
        seed: Which noise.
        rows: float64[rows], positions.
        cols: float64[cols], positions.
        spacing: Distance of the nodes along the rows.
        stretch: Distance along the columns over that along the rows.

    Returns:
        float32[rows, cols].
    """
    row_cell, row_part = _cells(rows, spacing)
    col_cell, col_part = _cells(cols, spacing * stretch)
    row_nodes = np.arange(row_cell[0], row_cell[-1] + 2)
    col_nodes = np.arange(col_cell[0], col_cell[-1] + 2)
    nodes = unit(hashed(seed, row_nodes[:, None], col_nodes[None, :])) * np.float32(2) - np.float32(1)
    at, beside = row_cell - row_nodes[0], col_cell - col_nodes[0]
    low = nodes[at]
    low += (nodes[at + 1] - low) * row_part[:, None]
    left: Field = low[:, beside]
    left += (low[:, beside + 1] - left) * col_part
    return left


def fractal(
    seed: int, rows: NDArray[np.float64], cols: NDArray[np.float64], spacing: float, octaves: int, gain: float = 0.5
) -> Field:
    """A sum of `lattice` noises, each half as wide and `gain` times as strong as the one before; in [-1, 1]."""
    return _summed(lambda octave: lattice(seed + octave, rows, cols, spacing / 2**octave), octaves, gain)


def lattice_at(seed: int, rows: NDArray[np.floating], cols: NDArray[np.floating], spacing: float) -> Field:
    """`lattice` at scattered positions, `rows` and `cols` of one shape."""
    row_cell, row_part = _cells(np.asarray(rows, dtype=np.float64), spacing)
    col_cell, col_part = _cells(np.asarray(cols, dtype=np.float64), spacing)
    corner: list[Field] = [
        unit(hashed(seed, row_cell + down, col_cell + right)) * np.float32(2) - np.float32(1)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    top: Field = corner[0] + (corner[1] - corner[0]) * col_part
    bottom: Field = corner[2] + (corner[3] - corner[2]) * col_part
    between: Field = top + (bottom - top) * row_part
    return between


def fractal_at(
    seed: int, rows: NDArray[np.floating], cols: NDArray[np.floating], spacing: float, octaves: int, gain: float = 0.5
) -> Field:
    """`fractal` at scattered positions, `rows` and `cols` of one shape."""
    return _summed(lambda octave: lattice_at(seed + octave, rows, cols, spacing / 2**octave), octaves, gain)


def _summed(octave_of: Callable[[int], Field], octaves: int, gain: float) -> Field:
    """The octaves, each weighted by `gain` to its number, over the sum of the weights."""
    total = octave_of(0)
    weight, weights = 1.0, 1.0
    for octave in range(1, octaves):
        weight *= gain
        weights += weight
        total += octave_of(octave) * np.float32(weight)
    return total / np.float32(weights)


def ramp(values: NDArray[np.floating], low: float, high: float) -> Field:
    """0 at `low` and below, 1 at `high` and above, smooth between."""
    part: Field = np.clip(
        (values.astype(np.float32, copy=False) - np.float32(low)) * np.float32(1 / (high - low)), 0, 1
    )
    return part * part * (3 - 2 * part)
