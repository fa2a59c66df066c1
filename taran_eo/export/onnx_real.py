"""A graph as ONNX programs in real numbers, in the words that other tools read.

``uint8[1, bands, rows, cols]`` pixels go in and ``float32[1, classes, rows, cols]`` logits come out, both called as in
the graph; one is `Graph.logit_scale` times a logit of the graph. The forms differ only in how weights enter and how
activations are rounded:

=================== ========================================== ===================================
form                weights                                    activations
=================== ========================================== ===================================
`to_float`          float32                                    not at all
`to_qdq`            int8, a scale for each channel             to 8-bit integers, a uniform grid
`to_small_floats`   standard types of few bits, with scales    to their own grid, by float operations
`to_qonnx`          float32 through FloatQuant or Quant        by FloatQuant or Quant
=================== ========================================== ===================================

Where scales are powers of two, real numbers carry the integers of the graph without a loss; sums of them are exact
while these integers stay below ``2**24`` in float32, and so are the logits that come out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from taran_eo.errors import GraphError
from taran_eo.export.onnx_nodes import FLOAT32_EXACT, Program, Real
from taran_eo.formats import Format, Integer, MiniFloat, from_image, integer_image, values
from taran_eo.graph import (
    Concat,
    Conv,
    FloatConv,
    Graph,
    MaxPool,
    Tensor,
    Upsample,
    check_tile,
    sources_of,
    worst_accumulator,
)

OPSET, IR_VERSION = 21, 10
SMALL_FLOAT_OPSET, SMALL_FLOAT_IR_VERSION = 28, 14
QONNX_OPSET, QONNX_IR_VERSION = 13, 8
QONNX_DOMAIN = "qonnx.custom_op.general"

SMALL_TYPES = ("INT4", "INT8", "INT16", "FLOAT4E2M1", "FLOAT6E2M3", "FLOAT6E3M2", "FLOAT8E4M3FN", "FLOAT8E5M2")
"""Standard element types that weights may be stored in."""


def to_float(graph: Graph) -> onnx.ModelProto:
    """Write a graph with its weights as float32 and nothing rounded: the network of `taran_eo.graph.in_float`.

    Args:
        graph: Any graph.
    """
    return _written(_Float(graph), OPSET, IR_VERSION)


def to_qdq(graph: Graph, *, signed: bool) -> onnx.ModelProto:
    """Write a graph with QuantizeLinear and DequantizeLinear, all zero points 0.

    Numbers come in the steps of their format, doubled until its range fits 8 bits. So weights that fit are exact, and
    so are the grids of integers; a minifloat's grid becomes finer in its upper binades, and coarser in the lowest ones
    if steps were doubled. Activations saturate where the format does.

    Args:
        graph: A graph of integers.
        signed: Whether all activations are int8 and biases float32, as TensorRT takes them. Otherwise activations that
            are never negative are uint8, and biases int32, which ONNX Runtime fuses to QLinearConv.

    Raises:
        GraphError: A graph of float32.
    """
    return _written(_Qdq(_quantized(graph), signed), OPSET, IR_VERSION)


def to_small_floats(graph: Graph) -> onnx.ModelProto:
    """Write a graph with its weights in standard small types; where `has_power_of_two_scales`, no number of it is lost.

    Args:
        graph: A graph of integers.

    Raises:
        GraphError: A graph of float32, a weight format that is no standard type, or an onnx without floats of 6 bits.
    """
    if onnx.defs.onnx_opset_version() < SMALL_FLOAT_OPSET:
        raise GraphError(
            f"onnx {onnx.__version__} knows no floats of 6 bits, which came with opset {SMALL_FLOAT_OPSET}",
            remedy="Install onnx 1.23 or newer",
        )
    return _written(_SmallFloats(_quantized(graph)), SMALL_FLOAT_OPSET, SMALL_FLOAT_IR_VERSION)


def to_qonnx(graph: Graph, rows: int, cols: int) -> onnx.ModelProto:
    """Write a graph with the quantizers of QONNX, for tiles of one size.

    Args:
        graph: A graph of integers.
        rows: Rows of a tile, a multiple of the alignment.
        cols: Columns of a tile, likewise.

    Raises:
        GraphError: A graph of float32, or a tile that does not fit it.
    """
    check_tile(graph, np.empty((graph.bands, rows, cols), np.uint8))
    form = _Qonnx(_quantized(graph))
    return _written(form, QONNX_OPSET, QONNX_IR_VERSION, domains={QONNX_DOMAIN: 1}, size=(rows, cols))


def has_power_of_two_scales(graph: Graph) -> bool:
    """Whether all scales of a graph of integers are powers of two."""
    scales = [np.array([tensor.step for tensor in graph.tensors.values()])]
    scales += [_units(graph, op) for op in graph.ops if isinstance(op, Conv)]
    return bool((np.frexp(np.concatenate(scales))[0] == 0.5).all())


class _Float:
    """How a graph is told in real numbers; by itself with weights as they are, and nothing rounded."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.program = Program()

    def pixels(self) -> str:
        real = self.program.node("Cast", [self.graph.input], to=TensorProto.FLOAT)
        return self.program.node("Mul", [real, self.scalar(self.graph.tensors[self.graph.input].step)])

    def convolution(self, op: Conv, source: str) -> str:
        """The convolution and the rounding behind it."""
        sums = self.program.convolution(op, [source, self.weights(op), self.biases(op)])
        return sums if op.requantize is None else self.rounded(self.graph.tensors[op.target], sums)

    def weights(self, op: Conv) -> str:
        return self.program.constant((op.weights * _column(_weight_steps(self.graph, op))).astype(np.float32))

    def biases(self, op: Conv) -> str:
        return self.program.constant((op.bias * _units(self.graph, op)).astype(np.float32))

    def rounded(self, target: Tensor, value: str) -> str:
        return self.program.node("Relu", [value]) if integer_image(target.integer_format).low >= 0 else value

    def rearranged(self, target: Tensor, value: str) -> str:
        """What a rearrangement of numbers made; they are on the grid already."""
        return value

    def scalar(self, number: float) -> str:
        return self.program.constant(np.array(number, np.float32))


