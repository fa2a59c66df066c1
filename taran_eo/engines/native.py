"""The C kernels as an engine: integers in bytes and words, at the speed of the processor's own integer units.

The library is built from `taran_eo.c_runtime` when the package is installed; an installation without a C compiler does
without it. Which kernels run is the processor's choice, or that of the environment variable ``TARAN_EO_KERNELS``.
"""

import ctypes
import os
import time
import warnings
from ctypes import POINTER, Structure, byref, c_char_p, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo import c_runtime
from taran_eo.c_runtime import Program, Reads, Rows, Step, to_program
from taran_eo.engines.engine import check_request
from taran_eo.errors import ConfigError, MissingExtraError
from taran_eo.graph import Graph
from taran_eo.imagery.window import Window

VARIABLE = "TARAN_EO_KERNELS"

STRIPE = 32
"""Rows of pixels, and as many of logits as that is, that are made at a time: enough work for each thread, and few
enough rows to stay in cache."""

_ALIGNMENT = 64
_KINDS = {"load": 0, "convolve": 1, "pool": 2, "upsample": 3}


class _Tensor(Structure):
    _fields_ = tuple((name, c_int32) for name in ("channels", "level", "lane", "zero", "margin"))


class _Segment(Structure):
    _fields_ = tuple((name, c_int32) for name in ("tensor", "folded", "row", "col", "groups", "weights"))


class _Op(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("kind", "source", "target", "channels", "padded", "phases")),
        ("first", c_int32 * 4),
        ("count", c_int32 * 4),
        *((name, c_int32) for name in ("lane", "pairs_fit", "exact", "mantissa", "low", "high")),
        *((name, c_void_p) for name in ("weights", "bias", "multipliers", "shifts")),
    )


class _Program(Structure):
    _fields_ = (
        *((name, c_int32) for name in ("tensors", "ops", "segments", "level")),
        ("tensor", POINTER(_Tensor)),
        ("op", POINTER(_Op)),
        ("segment", POINTER(_Segment)),
    )


class _Window(Structure):
    _fields_ = tuple((name, c_int32) for name in ("row", "col", "rows", "cols"))


class _Ring(Structure):
    _fields_ = (
        ("offset", c_int64),
        ("row_bytes", c_int64),
        *((name, c_int32) for name in ("rows", "height", "top", "left", "width", "done", "needed")),
    )


class _Workers(Structure):
    _fields_ = (("run", c_void_p), ("self", c_void_p), ("threads", c_int32))


class _Tile(Structure):
    _fields_ = (
        ("pixels", c_void_p),
        *((name, c_int64) for name in ("band", "row", "col")),
        ("bands", c_int32),
        ("wanted", _Window),
        ("logits", c_void_p),
    )


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
        self._library = _library()
        self._kernels = _chosen(self._library)
        self._kept, self._program = in_c(to_program(graph))
        self._rings = (_Ring * self._program.tensors)()
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
        window = _Window(wanted.row, wanted.col, wanted.rows, wanted.cols)
        tile = _Tile(pixels.ctypes.data, *pixels.strides, len(pixels), window, logits.ctypes.data)
        if self._process != os.getpid():
            self._hire(self._threads)
        with self._turn:
            if self._laid_out != (rows, cols, wanted):
                self._lay_out(rows, cols, wanted, window)
            self._library.taran_run(
                byref(self._program),
                self._rings,
                self._arena.ctypes.data,
                self._stripe,
                self._kernels,
                byref(self._workers),
                byref(tile),
            )
        return logits

    def _lay_out(self, rows: int, cols: int, wanted: Window, window: _Window) -> None:
        rings = (_Ring * self._program.tensors)()
        size = self._library.taran_layout(byref(self._program), rows, cols, byref(window), self._stripe, rings)
        arena = _aligned(size) if size > self._arena.nbytes else self._arena
        # From here on nothing fails: had the memory not been there, the engine would still fit its last tile.
        self._library.taran_prepare(byref(self._program), rings, arena.ctypes.data)
        self._rings, self._arena, self._laid_out = rings, arena, (rows, cols, wanted)

    def _hire(self, threads: int) -> None:
        """Get threads; those of a process do not come along into its forks."""
        self._workers, self._turn, self._process = _Workers(), Lock(), os.getpid()
        if not self._library.taran_workers_open(byref(self._workers), threads):
            raise MemoryError("no memory for the threads of an engine")


