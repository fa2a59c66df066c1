"""Components of a mask and their length, for pairing predicted ships with true ones."""

import numpy as np
from numpy.typing import NDArray


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the 8-connected components of a mask.

    Args:
        mask: bool[rows, cols].

    Returns:
        int32[rows, cols], 0 outside and 1, 2, ... in the order of first pixels in row-major order; and their
        number.
    """
    rows, cols = mask.shape
    labels = np.zeros((rows, cols), np.int32)
    if not mask.any():
        return labels, 0
    # Runs of ship pixels along the rows: starts and stops alternate in the steps of a padded row.
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    run_row, start = np.nonzero(steps == 1)
    stop = np.nonzero(steps == -1)[1]
    # One sorted key a run; a run touches those of the row above that reach from its start to its stop,
    # corners included.
    width = cols + 2
    above = (run_row - 1) * width
    first = np.searchsorted(run_row * width + stop, above + start, side="left")
    after = np.searchsorted(run_row * width + start, above + stop, side="right")
    count = np.maximum(after - first, 0)
    lower = np.repeat(np.arange(len(start)), count)
    upper = np.arange(len(lower)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    roots = _roots(len(start), upper, lower)
    numbers = np.unique(roots, return_inverse=True)[1] + 1
    labels[mask] = np.repeat(numbers, stop - start)
    return labels, int(numbers.max())


def _roots(nodes: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least node of each node's component in a graph: hang the greater root below, then flatten."""
    parent = np.arange(nodes)
    while True:
        low, high = np.minimum(parent[one], parent[other]), np.maximum(parent[one], parent[other])
        if np.array_equal(low, high):
            return parent
        np.minimum.at(parent, high, low)
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]


def oriented_length_px(mask: NDArray[np.bool_]) -> float:
    """Length in pixels of the smallest rectangle around a mask, over directions in steps of 1 degree.

    Args:
        mask: bool[rows, cols] with at least one True.
    """
    occupied = np.flatnonzero(mask.any(axis=1))
    left = mask[occupied].argmax(axis=1)
    right = mask.shape[1] - mask[occupied][:, ::-1].argmax(axis=1)
    # The corners of the outermost pixels of each row hold the convex hull.
    row = np.concatenate([occupied, occupied, occupied + 1, occupied + 1]).astype(np.float64)
    col = np.concatenate([left, right, left, right]).astype(np.float64)
    angles = np.deg2rad(np.arange(90))[:, None]
    along = np.ptp(row * np.sin(angles) + col * np.cos(angles), axis=1)
    across = np.ptp(row * np.cos(angles) - col * np.sin(angles), axis=1)
    best = int(np.argmin(along * across))
    return float(max(along[best], across[best]))
