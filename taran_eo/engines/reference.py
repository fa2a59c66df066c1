"""The reference interpreter as an engine: slow, and the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.engines.engine import check_request, needed
from taran_eo.graph import Graph, run
from taran_eo.imagery.window import Window


@dataclass(frozen=True)
class ReferenceEngine:
    """Runs the interpreter of `taran_eo.graph`."""

    graph: Graph
    name: str = "reference"
    tile_size: int = 768

    def run(self, pixels: NDArray[np.uint8], wanted: Window | None = None) -> NDArray[np.int32]:
        """Compute the logits of a tile; see `Engine.run`."""
        part, place = needed(self.graph, pixels, check_request(self.graph, pixels, wanted))
        return run(self.graph, pixels[:, *part.slices])[:, *place.slices]