@dataclass(frozen=True)
class _Grid:
    """8-bit integers from `low` to `high` in real steps."""

    lane: type[np.int8] | type[np.uint8]
    step: float
    low: int
    high: int


class _Qdq(_Float):
    def __init__(self, graph: Graph, signed: bool) -> None:
        super().__init__(graph)
        self._signed = signed

    def pixels(self) -> str:
        # TensorRT takes int8 only, which would lose every other level of the pixels. For it the first convolution,
        # which is little of the work, stays in float32 and loses nothing.
        if self._signed:
            return super().pixels()
        return self._dequantized(self.graph.input, self._grid(self.graph.tensors[self.graph.input]))

    def weights(self, op: Conv) -> str:
        if self._signed and op.source == self.graph.input:
            return super().weights(op)
        doubled = self._doubled_weights(op)
        codes = np.clip(np.rint(op.weights / _column(doubled)), *_ends(np.int8)).astype(np.int8)
        return _dequantized(self.program, codes, _weight_steps(self.graph, op) * doubled)

    def biases(self, op: Conv) -> str:
        if self._signed:  # TensorRT dequantizes no int32
            return super().biases(op)
        source = self.graph.tensors[op.source]
        doubled = self._doubled_weights(op) * self._grid(source).step / source.step
        return _dequantized(self.program, np.rint(op.bias / doubled).astype(np.int32), _units(self.graph, op) * doubled)

    def rounded(self, target: Tensor, value: str) -> str:
        grid = self._grid(target)
        narrow = (grid.low, grid.high) != _ends(grid.lane)
        if self._signed and (grid.low, grid.high) == (0, 127):
            value = self.program.node("Relu", [value])
        elif self._signed and narrow:
            value = self.program.node("Clip", [value, *(self.scalar(end * grid.step) for end in (grid.low, grid.high))])
        codes = self._quantized(value, grid)
        if narrow and not self._signed:
            # Clipped as integers: before QuantizeLinear it would keep ONNX Runtime from fusing the convolution.
            ends = (self.program.constant(np.array(end, grid.lane)) for end in (grid.low, grid.high))
            codes = self.program.node("Clip", [codes, *ends])
        return self._dequantized(codes, grid)

    def rearranged(self, target: Tensor, value: str) -> str:
        # This rounds nothing, but runtimes stay in integers only where both sides of an operation are quantized.
        grid = self._grid(target)
        return self._dequantized(self._quantized(value, grid), grid)

    def _grid(self, tensor: Tensor) -> _Grid:
        image = integer_image(tensor.integer_format)
        lane = np.int8 if self._signed or image.low < 0 else np.uint8
        times = _doublings(image.low, image.high, lane)
        return _Grid(lane, tensor.step * 2.0**times, image.low >> times, image.high >> times)

    def _doubled_weights(self, op: Conv) -> NDArray[np.float64]:
        """How many of its own steps each channel's step is."""
        return np.array([2.0 ** _doublings(int(each.min()), int(each.max()), np.int8) for each in op.weights])

    def _quantized(self, value: str, grid: _Grid) -> str:
        return self.program.node("QuantizeLinear", [value, *self._scale_and_zero(grid)])

    def _dequantized(self, codes: str, grid: _Grid) -> str:
        return self.program.node("DequantizeLinear", [codes, *self._scale_and_zero(grid)])

    def _scale_and_zero(self, grid: _Grid) -> tuple[str, str]:
        return self.scalar(grid.step), self.program.constant(np.array(0, grid.lane))