def is_built() -> bool:
    """Whether the library was built."""
    return _path() is not None


def kernels_here() -> tuple[str, ...]:
    """Names of the kernels that this processor can run, the fastest first.

    Raises:
        MissingExtraError: The library was not built.
    """
    library = _library()
    return tuple(name for name, here, _ in _all_kernels(library) if here)


def kernels_chosen() -> str:
    """Name of the kernels that run here.

    Raises:
        MissingExtraError: The library was not built.
        ConfigError: There are none of the name that is asked for.
    """
    library = _library()
    return str(library.taran_kernels_name(_chosen(library)).decode())


def peak_gmac_s(*, seconds: float = 0.2) -> float:
    """Multiplications a second, in units of 10**9, that one core does when it does nothing else.

    Numbers stay in registers; the best of five measurements, as others may use the core.

    Args:
        seconds: How long to measure.

    Raises:
        MissingExtraError: The library was not built.
    """
    library = _library()
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


def _path() -> Path | None:
    # An editable install keeps what was built apart from the sources; both are the package's.
    return next((file for folder in c_runtime.__path__ for file in Path(folder).glob("lib/libtaran_eo.*")), None)


@cache
def _library() -> Any:  # noqa: ANN401 - functions of a library have no types
    path = _path()
    if path is None:
        raise MissingExtraError(
            "The C kernels were not built when taran_eo was installed",
            remedy="Install a C compiler and then taran_eo again, or take the engine onnxruntime",
        )
    library = ctypes.CDLL(str(path))
    library.taran_layout.restype = c_int64
    library.taran_kernels_at.restype = c_void_p
    library.taran_kernels_name.restype = c_char_p
    library.taran_kernels_name.argtypes = (c_void_p,)
    library.taran_kernels_peak.restype = c_int64
    library.taran_kernels_peak.argtypes = (c_void_p, c_int64)
    library.taran_prepare.argtypes = (c_void_p, c_void_p, c_void_p)
    library.taran_run.argtypes = (c_void_p, c_void_p, c_void_p, c_int32, c_void_p, c_void_p, c_void_p)
    library.taran_run.restype = None
    return library


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


def in_c(program: Program) -> tuple[list[object], _Program]:
    """A program as C structures, and what they point to."""
    kept: list[object] = []
    segments: list[_Segment] = []
    ops = [_op(step, segments, kept) for step in program.steps]
    tensors = [_tensor(rows) for rows in program.tensors]
    arrays = (
        (_Tensor * len(tensors))(*tensors),
        (_Op * len(ops))(*ops),
        (_Segment * len(segments))(*segments),
    )
    kept += arrays
    return kept, _Program(len(tensors), len(ops), len(segments), program.level, *arrays)


def _tensor(rows: Rows) -> _Tensor:
    return _Tensor(rows.channels, rows.level, rows.lane, rows.zero, rows.margin)


def _segment(reads: Reads) -> _Segment:
    return _Segment(reads.tensor, reads.folded, reads.row, reads.col, reads.groups, reads.weights)


def _op(step: Step, segments: list[_Segment], kept: list[object]) -> _Op:
    op = _Op(
        kind=_KINDS[step.kind],
        source=-1 if step.source is None else step.source,
        target=-1 if step.target is None else step.target,
    )
    weights = step.weights
    if weights is not None:
        op.channels, op.padded, op.phases = weights.channels, len(weights.bias), len(weights.phases)
        for number, phase in enumerate(weights.phases):
            op.first[number], op.count[number] = len(segments), len(phase)
            segments += map(_segment, phase)
        op.lane, op.pairs_fit, op.exact = weights.lane, weights.pairs_fit, weights.exact
        op.mantissa, op.low, op.high = weights.mantissa, weights.low, weights.high
        for name, array in (
            ("weights", weights.packed),
            ("bias", weights.bias),
            ("multipliers", weights.multipliers),
            ("shifts", weights.shifts),
        ):
            lying = _aligned(array.nbytes)
            lying[:] = array.view(np.uint8)
            setattr(op, name, lying.ctypes.data)
            kept.append(lying)
    return op


def _aligned(size: int) -> NDArray[np.uint8]:
    """Memory that begins with a line of the cache: a vector that lies across two takes twice as long."""
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size]
