"""Weights as kernels read them, one after the other; and those of an upsampling, folded into the kernel behind it."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime.program import GROUP_BYTES, Reads


class Packing:
    """Weights one after the other, as kernels read them."""

    def __init__(self, lane: int, outputs: int) -> None:
        self.lane = lane
        self.outputs = outputs
        self._runs: list[NDArray[np.int8]] = []
        self._bytes = 0

    def add(
        self, tensor: int, channels: int, row: int, col: int, run: NDArray[np.int64], *, folded: bool = False
    ) -> Reads:
        """Weights ``[outputs, channels, cols]`` that meet a run of columns."""
        lane = np.int8 if self.lane == 1 else np.int16
        padded = np.zeros((self.outputs, run.shape[2], channels), lane)
        padded[: run.shape[0], :, : run.shape[1]] = run.transpose(0, 2, 1)
        grouped = padded.reshape(self.outputs, -1, GROUP_BYTES // self.lane).transpose(1, 0, 2)
        packed = np.ascontiguousarray(grouped).view(np.int8).ravel()
        reads = Reads(tensor, folded, row, col, run.shape[2], self._bytes, len(grouped))
        self._runs.append(packed)
        self._bytes += packed.size
        return reads

    def joined(self) -> NDArray[np.int8]:
        """All of them, ``int8[bytes]``."""
        return np.concatenate(self._runs)


def unpacked(
    numbers: NDArray[np.int64], lane: int, outputs: int, kernel: int, channels: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """The inverse of `Packing` for a convolution that reads all columns of a row at once, and a tensor's rows in turn.

    Args:
        numbers: Weights as they were packed.
        lane: Bytes of a weight.
        outputs: Output channels with their padding.
        kernel: Rows and columns of the kernel.
        channels: Of each tensor that is read, as they lie in memory, and without padding.

    Returns:
        ``int64[outputs, channels, kernel, kernel]``.
    """
    parts = []
    for lying, used in channels:
        part, numbers = np.split(numbers, [kernel * kernel * lying * outputs])
        grouped = part.reshape(kernel, -1, outputs, GROUP_BYTES // lane).transpose(2, 0, 1, 3)
        parts.append(grouped.reshape(outputs, kernel, kernel, lying)[..., :used].transpose(0, 3, 1, 2))
    return np.concatenate(parts, axis=1)


def is_worth_folding(kernel: NDArray[np.int64], lane: int) -> bool:
    """Whether fewer columns are read for four outputs; the sums of large weights need too many bytes."""
    folded = sum(run.shape[2] for row in (0, 1) for col in (0, 1) for _, _, run in fold(kernel, lane, row, col))
    return bool(folded < 4 * kernel.shape[2] * kernel.shape[3])


def fold(
    kernel: NDArray[np.int64], lane: int, odd_row: int, odd_col: int
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """The runs of weights that meet a tensor whose upsampling the kernel was made for.

    Args:
        kernel: ``int64[outputs, channels, k, k]``.
        lane: Bytes of a weight.
        odd_row: Whether the output's row is odd, 0 or 1.
        odd_col: Whether its column is.

    Yields:
        Row and first column, less half of the output's; and the weights ``[outputs, channels, cols]``.
    """
    margin = kernel.shape[2] // 2
    places = [[(odd + tap) // 2 for tap in range(-margin, margin + 1)] for odd in (odd_row, odd_col)]
    top, left = places[0][0], places[1][0]
    sums = np.zeros((*kernel.shape[:2], places[0][-1] - top + 1, places[1][-1] - left + 1), np.int64)
    for row, below in enumerate(places[0]):
        for col, beside in enumerate(places[1]):
            sums[:, :, below - top, beside - left] += kernel[:, :, row, col]
    fits = np.iinfo(np.int8 if lane == 1 else np.int16)
    for row in range(sums.shape[2]):
        rest = sums[:, :, row]
        first, end = 0, rest.shape[2]
        while end > first:
            run = rest[:, :, first:end].clip(fits.min, fits.max)
            yield top + row, left + first, run
            rest = rest.copy()
            rest[:, :, first:end] -= run
            used = np.flatnonzero(rest.any(axis=(0, 1)))
            first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
