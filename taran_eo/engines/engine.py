"""What an engine is: something that runs a graph on tiles as the reference does."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import GraphError
from taran_eo.graph import Graph, check_tile
from taran_eo.imagery.window import Window


class Engine(Protocol):
    """Runs one graph; made once, used for many tiles."""

    @property
    def name(self) -> str:
        """The word that chooses it on the command line."""
        ...

    @property
    def tile_size(self) -> int:
        """Side of the tiles that suit it: the larger, the less is computed twice, and the more memory it takes."""
        ...

    def run(self, pixels: NDArray[np.uint8], wanted: Window | None = None) -> NDArray[np.int32]:
        """Compute the logits of a tile, or a part of them.

        Args:
            pixels: ``uint8[bands, rows, cols]``, rows and cols multiples of the graph's alignment.
            wanted: Which logits, in rows and columns of the logits; None for all. What they do not depend on is left
                out, as far as the engine can.

        Returns:
            ``int32[classes, rows, cols]`` of those wanted, equal to ``graph.run`` in every bit where the graph is
            `exact`, and no farther from it than its `tolerance` otherwise.

        Raises:
            GraphError: The tile does not fit the graph, or has not the logits that are wanted.
        """
        ...


def check_request(graph: Graph, pixels: NDArray[np.uint8], wanted: Window | None) -> Window:
    """The logits that are wanted of a tile, after checking that both are there.

    Raises:
        GraphError: The tile does not fit the graph, or has not the logits that are wanted.
    """
    check_tile(graph, pixels)
    level = graph.level
    rows, cols = pixels.shape[1] >> level, pixels.shape[2] >> level
    if wanted is None:
        return Window(0, 0, rows, cols)
    if wanted.rows < 1 or wanted.cols < 1 or wanted.clipped(rows, cols) != wanted:
        raise GraphError(
            f"{wanted} is no part of the {rows} x {cols} logits of this tile",
            remedy="Want rows and columns of the logits, at least one of each",
        )
    return wanted


def needed(graph: Graph, pixels: NDArray[np.uint8], wanted: Window) -> tuple[Window, Window]:
    """For engines that run whole tiles: the part of a tile to be run, and where in its logits the wanted ones are.

    Logits at the rim of that part may be others than those of the tile; those that are wanted are the same.
    """
    level, alignment = graph.level, graph.alignment

    def part(first: int, count: int, whole: int) -> tuple[int, int]:
        low, high = graph.spans(first, first + count)[graph.input]
        begin = max(low, 0) // alignment * alignment
        return begin, -(-min(high, whole) // alignment) * alignment - begin

    row, rows = part(wanted.row, wanted.rows, pixels.shape[1])
    col, cols = part(wanted.col, wanted.cols, pixels.shape[2])
    return Window(row, col, rows, cols), wanted.relative_to(Window(row >> level, col >> level, 0, 0))
