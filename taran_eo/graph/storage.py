"""A graph as a file: safetensors for the arrays, JSON in its header for the program, SHA-256 over both."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from taran_eo.errors import CorruptDataError, TaranError
from taran_eo.graph.graph import Graph
from taran_eo.graph.program import digest_of, from_program

HEADER = "taran_eo.graph"


def save(graph: Graph, path: Path) -> None:
    """Write a graph to a safetensors file.

    The header's metadata have one key, ``taran_eo.graph`` (safetensors writes several in random order), which holds
    the graph's digest, a space, and the program as JSON.
    """
    program, arrays = graph.program()
    path.write_bytes(safetensors_numpy.save(arrays, metadata={HEADER: f"{graph.digest} {program}"}))


def load(path: Path) -> Graph:
    """Read a graph from a safetensors file.

    Raises:
        CorruptDataError: The file is no graph, is of another version, or has changed since it was written.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise _corrupt(path, f"cannot be read as safetensors ({error})") from error
    digest, _, program = metadata.get(HEADER, "").partition(" ")
    if not program:
        raise _corrupt(path, "holds no graph")
    if digest_of(program, arrays) != digest:
        raise _corrupt(path, "does not match its SHA-256")
    try:
        name, tensors, ops, ends = from_program(program, arrays)
        return Graph(name, tensors, ops, *ends)
    except TaranError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, f"holds a program that makes no sense ({error!r})") from error


def _corrupt(path: Path, what: str) -> CorruptDataError:
    return CorruptDataError(
        f"{path} {what}", remedy="Fetch the file again, or lower the model again; do not fly this one", path=path
    )
