"""The reference interpreter: exact integers, the truth that every engine is held to.

Sums are formed by the float64 matrix product, which is exact here: `Graph` refuses accumulators beyond int32,
so every partial sum, in any order, is an integer far below ``2**53``.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import GraphError
from taran_eo.formats import integer_image
from taran_eo.graph.graph import Graph
from taran_eo.graph.ops import Concat, Conv, MaxPool, Op, Tensor, Upsample, sources_of
from taran_eo.graph.requantize import requantize

STRIPE = 16
"""Rows that a convolution works on at once, so that its float64 intermediates stay small."""

Image = NDArray[np.integer]


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


def check_tile(graph: Graph, pixels: NDArray[np.uint8]) -> None:
    """Refuse a tile that a graph cannot run on.

    Raises:
        GraphError: Wrong type, bands, or a size that is no multiple of the alignment.
    """
    fits = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[0] == graph.bands
    if not fits or pixels.size == 0 or pixels.shape[1] % graph.alignment or pixels.shape[2] % graph.alignment:
        raise GraphError(
            f"A tile {pixels.dtype}{list(pixels.shape)} does not fit the graph {graph.name!r}",
            remedy=f"Give uint8[{graph.bands}, rows, cols] with rows and cols multiples of {graph.alignment}",
        )


def apply(op: Op, inputs: list[Image], target: Tensor) -> Image:
    """Apply one operation to integer images ``[channels, rows, cols]``."""
    match op:
        case Conv():
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


def _convolve(op: Conv, image: Image, target: Tensor) -> Image:
    _, rows, cols = image.shape
    margin = op.kernel // 2
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)))
    weights = op.weights.astype(np.float64)
    lane = np.dtype(np.int32) if op.requantize is None else integer_image(target.format).lane
    result = np.empty((target.channels, rows, cols), dtype=lane)
    for top in range(0, rows, STRIPE):
        stripe = padded[:, top : top + STRIPE + 2 * margin].astype(np.float64)
        height = stripe.shape[1] - 2 * margin
        sums = np.zeros((target.channels, height * cols))
        for row in range(op.kernel):
            for col in range(op.kernel):
                shifted = stripe[:, row : row + height, col : col + cols].reshape(len(image), -1)
                sums += weights[:, :, row, col] @ shifted
        accumulators = sums.astype(np.int64) + op.bias.astype(np.int64)[:, None]
        if op.requantize is not None:
            accumulators = requantize(accumulators, op.requantize, target.format)
        result[:, top : top + height] = accumulators.reshape(target.channels, height, cols)
    return result
