"""The reference interpreter: exact integers, the truth that every engine is held to.

Sums are formed by the float64 matrix product, which is exact here: `Graph` refuses accumulators beyond int32,
so every partial sum, in any order, is an integer far below ``2**53``. Sums of float32 are not exact, but each is
rounded to float32 once.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import GraphError
from taran_eo.formats import integer_image
from taran_eo.graph.graph import Graph
from taran_eo.graph.ops import FLOAT32, Concat, Conv, FloatConv, MaxPool, Op, Tensor, Upsample, sources_of
from taran_eo.graph.requantize import requantize

STRIPE = 16
"""Rows that a convolution works on at once, so that its float64 intermediates stay small."""

FLOAT_TOLERANCE = 16
"""In units of ``2**-16``. Over tiles of `val`, synthetic ones and noise, with logits up to 16, ONNX Runtime and torch
were at most one unit away from here."""

Image = NDArray[np.number]


MOST_SIDE = 32768
"""Rows and columns of a tile: the C runtime counts in 32 bits."""


def run(graph: Graph, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Run a graph on one tile.

    Args:
        graph: The program.
        pixels: ``uint8[bands, rows, cols]``, rows and cols multiples of ``graph.alignment``.

    Returns:
        Logits ``int32[classes, rows, cols]``.

    Raises:
        GraphError: The tile does not fit the program.
    """
    check_tile(graph, pixels)
    last_use = {source: step for step, op in enumerate(graph.ops) for source in sources_of(op)}
    images: dict[str, Image] = {graph.input: pixels}
    for step, op in enumerate(graph.ops):
        images[op.target] = apply(op, [images[source] for source in sources_of(op)], graph.tensors[op.target])
        for source in sources_of(op):
            if last_use[source] == step:
                images.pop(source, None)
    return images[graph.output].astype(np.int32)


def tolerance(graph: Graph, logits: NDArray[np.int32]) -> int:
    """How far an engine's logits may be from those of the interpreter, ``int32[classes, rows, cols]``, in units.

    Nothing where the graph is exact. With float32 `FLOAT_TOLERANCE`, as long as no logit is larger than as many.
    """
    return 0 if graph.exact else max(FLOAT_TOLERANCE, int(np.abs(logits.astype(np.int64)).max()) >> 16)


def check_tile(graph: Graph, pixels: NDArray[np.uint8]) -> None:
    """Refuse a tile that a graph cannot run on.

    Raises:
        GraphError: Wrong type, bands, or a size that is no multiple of the alignment.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != graph.bands:
        raise GraphError(
            f"A tile {pixels.dtype}{list(pixels.shape)} does not fit the graph {graph.name!r}",
            remedy=f"Give uint8[{graph.bands}, rows, cols] with rows and cols multiples of {graph.alignment}",
        )
    check_size(graph, *pixels.shape[1:])


def check_size(graph: Graph, rows: int, cols: int) -> None:
    """Refuse a size of tile that a graph cannot run on.

    Raises:
        GraphError: Nothing, more than `MOST_SIDE`, or no multiple of the alignment.
    """
    fits = all(0 < side <= MOST_SIDE and side % graph.alignment == 0 for side in (rows, cols))
    if not fits:
        raise GraphError(
            f"A tile of {rows} x {cols} pixels does not fit the graph {graph.name!r}",
            remedy=f"Rows and columns must be multiples of {graph.alignment}, up to {MOST_SIDE}",
        )


def apply(op: Op, inputs: list[Image], target: Tensor) -> Image:
    """Apply one operation to images ``[channels, rows, cols]``, each of integers or of float32."""
    match op:
        case Conv() | FloatConv():
            return _convolve(op, inputs[0], target)
        case MaxPool():
            (image,) = inputs
            rows = np.maximum(image[:, 0::2], image[:, 1::2])
            return np.maximum(rows[:, :, 0::2], rows[:, :, 1::2])
        case Upsample():
            return inputs[0].repeat(2, axis=1).repeat(2, axis=2)
        case Concat():
            return np.concatenate(inputs)
        case _:
            assert_never(op)


def _convolve(op: Conv | FloatConv, image: Image, target: Tensor) -> Image:
    _, rows, cols = image.shape
    margin = op.kernel // 2
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)))
    weights = op.weights.astype(np.float64)
    result = np.empty((target.channels, rows, cols), dtype=target.lane)
    for top in range(0, rows, STRIPE):
        stripe = padded[:, top : top + STRIPE + 2 * margin].astype(np.float64)
        height = stripe.shape[1] - 2 * margin
        sums = np.zeros((target.channels, height * cols))
        for row in range(op.kernel):
            for col in range(op.kernel):
                shifted = stripe[:, row : row + height, col : col + cols].reshape(len(image), -1)
                sums += weights[:, :, row, col] @ shifted
        result[:, top : top + height] = _finish(op, sums, target).reshape(target.channels, height, cols)
    return result


def _finish(op: Conv | FloatConv, sums: NDArray[np.float64], target: Tensor) -> Image:
    """From sums ``float64[channels, pixels]`` to what the target holds."""
    if isinstance(op, Conv):
        accumulators = sums.astype(np.int64) + op.bias.astype(np.int64)[:, None]
        how = op.requantize
        return accumulators if how is None else requantize(accumulators, how, target.integer_format)
    reals = sums + op.bias.astype(np.float64)[:, None]
    if op.relu:
        reals = np.maximum(reals, 0.0)
    if target.format == FLOAT32:
        return reals
    image = integer_image(target.integer_format)
    units: NDArray[np.float64] = np.clip(np.rint(reals / target.step), image.low, image.high)
    return units
