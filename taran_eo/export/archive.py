"""A graph as one file that a program on board loads at run time: tables for C, text for Python, a checksum over both.

``ARCHIVE.md`` specifies the file, ``taran_archive.c`` loads it without an operating system. A step of the tables says
no more than the C runtime cannot find out by itself: where weights lie, how wide a row is and which pixels meet which
weight follow from the size of the kernel and from the tensors that are read, so that no table can say it wrongly.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime import to_program
from taran_eo.c_runtime.packing import unpacked
from taran_eo.c_runtime.program import GROUP_BYTES, KINDS, OUTPUTS, Weights
from taran_eo.errors import CorruptDataError, GraphError, TaranError
from taran_eo.export.codes import CODE_BITS, numbers_of, packed_weights, unpack_codes
from taran_eo.formats import Format, integer_image, parse_format
from taran_eo.graph import Conv, Graph, sources_of
from taran_eo.graph.program import Arrays, from_program

MAGIC, VERSION = b"taran_eo", 1

MOST_CHANNELS, MOST_LEVELS, MOST_KERNEL, MOST_STEPS, MOST_FORMATS = 4096, 10, 15, 1024, 16
"""Of a graph that an archive holds: channels of a tensor, halvings of a tile, rows of a kernel, steps, and formats."""

_HEADER = struct.Struct("<8sII32sHHI")  # magic, version, bytes, digest, formats, steps, bytes of the text
_STEP = struct.Struct("<BBBBHBB")  # kind, lane, kernel, format, channels, sources, mantissa
_RANGE = struct.Struct("<ii")
_CHECKSUM = struct.Struct("<I")
_LOGITS = 4  # the lane of a step that makes no tensor
_WORDS = 255  # the format of weights that are no codes
_UNIFORM = 255  # the mantissa of a grid that is not a minifloat's


def pack_graph(graph: Graph) -> bytes:
    """Write an archive.

    Args:
        graph: A graph of integers.

    Raises:
        GraphError: An operation, a width or a size that the C runtime or the archive lacks; by name.
    """
    data = _written(graph)
    if _read(data).digest != graph.digest:
        raise GraphError(
            f"The graph {graph.name!r} holds numbers in other types than those of their formats",
            remedy="Hold weights in the narrowest type of their format's integers, and all else in int32",
        )
    return data


def unpack_graph(data: bytes) -> Graph:
    """Read an archive; the graph has the digest of the one that was written.

    Raises:
        CorruptDataError: No `pack_graph` of this version wrote these bytes, in whatever way they differ.
    """
    try:
        graph = _read(data)
        is_ours = _written(graph) == data
    except CorruptDataError:
        raise
    except (TaranError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _corrupt(f"describes no graph ({error})") from error
    if not is_ours:
        raise _corrupt("is not as this program writes it")
    return graph


# ---- writing ----


def _written(graph: Graph) -> bytes:
    _check(graph)
    program = to_program(graph, fold=False)
    if len(program.steps) > MOST_STEPS:
        raise _beyond(graph.output, f"takes {len(program.steps)} steps, more than the {MOST_STEPS} of an archive")
    formats: list[Format] = []
    steps = []
    for step in program.steps:
        if step.weights is not None:
            lane = _LOGITS if step.target is None else program.tensors[step.target].lane
            steps.append(_convolution(lane, step.weights, formats))
        elif step.source is not None:
            steps.append(_STEP.pack(KINDS.index(step.kind), 0, 0, 0, 0, 1, 0) + step.source.to_bytes(2, "little"))
        else:
            steps.append(_STEP.pack(KINDS.index(step.kind), program.tensors[0].lane, 0, 0, graph.bands, 0, 0))
    if len(formats) > MOST_FORMATS:
        raise _beyond(graph.output, f"needs {len(formats)} formats of weights, and an archive holds {MOST_FORMATS}")
    tables = b"".join(bytes([fmt.bits]) + numbers_of(fmt).astype("<i2").tobytes() for fmt in formats)
    text = graph.program()[0].encode()
    rest = tables + b"".join(steps) + text
    size = _HEADER.size + len(rest) + _CHECKSUM.size
    digest = bytes.fromhex(graph.digest)
    data = _HEADER.pack(MAGIC, VERSION, size, digest, len(formats), len(steps), len(text)) + rest
    return data + _CHECKSUM.pack(crc32(data))


def _check(graph: Graph) -> None:
    """Refuse what would not come back, and what a reader need not be ready for."""
    used = {graph.output, *(source for op in graph.ops for source in sources_of(op))}
    for tensor in graph.tensors.values():
        if tensor.name not in used:
            raise _beyond(tensor.name, "is read by nothing, and an archive holds what the logits depend on")
        if not 1 <= tensor.channels <= MOST_CHANNELS:
            raise _beyond(tensor.name, f"has {tensor.channels} channels, and an archive from 1 to {MOST_CHANNELS}")
        if tensor.level > MOST_LEVELS:
            raise _beyond(tensor.name, f"is halved {tensor.level} times, more than the {MOST_LEVELS} of an archive")
    for op in graph.ops:
        if isinstance(op, Conv) and op.kernel > MOST_KERNEL:
            raise _beyond(op.target, f"has a kernel of {op.kernel} rows, more than the {MOST_KERNEL} of an archive")


def _convolution(lane: int, weights: Weights, formats: list[Format]) -> bytes:
    (phase,) = weights.phases
    kernel = 1 - 2 * phase[0].col
    sources = [reads.tensor for reads in phase[::kernel]]
    fmt, codes = packed_weights(weights)
    if fmt is not None and fmt not in formats:
        formats.append(fmt)
    place = _WORDS if fmt is None else formats.index(fmt)
    mantissa = _UNIFORM if weights.mantissa < 0 else weights.mantissa
    used = slice(weights.channels)
    return b"".join(
        (
            _STEP.pack(KINDS.index("convolve"), lane, kernel, place, weights.channels, len(sources), mantissa),
            np.array(sources, "<u2").tobytes(),
            _RANGE.pack(weights.low, weights.high),
            weights.bias[used].astype("<i4").tobytes(),
            weights.multipliers[used].astype("<i4").tobytes(),
            weights.shifts[used].astype(np.uint8).tobytes(),
            codes.tobytes(),
        )
    )


# ---- reading ----


@dataclass(frozen=True)
class _Rows:
    """Of a tensor as it lies: bytes of a number, what stands for 0, channels with their padding and without."""

    lane: int
    zero: int
    lying: int
    channels: int


@dataclass(frozen=True, eq=False)
class _Convolution:
    """The numbers of a `Conv`, in the names of a graph's arrays."""

    weights: NDArray[np.int64]
    scaled: dict[str, NDArray[np.int32]]


