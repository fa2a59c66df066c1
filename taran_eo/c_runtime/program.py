"""What the C runtime is given: rows of pixels, convolutions over what they read, and packed weights."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taran_eo.formats import Format

OUTPUTS = 16
"""Channels that kernels make at a time; ``TARAN_OUTPUTS`` in the header."""

KINDS = ("load", "convolve", "pool", "upsample")
"""Operations, by their number in the header."""

GROUP_BYTES = 4
"""Bytes of a pixel that kernels take at a time."""


@dataclass(frozen=True)
class Rows:
    """A tensor as it lies in memory; ``taran_tensor`` in the header.

    Attributes:
        channels: Channels with their padding.
        level: How often the tile was halved to get here.
        lane: Bytes of a number.
        zero: What stands for the number 0.
        margin: Pixels of 0 at either end of a row.
    """

    channels: int
    level: int
    lane: int
    zero: int
    margin: int


@dataclass(frozen=True)
class Reads:
    """Neighbouring numbers of one row that an output pixel needs; ``taran_segment`` in the header.

    Attributes:
        tensor: Place of the tensor in the program.
        folded: Whether it has half the rows and columns of the output.
        row: Its row, less that of the output (or half of it).
        col: Its first column, likewise.
        cols: Columns.
        weights: Where its weights begin, in bytes.
        groups: Groups of four bytes.
    """

    tensor: int
    folded: bool
    row: int
    col: int
    cols: int
    weights: int
    groups: int


@dataclass(frozen=True, eq=False)
class Weights:
    """What a convolution needs besides pixels; channels are padded to whole `OUTPUTS`.

    Attributes:
        phases: What is read for an output; in four phases, by odd rows and odd columns, where an upsampling is folded.
        channels: Channels without padding.
        lane: Bytes of a weight.
        pairs_fit: Whether bytes that are read stay below 128, and two products always fit 16 bits.
        exact: Accumulators stay below ``2**(24 + exact)``, and no shift is below ``exact + 2``, so that the rounding
            of float32 is right; -1 where it may not be.
        mantissa: Mantissa bits of the target's grid, -1 where it is uniform.
        binades: Binades of that grid above its finest step.
        low: Smallest integer of the target.
        high: Largest integer of the target.
        packed: Weights ``int8[bytes]``, by reads, groups, channels.
        format: What each of them is a value of, before any were added up.
        bias: ``int32[channels]``, for numbers as they lie in memory.
        multipliers: ``int32[channels]``.
        shifts: ``int32[channels]``.
    """

    phases: tuple[tuple[Reads, ...], ...]
    channels: int
    lane: int
    pairs_fit: bool
    exact: int
    mantissa: int
    binades: int
    low: int
    high: int
    packed: NDArray[np.int8]
    format: Format
    bias: NDArray[np.int32]
    multipliers: NDArray[np.int32]
    shifts: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Step:
    """An operation; ``taran_op`` in the header.

    Attributes:
        kind: Which.
        source: Place of the tensor that a pooling or an upsampling reads, None for the tile's pixels and convolutions.
        target: Place of the tensor that it makes, None for the logits.
        weights: Of a convolution.
    """

    kind: Literal["load", "convolve", "pool", "upsample"]
    source: int | None
    target: int | None
    weights: Weights | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """A graph, ready for the C runtime.

    Attributes:
        tensors: What lies in memory.
        steps: What is done, in order.
        level: How often the tile was halved to get to the logits.
        lead: Rows of the logits that they reach back.
    """

    tensors: tuple[Rows, ...]
    steps: tuple[Step, ...]
    level: int
    lead: int

    @property
    def scratch_bytes(self) -> int:
        """Memory for the weights of any one operation."""
        return max(step.weights.packed.nbytes for step in self.steps if step.weights is not None)
