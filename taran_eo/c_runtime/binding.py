"""The C runtime as a library of this process: its structures, and graphs in them.

It is built when the package is installed; an installation without a C compiler does without it.
"""

import ctypes
from ctypes import POINTER, Structure, byref, c_char_p, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo import c_runtime
from taran_eo.c_runtime.program import KINDS, Program, Reads, Rows, Step
from taran_eo.errors import MissingExtraError

_ALIGNMENT = 64


class CTensor(Structure):
    """``taran_tensor``."""

    _fields_ = tuple((name, c_int32) for name in ("channels", "level", "lane", "zero", "margin"))


class CSegment(Structure):
    """``taran_segment``."""

    _fields_ = tuple((name, c_int32) for name in ("tensor", "folded", "row", "col", "groups", "weights"))


class COp(Structure):
    """``taran_op``."""

    _fields_ = (
        *((name, c_int32) for name in ("kind", "source", "target", "channels", "padded", "phases")),
        ("first", c_int32 * 4),
        ("count", c_int32 * 4),
        *((name, c_int32) for name in ("lane", "pairs_fit", "exact", "mantissa", "low", "high")),
        *((name, c_void_p) for name in ("weights", "bias", "multipliers", "shifts", "codes", "values")),
        *((name, c_int32) for name in ("bits", "numbers", "binades")),
    )


class CProgram(Structure):
    """``taran_program``."""

    _fields_ = (
        *((name, c_int32) for name in ("tensors", "ops", "segments", "level", "lead", "scratch")),
        ("tensor", POINTER(CTensor)),
        ("op", POINTER(COp)),
        ("segment", POINTER(CSegment)),
    )


class CWindow(Structure):
    """``taran_window``."""

    _fields_ = tuple((name, c_int32) for name in ("row", "col", "rows", "cols"))


class CRing(Structure):
    """``taran_ring``."""

    _fields_ = (
        ("offset", c_int64),
        ("row_bytes", c_int64),
        *((name, c_int32) for name in ("rows", "height", "top", "left", "width", "done", "needed")),
    )


class CWorkers(Structure):
    """``taran_workers``."""

    _fields_ = (("run", c_void_p), ("self", c_void_p), ("threads", c_int32))


class CTile(Structure):
    """``taran_tile``."""

    _fields_ = (
        ("pixels", c_void_p),
        *((name, c_int64) for name in ("band", "row", "col")),
        ("bands", c_int32),
        ("wanted", CWindow),
        ("logits", c_void_p),
    )


def built() -> Path | None:
    """The library, None where it was not built."""
    # An editable install keeps what was built apart from the sources; both are the package's.
    return next((file for folder in c_runtime.__path__ for file in Path(folder).glob("lib/libtaran_eo.*")), None)


@cache
def loaded() -> Any:  # noqa: ANN401 - functions of a library have no types
    """The library's functions.

    Raises:
        MissingExtraError: It was not built.
    """
    path = built()
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
    library.taran_compute.argtypes = (c_void_p, c_void_p, c_void_p, c_int32, c_void_p, c_void_p, c_void_p)
    library.taran_compute.restype = None
    return library


def laid_out(program: CProgram, rows: int, cols: int, wanted: CWindow, stripe: int) -> tuple[ctypes.Array[CRing], int]:
    """Where the rows of each tensor lie, and the bytes of them all; see ``taran_layout``."""
    rings = (CRing * program.tensors)()
    size: int = loaded().taran_layout(byref(program), rows, cols, byref(wanted), stripe, rings)
    return rings, size


def in_c(program: Program) -> tuple[list[object], CProgram]:
    """A program as C structures, and what they point to."""
    kept: list[object] = []
    segments: list[CSegment] = []
    ops = [_op(step, segments, kept) for step in program.steps]
    tensors = [_tensor(rows) for rows in program.tensors]
    arrays = (
        (CTensor * len(tensors))(*tensors),
        (COp * len(ops))(*ops),
        (CSegment * len(segments))(*segments),
    )
    kept += arrays
    counts = (len(tensors), len(ops), len(segments))
    return kept, CProgram(*counts, program.level, program.lead, program.scratch_bytes, *arrays)


def _tensor(rows: Rows) -> CTensor:
    return CTensor(rows.channels, rows.level, rows.lane, rows.zero, rows.margin)


def _segment(reads: Reads) -> CSegment:
    return CSegment(reads.tensor, reads.folded, reads.row, reads.col, reads.groups, reads.weights)


def _op(step: Step, segments: list[CSegment], kept: list[object]) -> COp:
    op = COp(
        kind=KINDS.index(step.kind),
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
        op.mantissa, op.low, op.high, op.binades = weights.mantissa, weights.low, weights.high, weights.binades
        op.numbers = weights.packed.nbytes // weights.lane
        for name, array in (
            ("weights", weights.packed),
            ("bias", weights.bias),
            ("multipliers", weights.multipliers),
            ("shifts", weights.shifts),
        ):
            lying = aligned(array.nbytes)
            lying[:] = array.view(np.uint8)
            setattr(op, name, lying.ctypes.data)
            kept.append(lying)
    return op


def aligned(size: int) -> NDArray[np.uint8]:
    """Memory that begins with a line of the cache: a vector that lies across two takes twice as long."""
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size]