class _SmallFloats(_Float):
    def convolution(self, op: Conv, source: str) -> str:
        program, target = self.program, self.graph.tensors[op.target]
        biases = op.bias * _units(self.graph, op)
        inputs = [source, self.weights(op)]
        real: Real = np.float32
        if worst_accumulator(op, self.graph.tensors[op.source]) >= FLOAT32_EXACT:
            real = np.float64
            inputs = [program.node("Cast", [each], to=TensorProto.DOUBLE) for each in inputs]
        sums = program.convolution(op, [*inputs, program.constant(biases.astype(real))])
        if op.requantize is None:
            return sums
        rounded = program.rounded(target, sums, real, target.step)
        return rounded if real is np.float32 else program.node("Cast", [rounded], to=TensorProto.FLOAT)

    def weights(self, op: Conv) -> str:
        kind = _small_type(op)
        codes = from_image(op.weights, op.weight_format).astype(f"u{kind.itemsize}").view(kind)
        return _dequantized(self.program, codes, _weight_scales(self.graph, op))


class _Qonnx(_Float):
    def weights(self, op: Conv) -> str:
        return self._on_grid(super().weights(op), op.weight_format, _column(_weight_scales(self.graph, op)))

    def rounded(self, target: Tensor, value: str) -> str:
        # FloatQuant always has a sign: what makes a format unsigned is the ReLU before it.
        scale = np.array(target.scaling.scales[0])
        return self._on_grid(super().rounded(target, value), target.integer_format, scale)

    def _on_grid(self, value: str, fmt: Format, scale: NDArray[np.float64]) -> str:
        attributes: dict[str, int]
        numbers: tuple[float, ...]
        match fmt:
            case MiniFloat():
                kind = "FloatQuant"
                numbers = (fmt.exponent_bits, fmt.mantissa_bits, fmt.exponent_bias, fmt.largest)
                specials = {"has_inf": int(fmt.specials == "ieee"), "has_nan": int(fmt.specials != "none")}
                attributes = specials | {"has_subnormal": int(fmt.subnormals), "saturation": 1}
            case Integer():
                kind = "Quant"
                scale = scale * 2.0**fmt.step_exponent
                numbers = (0, fmt.bits)  # the zero point first
                attributes = {"signed": int(fmt.signed), "narrow": int(fmt.narrow)}
            case _:
                assert_never(fmt)
        inputs = [value, self.program.constant(scale.astype(np.float32)), *map(self.scalar, numbers)]
        return self.program.node(kind, inputs, domain=QONNX_DOMAIN, rounding_mode="ROUND", **attributes)