class _Cursor:
    """What is still to read of the tables; nothing is made of bytes that are not there."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def array(self, kind: str, count: int) -> NDArray[Any]:
        """So many numbers."""
        size = np.dtype(kind).itemsize * count
        if size > len(self._left):
            raise _corrupt("ends before its tables do")
        taken, self._left = self._left[:size], self._left[size:]
        return np.frombuffer(taken, kind)

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        """The numbers of a structure."""
        return layout.unpack(self.array("u1", layout.size).tobytes())

    def rest(self) -> bytes:
        """All that is left."""
        return bytes(self._left)


def _read(data: bytes) -> Graph:
    text, convolutions = _tables(data)
    entries = [entry for entry in json.loads(text)["ops"] if entry["op"] == "conv"]
    arrays: Arrays = {}
    for entry, each in zip(entries, convolutions, strict=True):
        lane = integer_image(parse_format(entry["weights"])).lane
        arrays[f"{entry['target']}.weights"] = each.weights.astype(lane)
        arrays |= {f"{entry['target']}.{name}": array for name, array in each.scaled.items()}
    name, tensors, ops, ends = from_program(text, arrays)
    return Graph(name, tensors, ops, *ends)


def _tables(data: bytes) -> tuple[str, list[_Convolution]]:
    """The text, and the convolutions in their order."""
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise _corrupt(f"has only {len(data)} bytes")
    magic, version, size, _, formats, steps, text = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _corrupt("does not begin as an archive does")
    if version != VERSION:
        raise _corrupt(f"is of version {version}, and this program reads {VERSION}")
    if size != len(data):
        raise _corrupt(f"has {len(data)} bytes, not the {size} that it was written with")
    if crc32(data[: -_CHECKSUM.size]) != _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0]:
        raise _corrupt("does not match its checksum")
    cursor = _Cursor(data[_HEADER.size : -_CHECKSUM.size])
    numbers = []
    for _ in range(formats):
        (bits,) = cursor.array("u1", 1).tolist()
        numbers.append(cursor.array("<i2", 2 ** min(bits, CODE_BITS)))
    tensors: list[_Rows] = []
    convolutions: list[_Convolution] = []
    for _ in range(steps):
        kind, lane, kernel, place, channels, sources, _ = cursor.fields(_STEP)
        read = [tensors[source] for source in cursor.array("<u2", sources).tolist()]
        if kind == KINDS.index("load"):
            tensors.append(_Rows(lane, 0, -(-channels // GROUP_BYTES) * GROUP_BYTES, channels))
        elif kind == KINDS.index("convolve"):
            low, _ = cursor.fields(_RANGE)
            padded = -(-channels // OUTPUTS) * OUTPUTS
            values = numbers[place] if place != _WORDS else None
            convolutions.append(_convolution_at(cursor, read, kernel, channels, values, is_scaled=lane != _LOGITS))
            tensors.append(_Rows(lane, 128 if lane == 1 and low < 0 else 0, padded, channels))
        else:
            tensors.extend(read)
    rest = cursor.rest()
    if len(rest) != text:
        raise _corrupt(f"has a text of {len(rest)} bytes, not {text}")
    return rest.decode(), convolutions


def _convolution_at(
    cursor: _Cursor,
    read: Sequence[_Rows],
    kernel: int,
    channels: int,
    values: NDArray[np.int16] | None,
    *,
    is_scaled: bool,
) -> _Convolution:
    bias = cursor.array("<i4", channels).astype(np.int64)
    multipliers = cursor.array("<i4", channels).astype(np.int32)
    shifts = cursor.array("u1", channels).astype(np.int32)
    padded = -(-channels // OUTPUTS) * OUTPUTS
    count = kernel * kernel * sum(rows.lying for rows in read) * padded
    if values is None:
        numbers = cursor.array("<i2", count)
    else:
        bits = len(values).bit_length() - 1
        numbers = values[unpack_codes(cursor.array("u1", -(-count * bits // 8)), bits, count)]
    parts = [(rows.lying, rows.channels) for rows in read]
    weights = unpacked(numbers.astype(np.int64), read[0].lane, padded, kernel, parts)[:channels]
    zeros = np.repeat([rows.zero for rows in read], [rows.channels for rows in read])
    # Modulo 2**32, as it was written.
    bias = (bias + weights.sum(axis=(2, 3)) @ zeros).astype(np.uint32, casting="unsafe").view(np.int32)
    scales = {"multipliers": multipliers, "shifts": shifts} if is_scaled else {}
    return _Convolution(weights, {"bias": bias} | scales)


def _beyond(name: str, what: str) -> GraphError:
    return GraphError(f"{name!r} {what}", remedy="Export another form, or change the network", op=name)


def _corrupt(what: str) -> CorruptDataError:
    return CorruptDataError(f"The archive {what}", remedy="Fetch it again, or export it again; do not fly this one")
