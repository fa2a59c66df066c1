"""The network behind a graph of integers, in real numbers: what its quantization is compared with."""

from typing import assert_never

import numpy as np

from taran_eo.formats import Scaling, integer_image
from taran_eo.graph.graph import Graph
from taran_eo.graph.ops import FLOAT32, Concat, Conv, FloatConv, MaxPool, Op, Tensor, Upsample


def in_float(graph: Graph) -> Graph:
    """The same network with its weights as float32, and nothing rounded or saturated between convolutions.

    Where integers are not negative, a ReLU stays. Logits are told in the same units.

    Args:
        graph: Any graph; one of float32 is returned as it is.
    """
    if not graph.exact:
        return graph
    one = Scaling((1.0,))
    ends = (graph.input, graph.output)
    tensors = {
        name: Tensor(name, tensor.channels, tensor.level, tensor.format if name in ends else FLOAT32, one)
        for name, tensor in graph.tensors.items()
    }
    tensors[graph.output] = graph.tensors[graph.output]
    return Graph(graph.name, tensors, tuple(_op(op, graph) for op in graph.ops), graph.input, graph.output)


def _op(op: Op, graph: Graph) -> Op:
    match op:
        case Conv():
            target = graph.tensors[op.target]
            # A unit of the accumulator, in the units of the target, and these in real numbers.
            unit = np.full(len(op.bias), target.step)
            if op.requantize is not None:
                unit = unit * op.requantize.multipliers * 2.0 ** -op.requantize.shifts.astype(np.float64)
            # Pixels are taken as the integers that they are.
            step = 1.0 if op.source == graph.input else graph.tensors[op.source].step
            weights = op.weights * (unit / step)[:, None, None, None]
            relu = op.requantize is not None and integer_image(target.integer_format).low >= 0
            return FloatConv(
                op.source, op.target, weights.astype(np.float32), (op.bias * unit).astype(np.float32), relu
            )
        case FloatConv() | MaxPool() | Upsample() | Concat():
            return op
        case _:
            assert_never(op)
