"""The operations of a program: all that a network needs, and nothing that rounds twice.

Tensors hold integer images (see `taran_eo.formats.image`), so every operation is on integers. `FloatConv` alone makes
float32, of networks that were not quantized; pooling, upsampling and concatenation do not mind. A consumer of the graph
is one ``match`` over these classes, closed by ``assert_never``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import GraphError
from taran_eo.formats import Format, Scaling, integer_image


@dataclass(frozen=True)
class Float32:
    """IEEE 754 binary32. It is no `Format` of ours: its sums are rounded, and in no order that engines agree on."""

    def __str__(self) -> str:
        return "float32"


FLOAT32 = Float32()


@dataclass(frozen=True)
class Tensor:
    """A value of the program, ``[channels, rows >> level, cols >> level]`` for a tile of rows x cols pixels.

    Attributes:
        name: Unique in the graph.
        channels: Channels.
        level: How often the tile was halved to get here.
        format: Number format of every element.
        scaling: One scale: ``real = scale * number``; 1 for float32.
    """

    name: str
    channels: int
    level: int
    format: Format | Float32
    scaling: Scaling

    @property
    def integer_format(self) -> Format:
        """The format of a tensor that holds integer images.

        Raises:
            GraphError: It holds float32.
        """
        if isinstance(self.format, Float32):
            raise GraphError(
                f"Tensor {self.name!r} holds float32, where integers are needed", remedy="Quantize the whole network"
            )
        return self.format

    @property
    def step(self) -> float:
        """The real value of one unit of the integer image, or of a float32."""
        exponent = 0 if self.format == FLOAT32 else integer_image(self.integer_format).step_exponent
        return float(self.scaling.scales[0] * 2.0**exponent)

    @property
    def lane(self) -> np.dtype[np.number]:
        """The numpy type of an element: the narrowest that holds the integer image, or float32."""
        return np.dtype(np.float32) if self.format == FLOAT32 else integer_image(self.integer_format).lane


@dataclass(frozen=True, eq=False)
class Requantize:
    """One rounding from the accumulator to the target's grid; see `taran_eo.graph.requantize`.

    Attributes:
        multipliers: ``int32[channels]``, positive, below 2**24; 1 where all scales are powers of two.
        shifts: ``int32[channels]``, 0 to 56: the accumulator times the multiplier is divided by ``2**shift``.
    """

    multipliers: NDArray[np.int32]
    shifts: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution of stride 1, zero padded to the same size, with its bias and its requantization.

    Attributes:
        source: Name of the input tensor.
        target: Name of the output tensor.
        weights: Integer images ``int8 or int16[outputs, inputs, k, k]``, k odd.
        weight_format: Their format.
        bias: ``int32[outputs]`` in units of the accumulator.
        requantize: How the accumulator becomes the target's format; None where the target holds the
            accumulators themselves (the logits, ``int32``).
    """

    source: str
    target: str
    weights: NDArray[np.int8] | NDArray[np.int16]
    weight_format: Format
    bias: NDArray[np.int32]
    requantize: Requantize | None

    @property
    def kernel(self) -> int:
        """Rows and columns of the kernel."""
        return int(self.weights.shape[2])


@dataclass(frozen=True, eq=False)
class FloatConv:
    """A convolution in real numbers, of stride 1, zero padded to the same size, with its bias and its ReLU.

    Its source holds float32, or integers of scale 1. Its result is rounded to float32; or, where its target is int32
    (the logits), to the nearest even multiple of the target's scale, and saturated.

    Attributes:
        source: Name of the input tensor.
        target: Name of the output tensor.
        weights: ``float32[outputs, inputs, k, k]``, k odd.
        bias: ``float32[outputs]``.
        relu: Whether results below zero become zero.
    """

    source: str
    target: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    relu: bool

    @property
    def weight_format(self) -> Float32:
        """The format of the weights."""
        return FLOAT32

    @property
    def kernel(self) -> int:
        """Rows and columns of the kernel."""
        return int(self.weights.shape[2])


@dataclass(frozen=True)
class MaxPool:
    """The largest of each 2 x 2 block; the order of codes is the order of values, so images compare as they are."""

    source: str
    target: str


@dataclass(frozen=True)
class Upsample:
    """Each element repeated in a 2 x 2 block."""

    source: str
    target: str


@dataclass(frozen=True)
class Concat:
    """Channels of several tensors, one after the other; all share format and scaling."""

    sources: tuple[str, ...]
    target: str


Op = Conv | FloatConv | MaxPool | Upsample | Concat


def sources_of(op: Op) -> tuple[str, ...]:
    """Names of the tensors that an operation reads."""
    return op.sources if isinstance(op, Concat) else (op.source,)
