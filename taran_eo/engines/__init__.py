"""Engines: different machines for the same integers.

Each runs a `Graph` on a tile and gives the logits of the reference interpreter, bit for bit; those of a graph with
float32 in it within `taran_eo.graph.tolerance`.
"""

from typing import Literal, assert_never

from taran_eo.engines.engine import Engine
from taran_eo.engines.onnxruntime import OnnxRuntimeEngine
from taran_eo.engines.reference import ReferenceEngine
from taran_eo.graph import Graph

EngineName = Literal["auto", "reference", "onnxruntime"]

ENGINES: tuple[EngineName, ...] = ("reference", "onnxruntime")
"""Every engine that is here, the slow truth first."""


def open_engine(name: EngineName, graph: Graph, *, threads: int) -> Engine:
    """Make an engine ready for a graph.

    Args:
        name: Which one; ``auto`` is the fastest that is here.
        graph: The program.
        threads: Threads that one tile may use.
    """
    match name:
        case "reference":
            return ReferenceEngine(graph)
        case "onnxruntime" | "auto":
            return OnnxRuntimeEngine(graph, threads)
        case _:
            assert_never(name)


__all__ = ["ENGINES", "Engine", "EngineName", "OnnxRuntimeEngine", "ReferenceEngine", "open_engine"]
