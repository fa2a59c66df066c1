"""ONNX as it is written node by node: what all forms of a graph share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from taran_eo.formats import integer_image
from taran_eo.graph import Concat, Conv, FloatConv, Graph, MaxPool, Tensor, Upsample, grid_mantissa

FLOAT32_EXACT = 1 << 24
"""Integers up to this magnitude, and sums of them, are exact in float32."""

DIGEST = "taran_eo.graph"
"""Key of the graph's digest among the properties of a model."""

Real = type[np.float32] | type[np.float64]


class Program:
    """Nodes and constants as they are written, with fresh names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._shared: dict[tuple[str, bytes], str] = {}

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:  # noqa: ANN401 - as in ONNX
        """Write a node, and give the name of its output."""
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, array: NDArray[np.generic]) -> str:
        """The name of a constant; equal ones are kept once."""
        key = (f"{array.dtype}{array.shape}", array.tobytes())
        if key not in self._shared:
            self._shared[key] = f"constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(array, self._shared[key]))
        return self._shared[key]

    def convolution(self, op: Conv | FloatConv, inputs: list[str]) -> str:
        """The convolution of an input with weights and, if a third is given, biases."""
        return self.node("Conv", inputs, kernel_shape=[op.kernel] * 2, pads=[op.kernel // 2] * 4)

    def rearranged(self, op: MaxPool | Upsample | Concat, sources: list[str]) -> str:
        """An operation that leaves the numbers as they are."""
        match op:
            case MaxPool():
                return self.node("MaxPool", sources, kernel_shape=[2, 2], strides=[2, 2])
            case Upsample():
                scales = self.constant(np.array([1, 1, 2, 2], np.float32))
                return self.node(
                    "Resize",
                    [*sources, "", scales],
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                )
            case Concat():
                return self.node("Concat", sources, axis=1)
            case _:
                assert_never(op)

    def rounded(self, target: Tensor, value: str, real: Real, step: float = 1.0) -> str:
        """Round to the grid of a target, and saturate; `step` is what a unit of the target's integers is here."""
        image = integer_image(target.integer_format)
        mantissa = grid_mantissa(target.integer_format)

        def constant(number: float) -> str:
            return self.constant(np.array(number, dtype=real))

        clipped = self.node("Clip", [value, constant(image.low * step), constant(image.high * step)])
        binades = [] if mantissa is None else list(range(mantissa + 1, image.high.bit_length()))
        if not binades and step == 1:
            return self.node("Round", [clipped])
        magnitude = self.node("Abs", [clipped]) if binades and image.low < 0 else clipped
        # At a binade's first value both neighbouring steps agree, so "less or equal" may take the finer one.
        inverse = constant(2.0 ** -(len(binades)) / step)
        for place in reversed(range(len(binades))):
            finer = self.node("LessOrEqual", [magnitude, constant(2.0 ** binades[place] * step)])
            inverse = self.node("Where", [finer, constant(2.0**-place / step), inverse])
        whole = self.node("Round", [self.node("Mul", [clipped, inverse])])
        return self.node("Div", [whole, inverse])

    def model(
        self,
        graph: Graph,
        logits: str,
        kind: int,
        *,
        opset: int,
        ir_version: int,
        domains: Mapping[str, int] = MappingProxyType({}),
        size: tuple[int, int] | None = None,
    ) -> onnx.ModelProto:
        """All that was written, as a checked model with the input and the output of a graph.

        Args:
            graph: Gives the names and the channels.
            logits: The value that becomes the output.
            kind: Element type of the output, of `onnx.TensorProto`.
            opset: Version of the standard operators.
            ir_version: Version of ONNX's file format.
            domains: Versions of other operators.
            size: Rows and columns of the pixels; None for any.
        """
        output = helper.make_node("Cast", [logits], [graph.output], to=kind)
        whole: list[int | str] = ["rows", "cols"]
        below: list[int | str] = whole if graph.level == 0 else ["logit_rows", "logit_cols"]
        if size is not None:
            whole, below = list(size), [each >> graph.level for each in size]
        body = helper.make_graph(
            [*self._nodes, output],
            graph.name,
            [helper.make_tensor_value_info(graph.input, TensorProto.UINT8, [1, graph.bands, *whole])],
            [helper.make_tensor_value_info(graph.output, kind, [1, graph.classes, *below])],
            self._constants,
        )
        versions = {"": opset} | dict(domains)
        model = helper.make_model(
            body,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in versions.items()],
            ir_version=ir_version,
        )
        helper.set_model_props(model, {DIGEST: graph.digest})
        onnx.checker.check_model(model)
        return model
