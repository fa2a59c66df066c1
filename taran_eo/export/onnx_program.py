"""A graph as an ONNX program of standard operators that computes the very same integers.

Integer images travel in floating point, where every operation on them is exact:

* A float32 convolution is exact while ``sum |w| * a_max + |bias| < 2**24`` in each channel, in any order of
  summation. Where that fails (E3M2), the weights are split into balanced digits, ``w = 2**k * high + low``, whose
  convolutions each stay below the limit, and are joined in float64.
* Scaling by a power of two is exact, so it is folded into the weights; a multiplier that is no power of two is
  applied in float64, where its product stays below ``2**53``.
* ``Round`` rounds to nearest even, and with the step of the value's binade divided out before and multiplied back
  after, it is the requantization of `taran_eo.graph.requantize`.

A float32 convolution is written as it is, and no more exact than the sums of who runs it.

Integer operators would say the same more plainly, but ONNX Runtime's ConvInteger takes 23 times as long as its
QLinearConv, and the float32 convolution three times.
"""

from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from taran_eo.export.onnx_nodes import FLOAT32_EXACT, Program
from taran_eo.formats import integer_image
from taran_eo.graph import (
    FLOAT32,
    Concat,
    Conv,
    FloatConv,
    Graph,
    MaxPool,
    Tensor,
    Upsample,
    sources_of,
    worst_accumulator,
)

OPSET = 21
IR_VERSION = 10


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """Write a graph as an ONNX model, for tiles of any size.

    Args:
        graph: The program.

    Returns:
        A model whose input and output are called as in the graph, ``uint8[1, bands, rows, cols]`` and
        ``int32[1, classes, rows, cols]``, and which is equal to the reference interpreter in every bit where the
        graph is `exact`.
    """
    program = Program()
    values = {graph.input: program.node("Cast", [graph.input], to=TensorProto.FLOAT)}
    for op in graph.ops:
        match op:
            case Conv():
                values[op.target] = _convolution(program, graph, op, values[op.source])
            case FloatConv():
                values[op.target] = _float_convolution(program, op, values[op.source], graph.tensors[op.target])
            case MaxPool() | Upsample() | Concat():
                values[op.target] = program.rearranged(op, [values[name] for name in sources_of(op)])
            case _:
                assert_never(op)
    return program.model(graph, values[graph.output], TensorProto.INT32, opset=OPSET, ir_version=IR_VERSION)


def _convolution(program: Program, graph: Graph, op: Conv, source: str) -> str:
    before, target = graph.tensors[op.source], graph.tensors[op.target]
    reach = worst_accumulator(op, before)
    plain = op.requantize is None or bool((op.requantize.multipliers == 1).all())
    scale = np.ones(len(op.bias))
    if op.requantize is not None:
        scale = op.requantize.multipliers * 2.0 ** -op.requantize.shifts.astype(np.float64)
    column = scale.reshape(-1, 1, 1, 1)
    if plain and reach < FLOAT32_EXACT:
        # The scale is a power of two: folded into weights and bias, the sums stay the same integers, shifted.
        weights = program.constant((op.weights * column).astype(np.float32))
        bias = program.constant((op.bias * scale).astype(np.float32))
        steps = program.convolution(op, [source, weights, bias])
        return steps if op.requantize is None else program.rounded(target, steps, np.float32)
    total: str | None = None
    for power, digits in _digits(op, integer_image(before.integer_format).magnitude):
        partial = program.convolution(op, [source, program.constant(digits.astype(np.float32))])
        wide = program.node("Cast", [partial], to=TensorProto.DOUBLE)
        if power:
            wide = program.node("Mul", [wide, program.constant(np.array(2.0**power))])
        total = wide if total is None else program.node("Add", [total, wide])
    assert total is not None  # noqa: S101 - there is at least one digit
    biased = program.node("Add", [total, program.constant(op.bias.astype(np.float64).reshape(1, -1, 1, 1))])
    if op.requantize is None:
        return biased
    steps = program.node("Mul", [biased, program.constant(scale.reshape(1, -1, 1, 1))])
    rounded = program.rounded(target, steps, np.float64)
    return program.node("Cast", [rounded], to=TensorProto.FLOAT)


def _float_convolution(program: Program, op: FloatConv, source: str, target: Tensor) -> str:
    reals = program.convolution(op, [source, program.constant(op.weights), program.constant(op.bias)])
    if op.relu:
        reals = program.node("Relu", [reals])
    if target.format == FLOAT32:
        return reals
    # In float64 a unit of the logits is never lost, and neither is the largest int32, at which they saturate.
    wide = program.node("Cast", [reals], to=TensorProto.DOUBLE)
    return program.rounded(target, program.node("Div", [wide, program.constant(np.array(target.step))]), np.float64)


def _digits(op: Conv, largest_input: int) -> list[tuple[int, NDArray[np.int64]]]:
    """Split weights into balanced digits, lowest first, each with a convolution that is exact in float32."""
    weights = op.weights.astype(np.int64)
    for bits in range(16, 0, -1):
        base = 1 << bits
        parts: list[tuple[int, NDArray[np.int64]]] = []
        rest = weights
        while rest.any() or not parts:
            low = (rest + base // 2) % base - base // 2
            parts.append((bits * len(parts), low))
            rest = (rest - low) // base
        sums = [np.abs(part).reshape(len(part), -1).sum(axis=1).max() for _, part in parts]
        if max(sums) * largest_input < FLOAT32_EXACT:
            return parts
    raise AssertionError("int32 accumulators always split into single bits")