def _written(
    form: _Float,
    opset: int,
    ir_version: int,
    *,
    domains: Mapping[str, int] = MappingProxyType({}),
    size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """A graph in one of the forms; the rest is for `Program.model`."""
    graph, program = form.graph, form.program
    reals = {graph.input: form.pixels()}
    for op in graph.ops:
        match op:
            case Conv():
                reals[op.target] = form.convolution(op, reals[op.source])
            case FloatConv():
                inputs = [reals[op.source], program.constant(op.weights), program.constant(op.bias)]
                sums = program.convolution(op, inputs)
                reals[op.target] = program.node("Relu", [sums]) if op.relu else sums
            case MaxPool() | Upsample() | Concat():
                same = program.rearranged(op, [reals[name] for name in sources_of(op)])
                reals[op.target] = form.rearranged(graph.tensors[op.target], same)
            case _:
                assert_never(op)
    return program.model(
        graph,
        reals[graph.output],
        TensorProto.FLOAT,
        opset=opset,
        ir_version=ir_version,
        domains=domains,
        size=size,
    )


def _quantized(graph: Graph) -> Graph:
    for op in graph.ops:
        if isinstance(op, FloatConv):
            raise GraphError(
                f"FloatConv {op.target!r} computes in float32, and this form is for quantized networks",
                remedy="Take the form in float32, or quantize the network and lower it again",
                op=op.target,
            )
    return graph


def _units(graph: Graph, op: Conv) -> NDArray[np.float64]:
    """What a unit of the accumulator is in real numbers, ``[outputs]``."""
    units = np.full(len(op.bias), graph.tensors[op.target].step)
    if op.requantize is None:
        return units
    return units * op.requantize.multipliers * 2.0 ** -op.requantize.shifts.astype(np.float64)


def _weight_steps(graph: Graph, op: Conv) -> NDArray[np.float64]:
    """What a unit of the weights' integers is in real numbers, ``[outputs]``."""
    return _units(graph, op) / graph.tensors[op.source].step


def _weight_scales(graph: Graph, op: Conv) -> NDArray[np.float64]:
    """What 1 in the weights' format is in real numbers, ``[outputs]``."""
    return _weight_steps(graph, op) * 2.0**-op.weight_format.step_exponent


def _column(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    return channels.reshape(-1, 1, 1, 1)


def _ends(lane: type[np.integer]) -> tuple[int, int]:
    return int(np.iinfo(lane).min), int(np.iinfo(lane).max)


def _doublings(low: int, high: int, lane: type[np.integer]) -> int:
    """How often a step is doubled until integers fit, but for the last half step."""
    least, most = _ends(lane)
    return next(times for times in count() if least <= low >> times and high >> times <= most)


def _dequantized(program: Program, codes: NDArray[np.generic], scales: NDArray[np.float64]) -> str:
    """Codes ``[outputs, ...]`` as they are stored, times a scale for each output."""
    inputs = [program.constant(codes), program.constant(scales.astype(np.float32))]
    return program.node("DequantizeLinear", inputs, axis=0)


def _small_type(op: Conv) -> np.dtype[np.generic]:
    """The standard type that has the values of the weights' format, code by code."""
    fmt = op.weight_format
    for name in SMALL_TYPES:
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name)))
        codes = np.arange(1 << fmt.bits).astype(f"u{kind.itemsize}")
        fits = fmt.bits <= 8 * kind.itemsize
        if fits and np.array_equal(codes.view(kind).astype(np.float64), values(fmt), equal_nan=True):
            return kind
    raise GraphError(
        f"The weights of {op.target!r} are {fmt}, which no standard type of ONNX holds",
        remedy=f"Train with one of {', '.join(SMALL_TYPES)}, or take another form: that in integers is exact for all",
        op=op.target,
    )
