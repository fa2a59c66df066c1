"""Engines: different machines for the same integers.

Each runs a `Graph` on a tile and gives the logits of the reference interpreter, bit for bit; those of a graph with
float32 in it within `taran_eo.graph.tolerance`.
"""

import warnings
from functools import cache
from typing import Literal, assert_never

from taran_eo.c_runtime import to_program
from taran_eo.engines import native
from taran_eo.engines.engine import Engine
from taran_eo.engines.native import NativeEngine
from taran_eo.engines.pool import EnginePool
from taran_eo.engines.reference import ReferenceEngine
from taran_eo.errors import GraphError
from taran_eo.graph import Graph

OneEngine = Literal["reference", "onnxruntime", "native"]
EngineName = Literal["auto"] | OneEngine


def engines_for(graph: Graph) -> tuple[OneEngine, ...]:
    """The engines that are here and can run a graph, the slow truth first and the fastest last."""
    return ("reference", "onnxruntime", *(("native",) if native.is_built() and _native_runs(graph) else ()))


def fastest_engine(graph: Graph) -> OneEngine:
    """The fastest engine that is here and can run a graph; warns once where the C kernels could, and are missing."""
    if not native.is_built() and _native_runs(graph):
        _tell_missing()
    return engines_for(graph)[-1]


def open_engine(name: EngineName, graph: Graph, *, threads: int) -> Engine:
    """Make an engine ready for a graph.

    Args:
        name: Which one; ``auto`` is `fastest_engine`.
        graph: The program.
        threads: Threads that one tile may use.

    Raises:
        GraphError: The engine lacks an operation or a width.
        MissingExtraError: The engine is not here.
        ConfigError: No threads.
    """
    chosen: OneEngine = fastest_engine(graph) if name == "auto" else name
    match chosen:
        case "reference":
            return ReferenceEngine(graph)
        case "onnxruntime":
            # Who does not need them does not wait for them: onnx and onnxruntime take a third of a second to import.
            from taran_eo.engines.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(graph, threads)
        case "native":
            return NativeEngine(graph, threads)
        case _:
            assert_never(chosen)


def open_pool(name: EngineName, graph: Graph, *, threads: int) -> Engine:
    """Make an engine ready that several threads may keep busy at the same time.

    Args:
        name: As for `open_engine`.
        graph: The program.
        threads: What it may use in all: native, for as many tiles; the others, for one.

    Raises:
        As `open_engine`.
    """
    chosen: OneEngine = fastest_engine(graph) if name == "auto" else name
    if chosen == "native" and threads > 1:
        return EnginePool(graph, threads)
    return open_engine(chosen, graph, threads=threads)


def _native_runs(graph: Graph) -> bool:
    try:
        to_program(graph)
    except GraphError:
        return False
    return True


@cache
def _tell_missing() -> None:
    warnings.warn(
        "The C kernels were not built when taran_eo was installed, so ONNX Runtime computes, several times slower; "
        "install a C compiler and then taran_eo again",
        stacklevel=4,
    )


__all__ = [
    "Engine",
    "EngineName",
    "NativeEngine",
    "ReferenceEngine",
    "engines_for",
    "fastest_engine",
    "open_engine",
    "open_pool",
]
