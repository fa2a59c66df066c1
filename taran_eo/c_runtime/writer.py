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

from taran_eo.c_runtime.packing import Packing, fold, is_worth_folding
from taran_eo.c_runtime.program import GROUP_BYTES, OUTPUTS, Program, Reads, Rows, Step, Weights
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

MOST_READS = 64
"""Segments that one output may need; ``TARAN_SEGMENTS`` in the header."""

FLOAT_BITS = 24
"""Bits of a float32's significand."""


@dataclass(frozen=True)
class _Part:
    """Channels of a value: a tensor, or its upsampling."""

    tensor: int
    channels: int
    folded: bool


def to_program(graph: Graph, *, fold: bool = True) -> Program:
    """Write a graph for the C runtime.

    Args:
        graph: A graph of integers.
        fold: Whether weights behind an upsampling are added up, which is faster. Sums are no values of the weights'
            format any more, so where weights are packed in its codes they stay as they are.

    Raises:
        GraphError: An operation, or a width, that the kernels lack; by name.
    """
    return _Writer(graph, fold).write()


class _Writer:
    def __init__(self, graph: Graph, fold: bool) -> None:
        self._graph = graph
        self._fold = fold
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
        return Program(self._with_margins(), tuple(self._steps), graph.level, -(-graph.reach >> graph.level))

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
            part if part.folded and self._fold and is_worth_folding(kernel, lane) else self._whole(part)
            for part, kernel in zip(parts, kernels, strict=True)
        )
        packing = Packing(lane, -(-len(op.bias) // OUTPUTS) * OUTPUTS)
        plain = [
            packing.add(part.tensor, self._tensors[part.tensor].channels, row, col, kernel[:, :, row + margin])
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
        packing: Packing,
        parts: tuple[_Part, ...],
        kernels: list[NDArray[np.int64]],
        odd_row: int,
        odd_col: int,
    ) -> Iterator[Reads]:
        for part, kernel in zip(parts, kernels, strict=True):
            if part.folded:
                for row, col, run in fold(kernel, packing.lane, odd_row, odd_col):
                    yield packing.add(part.tensor, self._tensors[part.tensor].channels, row, col, run, folded=True)

    def _weights(
        self,
        op: Conv,
        parts: tuple[_Part, ...],
        kernels: list[NDArray[np.int64]],
        packing: Packing,
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
            binades=0 if mantissa is None else max(0, image.high.bit_length() - mantissa - 1),
            low=image.low,
            high=image.high,
            packed=packed,
            format=op.weight_format,
            # Modulo 2**32, as the sums are; the true sum fits.
            bias=_padded(bias, padded),
            multipliers=_padded(multipliers, padded),
            shifts=_padded(shifts, padded),
        )


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
