"""Several engines for one graph, so that tiles are computed side by side."""

from queue import LifoQueue

import numpy as np
from numpy.typing import NDArray

from taran_eo.engines.engine import Engine
from taran_eo.engines.native import NativeEngine
from taran_eo.graph import Graph
from taran_eo.imagery.window import Window


class EnginePool:
    """An engine that several threads may call at the same time: each tile has one core for itself.

    Cores that share a tile wait for one another at every stripe of every operation, a tenth to a quarter of their time;
    those that have a tile each do not. A tile that comes alone takes longer.

    Args:
        graph: A graph of integers.
        threads: Tiles at the same time; as many engines are made, when they are first needed.

    Raises:
        As `NativeEngine`.
    """

    name = NativeEngine.name
    tile_size = NativeEngine.tile_size

    def __init__(self, graph: Graph, threads: int) -> None:
        self._graph = graph
        # The one that worked last comes first: its weights are in the caches. Those that nobody needs stay unmade.
        self._idle: LifoQueue[Engine | None] = LifoQueue()
        for _ in range(threads - 1):
            self._idle.put(None)
        self._idle.put(NativeEngine(graph, 1))

    def run(self, pixels: NDArray[np.uint8], wanted: Window | None = None) -> NDArray[np.int32]:
        """Compute the logits of a tile; see `Engine.run`. Waits where all engines are at work."""
        engine = self._idle.get()
        try:
            engine = NativeEngine(self._graph, 1) if engine is None else engine
            return engine.run(pixels, wanted)
        finally:
            self._idle.put(engine)
