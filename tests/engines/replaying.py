"""Programs for ``replay.c``: built for other processors or with sanitizers, and run where Python is not."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime import to_program
from taran_eo.c_runtime.binding import in_c
from taran_eo.engines.engine import check_request
from taran_eo.graph import Graph
from taran_eo.imagery.window import Window

SOURCES = Path(__file__).parents[2] / "taran_eo" / "c_runtime"


def build(target: Path, compiler: str, *flags: str) -> Path:
    """Compile the kernels and ``replay.c``."""
    files = [Path(__file__).with_name("replay.c"), *sorted(SOURCES.glob("*.c"))]
    command = [compiler, "-std=gnu99", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", *flags, *files, "-o", target]
    done = subprocess.run([*command, "-lpthread"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def write(path: Path, graph: Graph, pixels: NDArray[np.uint8], stripe: int, wanted: Window) -> None:
    """A program and a tile ``uint8[bands, rows, cols]`` as ``replay.c`` reads them, and which logits are wanted."""
    written = to_program(graph)
    kept, program = in_c(written)
    tensors, ops, segments = kept[-3:]
    bands, rows, cols = pixels.shape
    counts = (program.tensors, program.ops, program.segments, program.level, program.lead, program.scratch)
    window = (wanted.row, wanted.col, wanted.rows, wanted.cols)
    head = np.array([*counts, rows, cols, bands, graph.classes, stripe, *window], np.int64)
    parts = [head.tobytes(), bytes(tensors)]
    arrays = []
    for op, step in zip(ops, written.steps, strict=True):
        if step.weights is not None:
            op.weights = step.weights.packed.nbytes
            each = step.weights
            arrays += [array.tobytes() for array in (each.packed, each.bias, each.multipliers, each.shifts)]
    path.write_bytes(b"".join([*parts, bytes(ops), bytes(segments), *arrays, pixels.tobytes()]))


def replay(
    command: Sequence[str | Path],
    graph: Graph,
    pixels: NDArray[np.uint8],
    kernels: str,
    folder: Path,
    *,
    stripe: int,
    wanted: Window | None = None,
) -> NDArray[np.int32]:
    """The logits that a built program gives, ``int32[classes, rows, cols]``; all, or those wanted."""
    file = folder / "program"
    wanted = check_request(graph, pixels, wanted)
    write(file, graph, pixels, stripe, wanted)
    done = subprocess.run([*command, file, kernels, "2"], capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return np.frombuffer(done.stdout, np.int32).reshape(graph.classes, wanted.rows, wanted.cols)
