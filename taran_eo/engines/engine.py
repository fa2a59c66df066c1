"""What an engine is: something that runs a graph on tiles as the reference does."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Compute the logits of a tile.

        Args:
            pixels: ``uint8[bands, rows, cols]``, rows and cols multiples of the graph's alignment.

        Returns:
            ``int32[classes, rows, cols]``, equal to ``graph.run`` in every bit where the graph is `exact`, and no
            farther from it than its `tolerance` otherwise.

        Raises:
            GraphError: The tile does not fit the graph.
        """
        ...
