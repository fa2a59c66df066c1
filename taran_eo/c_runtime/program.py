"""A graph as the C runtime takes it: rows of pixels, convolutions over what they read, and packed weights.

Three things are settled here, once, and not while a tile runs:

* *Lanes.* A tensor lies in bytes where its integers, and the weights that meet them, fit 8 bits; else in 16-bit words.
  Bytes are unsigned: signed integers lie 128 higher, and the bias of their readers is lower by as much.
* *Joins.* A concatenation is never made: its readers read each part.
* *Upsampling.* A convolution after an upsampling reads the same number up to four times. So the weights that meet it
  are added up instead, in a set of their own for even and odd rows and columns: a 3 x 3 kernel reads 2 x 2 numbers of
  the small tensor, and the large one is never made. A sum that no longer fits a byte is read as two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import GraphError
from taran_eo.formats import Integer, integer_image
from taran_eo.graph import (
    Concat,
    Conv,
    FloatConv,
    Graph,
    MaxPool,
    Op,
    Upsample,
    grid_mantissa,
    sources_of,
    worst_accumulator,
)

OUTPUTS = 16
"""Channels that kernels make at a time."""

MOST_READS = 64
"""Segments that one output may need; ``TARAN_SEGMENTS`` in the header."""

FLOAT_BITS = 24
"""Bits of a float32's significand."""

