"""The C kernels as an engine: integers in bytes and words, at the speed of the processor's own integer units.

The library is built from `taran_eo.c_runtime` when the package is installed; an installation without a C compiler does
without it. Which kernels run is the processor's choice, or that of the environment variable ``TARAN_EO_KERNELS``.
"""

import os
import time
import warnings
from ctypes import byref, c_int32
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime import to_program
from taran_eo.c_runtime.binding import CRing, CTile, CWindow, CWorkers, aligned, built, in_c, laid_out, loaded
from taran_eo.engines.engine import check_request
from taran_eo.errors import ConfigError
from taran_eo.graph import Graph
from taran_eo.imagery.window import Window

VARIABLE = "TARAN_EO_KERNELS"

STRIPE = 32
"""Rows of pixels, and as many of logits as that is, that are made at a time: enough work for each thread, and few
enough rows to stay in cache."""


class NativeEngine:
    """A graph on the C kernels.

    It allocates for the first of the largest tiles, and for the logits that it returns; its memory is some hundred rows
    of each tensor, however many rows a tile has. It rounds by floats, in the processor's usual way, to nearest even:
    who changes that way for a thread must not run an engine in it.

    Args:
        graph: A graph of integers.
        threads: Threads of one tile.

    Raises:
        MissingExtraError: The library was not built.
        GraphError: An operation or a width that the kernels lack.
        ConfigError: No threads.
    """

    name = "native"
    tile_size = 1024

    def __init__(self, graph: Graph, threads: int) -> None:
        if threads < 1:
            raise ConfigError(f"{threads} threads cannot do anything", remedy="Give 1 or more", threads=threads)
        self.graph = graph
        self._library = loaded()
        self._kernels = _chosen(self._library)
        self._kept, self._program = in_c(to_program(graph))
        self._rings = (CRing * self._program.tensors)()
        self._arena = np.zeros(0, np.uint8)
        self._stripe = max(1, STRIPE >> self._program.level)
        self._laid_out: tuple[int, int, Window] | None = None
        self._threads = threads
        self._hire(threads)

    def __del__(self) -> None:
        if getattr(self, "_process", None) == os.getpid() and self._workers.self:
            self._library.taran_workers_close(byref(self._workers))

    @property
    def kernels(self) -> str:
        """Name of the kernels that run."""
        return str(self._library.taran_kernels_name(self._kernels).decode())

    @property
    def arena_bytes(self) -> int:
        """Memory of the tensors, for the largest tile so far."""
        return self._arena.nbytes

    def run(self, pixels: NDArray[np.uint8], wanted: Window | None = None) -> NDArray[np.int32]:
        """Compute the logits of a tile; see `Engine.run`. Other threads of Python go on meanwhile."""
        wanted = check_request(self.graph, pixels, wanted)
        _, rows, cols = pixels.shape
        logits = np.empty((self.graph.classes, wanted.rows, wanted.cols), np.int32)
        window = CWindow(wanted.row, wanted.col, wanted.rows, wanted.cols)
        tile = CTile(pixels.ctypes.data, *pixels.strides, len(pixels), window, logits.ctypes.data)
        if self._process != os.getpid():
            self._hire(self._threads)
        with self._turn:
            if self._laid_out != (rows, cols, wanted):
                self._lay_out(rows, cols, wanted, window)
            self._library.taran_compute(
                byref(self._program),
                self._rings,
                self._arena.ctypes.data,
                self._stripe,
                self._kernels,
                byref(self._workers),
                byref(tile),
            )
        return logits

    def _lay_out(self, rows: int, cols: int, wanted: Window, window: CWindow) -> None:
        rings, size = laid_out(self._program, rows, cols, window, self._stripe)
        arena = aligned(size) if size > self._arena.nbytes else self._arena
        # From here on nothing fails: had the memory not been there, the engine would still fit its last tile.
        self._library.taran_prepare(byref(self._program), rings, arena.ctypes.data)
        self._rings, self._arena, self._laid_out = rings, arena, (rows, cols, wanted)

    def _hire(self, threads: int) -> None:
        """Get threads; those of a process do not come along into its forks."""
        self._workers, self._turn, self._process = CWorkers(), Lock(), os.getpid()
        if not self._library.taran_workers_open(byref(self._workers), threads):
            raise MemoryError("no memory for the threads of an engine")


def is_built() -> bool:
    """Whether the library was built."""
    return built() is not None


def kernels_here() -> tuple[str, ...]:
    """Names of the kernels that this processor can run, the fastest first.

    Raises:
        MissingExtraError: The library was not built.
    """
    library = loaded()
    return tuple(name for name, here, _ in _all_kernels(library) if here)


def kernels_chosen() -> str:
    """Name of the kernels that run here.

    Raises:
        MissingExtraError: The library was not built.
        ConfigError: There are none of the name that is asked for.
    """
    library = loaded()
    return str(library.taran_kernels_name(_chosen(library)).decode())


def peak_gmac_s(*, seconds: float = 0.2) -> float:
    """Multiplications a second, in units of 10**9, that one core does when it does nothing else.

    Numbers stay in registers; the best of five measurements, as others may use the core.

    Args:
        seconds: How long to measure.

    Raises:
        MissingExtraError: The library was not built.
    """
    library = loaded()
    kernels = _chosen(library)
    rounds, best = 1000, 0.0
    while True:
        begin = time.perf_counter()
        done = library.taran_kernels_peak(kernels, rounds)
        taken = time.perf_counter() - begin
        if taken >= seconds / 5:
            break
        rounds *= 2
    for _ in range(5):
        begin = time.perf_counter()
        done = library.taran_kernels_peak(kernels, rounds)
        best = max(best, done / (time.perf_counter() - begin))
    return best / 1e9


def _all_kernels(library: Any) -> list[tuple[str, bool, int]]:  # noqa: ANN401
    found: list[tuple[str, bool, int]] = []
    here = c_int32()
    while address := library.taran_kernels_at(len(found), byref(here)):
        found.append((library.taran_kernels_name(address).decode(), bool(here.value), address))
    return found


@cache
def _told(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def _chosen(library: Any) -> int:  # noqa: ANN401
    """The kernels to run: those that are asked for, else the fastest that are here.

    Raises:
        ConfigError: There are none of the name that is asked for.
    """
    kernels = _all_kernels(library)
    best = next(address for _, here, address in kernels if here)
    asked = os.environ.get(VARIABLE)
    if not asked:
        return best
    for name, here, address in kernels:
        if name == asked and here:
            return address
        if name == asked:
            _told(
                f"This processor cannot run the kernels {name!r} that {VARIABLE} asks for; it runs the fastest it can"
            )
            return best
    raise ConfigError(
        f"{VARIABLE} asks for kernels {asked!r}",
        remedy=f"Choose of {', '.join(name for name, _, _ in kernels)}, or leave it away",
    )