GROUP_BYTES = 4


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
        low: Smallest integer of the target.
        high: Largest integer of the target.
        packed: Weights ``int8[bytes]``, by reads, groups, channels.
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
    low: int
    high: int
    packed: NDArray[np.int8]
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
    """

    tensors: tuple[Rows, ...]
    steps: tuple[Step, ...]
    level: int


@dataclass(frozen=True)
class _Part:
    """Channels of a value: a tensor, or its upsampling."""

    tensor: int
    channels: int
    folded: bool


def to_program(graph: Graph) -> Program:
    """Write a graph for the C runtime.

    Args:
        graph: A graph of integers.

    Raises:
        GraphError: An operation, or a width, that the kernels lack; by name.
    """
    return _Writer(graph).write()


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._wide = _wide_tensors(graph)
        self._tensors: list[Rows] = []
        self._formats: list[str] = []  # a graph's tensor of the same format, for each tensor here
        self._steps: list[Step] = []
        self._large: dict[int, int] = {}  # upsamplings that had to be made
        self._pooled: dict[int, int] = {}

    def write(self) -> Program:
        graph = self._graph
        pixels = graph.tensors[graph.input]
        if (pixels.format, pixels.level) != (Integer(8, signed=False), 0):
            raise _lacks(graph.ops[0], f"reads pixels of {pixels.format} at level {pixels.level}, not uint8 at level 0")
        if min(tensor.level for tensor in graph.tensors.values()) < 0:
            raise _lacks(graph.ops[-1], "comes after an upsampling of the tile itself")
        if not any(isinstance(op, Conv) and op.target == graph.output for op in graph.ops):
            raise _lacks(graph.ops[-1], "is the last operation, and no convolution makes the logits")
        values: dict[str, tuple[_Part, ...]] = {
            graph.input: (self._add("load", None, graph.input, graph.bands, 0, GROUP_BYTES),)
        }
        for op in _needed(graph):
            match op:
                case Conv():
                    values[op.target] = self._convolve(op, values[op.source])
                case MaxPool():
                    values[op.target] = tuple(self._pool(part, op.target) for part in values[op.source])
                case Upsample():
                    # Of what is upsampled already, the first time is made.
                    values[op.target] = tuple(
                        _Part(self._whole(part).tensor, part.channels, folded=True) for part in values[op.source]
                    )
                case Concat():
                    values[op.target] = tuple(part for source in op.sources for part in values[source])
                case FloatConv():
                    raise _lacks(op, "is a convolution in float32, and the kernels know integers only")
                case _:
                    assert_never(op)
        return Program(self._with_margins(), tuple(self._steps), graph.tensors[graph.output].level)

    def _add(
        self,
        kind: Literal["load", "convolve", "pool", "upsample"],
        source: int | None,
        like: str,
        channels: int,
        level: int,
        multiple: int,
        weights: Weights | None = None,
    ) -> _Part:
        """A step, and the tensor that it makes, in the format of a graph's tensor."""
        lane = 2 if like in self._wide else 1
        image = integer_image(self._graph.tensors[like].integer_format)
        zero = 128 if lane == 1 and image.low < 0 else 0
        multiple = max(multiple, GROUP_BYTES // lane)
        self._steps.append(Step(kind, source, len(self._tensors), weights))
        self._tensors.append(Rows(-(-channels // multiple) * multiple, level, lane, zero, 0))
        self._formats.append(like)
        return _Part(len(self._tensors) - 1, channels, folded=False)

    def _with_margins(self) -> tuple[Rows, ...]:
        margins = [0] * len(self._tensors)
        for step in self._steps:
            for reads in () if step.weights is None else (each for phase in step.weights.phases for each in phase):
                margins[reads.tensor] = max(margins[reads.tensor], -reads.col, reads.col + reads.cols - 1)
        return tuple(
            Rows(rows.channels, rows.level, rows.lane, rows.zero, margin)
            for rows, margin in zip(self._tensors, margins, strict=True)
        )

    def _pool(self, part: _Part, like: str) -> _Part:
        if not part.folded:
            if part.tensor not in self._pooled:
                level = self._tensors[part.tensor].level + 1
                made = self._add("pool", part.tensor, like, part.channels, level, self._tensors[part.tensor].channels)
                self._pooled[part.tensor] = made.tensor
            return _Part(self._pooled[part.tensor], part.channels, folded=False)
        return _Part(part.tensor, part.channels, folded=False)  # the largest of four that are the same

    def _whole(self, part: _Part) -> _Part:
        """A part that is not folded: its upsampling is made."""
        if not part.folded:
            return part
        if part.tensor not in self._large:
            rows = self._tensors[part.tensor]
            like = self._formats[part.tensor]
            made = self._add("upsample", part.tensor, like, part.channels, rows.level - 1, rows.channels)
            self._large[part.tensor] = made.tensor
        return _Part(self._large[part.tensor], part.channels, folded=False)

    def _convolve(self, op: Conv, parts: tuple[_Part, ...]) -> tuple[_Part, ...]:
        lane = self._tensors[parts[0].tensor].lane
        split = np.cumsum([part.channels for part in parts])[:-1]
        kernels = np.split(op.weights.astype(np.int64), split, axis=1)
        parts = tuple(
            part if part.folded and _is_worth_folding(kernel, lane) else self._whole(part)
            for part, kernel in zip(parts, kernels, strict=True)
        )
        packing = _Packing(lane, -(-len(op.bias) // OUTPUTS) * OUTPUTS)
        plain = [
            packing.add(part, self._tensors[part.tensor].channels, row, col, kernel[:, :, row + margin])
            for part, kernel in zip(parts, kernels, strict=True)
            if not part.folded
            for margin in (op.kernel // 2,)
            for row, col in ((row, -margin) for row in range(-margin, margin + 1))
        ]
        if any(part.folded for part in parts):
            phases = tuple(
                (*plain, *self._folded(packing, parts, kernels, odd_row, odd_col))
                for odd_row in (0, 1)
                for odd_col in (0, 1)
            )
        else:
            phases = (tuple(plain),)
        if max(map(len, phases)) > MOST_READS:
            raise _lacks(op, f"reads more than {MOST_READS} runs of pixels for an output")
        weights = self._weights(op, parts, kernels, packing, phases)
        if op.requantize is None:
            if op.target != self._graph.output:
                raise _lacks(op, "makes int32 that are not the logits")
            self._steps.append(Step("convolve", None, None, weights))
            return ()
        if op.target == self._graph.output:
            raise _lacks(op, "makes logits that are not int32")
        level = self._graph.tensors[op.target].level
        return (self._add("convolve", None, op.target, len(op.bias), level, OUTPUTS, weights),)

    def _folded(
        self,
        packing: "_Packing",
        parts: tuple[_Part, ...],
        kernels: list[NDArray[np.int64]],
        odd_row: int,
        odd_col: int,
    ) -> Iterator[Reads]:
        for part, kernel in zip(parts, kernels, strict=True):
            if part.folded:
                for row, col, run in _fold(kernel, packing.lane, odd_row, odd_col):
                    yield packing.add(part, self._tensors[part.tensor].channels, row, col, run)

    def _weights(
        self,
        op: Conv,
        parts: tuple[_Part, ...],
        kernels: list[NDArray[np.int64]],
        packing: "_Packing",
        phases: tuple[tuple[Reads, ...], ...],
    ) -> Weights:
        padded = packing.outputs
        bias = op.bias.astype(np.int64)
        for part, kernel in zip(parts, kernels, strict=True):
            bias = bias - self._tensors[part.tensor].zero * kernel.sum(axis=(1, 2, 3))
        target = self._graph.tensors[op.target]
        image = integer_image(target.integer_format)
        mantissa = grid_mantissa(target.integer_format)
        multipliers, shifts = np.ones(len(bias), np.int32), np.zeros(len(bias), np.int32)
        if op.requantize is not None:
            multipliers, shifts = op.requantize.multipliers, op.requantize.shifts
        before = self._graph.tensors[op.source]
        beyond = max(0, worst_accumulator(op, before).bit_length() - FLOAT_BITS)
        in_float = bool((multipliers == 1).all()) and (beyond == 0 or int(shifts.min()) >= beyond + 2)
        packed = packing.joined()
        largest = integer_image(before.integer_format).high + self._tensors[parts[0].tensor].zero
        pairs = np.abs(packed.astype(np.int64)).reshape(-1, 2).sum(axis=1).max() if packing.lane == 1 else 0
        return Weights(
            phases=phases,
            channels=len(bias),
            lane=packing.lane,
            pairs_fit=packing.lane == 1 and largest < 128 and bool(pairs * largest <= np.iinfo(np.int16).max),
            exact=beyond if in_float else -1,
            mantissa=-1 if mantissa is None else mantissa,
            low=image.low,
            high=image.high,
            packed=packed,
            # Modulo 2**32, as the sums are; the true sum fits.
            bias=_padded(bias, padded),
            multipliers=_padded(multipliers, padded),
            shifts=_padded(shifts, padded),
        )


class _Packing:
    """Weights one after the other, as kernels read them."""

    def __init__(self, lane: int, outputs: int) -> None:
        self.lane = lane
        self.outputs = outputs
        self._runs: list[NDArray[np.int8]] = []
        self._bytes = 0

    def add(self, part: _Part, channels: int, row: int, col: int, run: NDArray[np.int64]) -> Reads:
        """Weights ``[outputs, channels, cols]`` that meet a run of columns."""
        lane = np.int8 if self.lane == 1 else np.int16
        padded = np.zeros((self.outputs, run.shape[2], channels), lane)
        padded[: run.shape[0], :, : run.shape[1]] = run.transpose(0, 2, 1)
        grouped = padded.reshape(self.outputs, -1, GROUP_BYTES // self.lane).transpose(1, 0, 2)
        packed = np.ascontiguousarray(grouped).view(np.int8).ravel()
        reads = Reads(part.tensor, part.folded, row, col, run.shape[2], self._bytes, len(grouped))
        self._runs.append(packed)
        self._bytes += packed.size
        return reads

    def joined(self) -> NDArray[np.int8]:
        return np.concatenate(self._runs)


def _is_worth_folding(kernel: NDArray[np.int64], lane: int) -> bool:
    """Whether fewer columns are read for four outputs; the sums of large weights need too many bytes."""
    folded = sum(run.shape[2] for row in (0, 1) for col in (0, 1) for _, _, run in _fold(kernel, lane, row, col))
    return bool(folded < 4 * kernel.shape[2] * kernel.shape[3])


def _fold(
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


def _needed(graph: Graph) -> tuple[Op, ...]:
    """The operations that the logits depend on; others would keep rows that nobody reads."""
    needed = {graph.output}
    for op in reversed(graph.ops):
        if op.target in needed:
            needed |= set(sources_of(op))
    return tuple(op for op in graph.ops if op.target in needed)


def _wide_tensors(graph: Graph) -> set[str]:
    """Names of the tensors that lie in words: by their own integers, by the weights that meet them, or by a join."""
    wide = set()
    for name, tensor in graph.tensors.items():
        if name == graph.output:
            continue
        image = integer_image(tensor.integer_format)
        if image.low < -(2**15) or image.high >= 2**15:
            raise GraphError(
                f"{name!r} holds {tensor.format}, whose integers need {image.bits} bits, and the kernels have 16",
                remedy="Take the engine onnxruntime, or a format with fewer exponent bits",
                op=name,
            )
        if image.low < -128 or image.high > (127 if image.low < 0 else 255):
            wide.add(name)
    while True:
        before = len(wide)
        for op in graph.ops:
            match op:
                case Conv():
                    low, high = int(op.weights.min()), int(op.weights.max())
                    if low < -(2**15) or high >= 2**15:
                        raise _lacks(op, f"has weights from {low} to {high}, and the kernels have 16 bits")
                    if low < -128 or high > 127:
                        wide.add(op.source)
                case MaxPool() | Upsample():
                    if {op.source, op.target} & wide:
                        wide |= {op.source, op.target}
                case Concat():
                    if {*op.sources, op.target} & wide:
                        wide |= {*op.sources, op.target}
                case FloatConv():
                    raise _lacks(op, "is a convolution in float32, and the kernels know integers only")
                case _:
                    assert_never(op)
        if len(wide) == before:
            return wide


def _padded(values: NDArray[np.integer], size: int) -> NDArray[np.int32]:
    result = np.zeros(size, np.int64)
    result[: len(values)] = values
    return result.astype(np.uint32, casting="unsafe").view(np.int32)


def _lacks(op: Op, what: str) -> GraphError:
    return GraphError(
        f"{type(op).__name__} {op.target!r} {what}",
        remedy="Take the engine onnxruntime",
        op=op.target,
    )
