"""A graph as C99 sources that stand alone: the runtime, and the network as tables of constants.

Weights stay packed in the codes of their format and are unpacked, an operation at a time, into the arena. Where the
rows of each tensor lie is settled here, so that nothing on the target depends on what a tile shows but the numbers.
"""

from collections.abc import Iterable, Sequence
from ctypes import Array, Structure, sizeof
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import numpy as np
from numpy.typing import NDArray

from taran_eo.c_runtime import Program, Step, source_file, to_program
from taran_eo.c_runtime.binding import COp, CRing, CSegment, CTensor, CWindow, in_c, laid_out
from taran_eo.errors import ConfigError
from taran_eo.export.codes import WIDE_BITS, numbers_of, packed_weights
from taran_eo.formats import Format
from taran_eo.graph import Graph

STRIPES = (32, 16, 8, 4, 2, 1)
"""Rows of logits that are made at a time: the most that fit the memory; more are faster."""

_KINDS = {"load": "TARAN_LOAD", "convolve": "TARAN_CONV", "pool": "TARAN_POOL", "upsample": "TARAN_UPSAMPLE"}


@dataclass(frozen=True)
class Sources:
    """What was written.

    Attributes:
        stripe: Rows of logits that are made at a time.
        arena_bytes: Memory of the tensors, and of the weights of one operation.
        weight_bytes: Packed weights.
        table_bytes: All constants: weights, biases, scales, and the program.
    """

    stripe: int
    arena_bytes: int
    weight_bytes: int
    table_bytes: int


def write_c(graph: Graph, folder: Path, *, rows: int, cols: int, limit: int, memory: int | None = None) -> Sources:
    """Write the sources of a network for tiles of one size.

    Args:
        graph: A graph of integers.
        folder: Where to; exists.
        rows: Rows of a tile, a multiple of the graph's alignment.
        cols: Columns of a tile.
        limit: The logit from which a pixel is of the class.
        memory: Most bytes for the arena; None for what is fastest.

    Raises:
        GraphError: An operation or a width that the runtime lacks.
        ConfigError: The memory is too small; tells what would do.
        MissingExtraError: The native engine, which lays out memory, was not built.
    """
    program = to_program(graph, fold=False)
    layouts = {stripe: layout(graph, program, rows, cols, stripe) for stripe in STRIPES}
    fitting = [stripe for stripe in STRIPES if memory is None or layouts[stripe][1] <= memory]
    if not fitting:
        least = min(size for _, size in layouts.values())
        raise ConfigError(
            f"A tile of {rows} x {cols} pixels needs {least:,} bytes, more than the {memory:,} that there are",
            remedy="Allow more memory, or take smaller tiles or a narrower network",
            needed=least,
        )
    rings, arena = layouts[fitting[0]]
    tables = _Tables(graph, program)
    text = tables.text(rings, fitting[0])
    (folder / "model.c").write_text(text)
    (folder / "model.h").write_text(_header(graph, rows, cols, arena, sizeof(rings), limit))
    for name in ("taran.h", "taran.c"):
        copyfile(source_file(name), folder / name)
    return Sources(fitting[0], arena, tables.weight_bytes, tables.bytes)


def layout(graph: Graph, program: Program, rows: int, cols: int, stripe: int) -> tuple[Array[CRing], int]:
    """Where the rows of each tensor of a tile lie, and the bytes of the arena."""
    _, c = in_c(program)
    return laid_out(c, rows, cols, CWindow(0, 0, rows >> graph.level, cols >> graph.level), stripe)


def constants_of(graph: Graph, program: Program) -> tuple[int, int]:
    """Bytes of the packed weights of a program in C, and of all its constants where pointers take eight bytes."""
    tables = _Tables(graph, program)
    return tables.weight_bytes, tables.bytes


class _Tables:
    """The constants of a program, as text."""

    def __init__(self, graph: Graph, program: Program) -> None:
        self._name = f"{graph.name}, graph {graph.digest}"
        self._program = program
        self._lines: list[str] = []
        self._formats: dict[Format, str] = {}
        self.bytes = self.weight_bytes = 0
        segments: list[str] = []
        ops = [self._op(number, step, segments) for number, step in enumerate(program.steps)]
        tensors = [
            f"{{{rows.channels}, {rows.level}, {rows.lane}, {rows.zero}, {rows.margin}}}" for rows in program.tensors
        ]
        self._segments = len(segments)
        self._structures(CTensor, "taran_tensor", "tensors", tensors)
        self._structures(CSegment, "taran_segment", "segments", segments)
        self._structures(COp, "taran_op", "ops", ops)

    def text(self, rings: Array[CRing], stripe: int) -> str:
        """The whole of ``model.c``."""
        program = self._program
        counts = f"{len(program.tensors)}, {len(program.steps)}, {self._segments}, {program.level}, {program.lead}"
        places = ", ".join(
            f"{{{r.offset}, {r.row_bytes}, {r.rows}, {r.height}, {r.top}, {r.left}, {r.width}, 0, 0}}" for r in rings
        )
        return "\n".join(
            [
                f"/* {self._name}. Made by taran_eo; not to be changed by hand. */",
                '#include "model.h"',
                "",
                '#include "taran.h"',
                "",
                *self._lines,
                "",
                f"static const taran_program program = {{{counts}, {program.scratch_bytes}, tensors, ops, segments}};",
                f"static const taran_ring laid_out[] = {{{places}}};",
                _RUN.format(stripe=stripe, tensors=len(program.tensors)),
            ]
        )

    def _op(self, number: int, step: Step, segments: list[str]) -> str:
        source = -1 if step.source is None else step.source
        target = -1 if step.target is None else step.target
        start = f"{{.kind = {_KINDS[step.kind]}, .source = {source}, .target = {target}"
        weights = step.weights
        if weights is None:
            return f"{start}}}"
        (phase,) = weights.phases
        first = len(segments)
        segments += (
            f"{{{reads.tensor}, {int(reads.folded)}, {reads.row}, {reads.col}, {reads.groups}, {reads.weights}}}"
            for reads in phase
        )
        fmt, packed = packed_weights(weights)
        self.weight_bytes += len(packed)
        fields = {
            "channels": weights.channels,
            "padded": len(weights.bias),
            "phases": 1,
            "first": f"{{{first}, 0, 0, 0}}",
            "count": f"{{{len(phase)}, 0, 0, 0}}",
            "lane": weights.lane,
            "pairs_fit": int(weights.pairs_fit),
            "exact": weights.exact,
            "mantissa": weights.mantissa,
            "binades": weights.binades,
            "low": weights.low,
            "high": weights.high,
            "bias": self._array("int32_t", f"bias_{number}", weights.bias),
            "multipliers": self._array("int32_t", f"multipliers_{number}", weights.multipliers),
            "shifts": self._array("int32_t", f"shifts_{number}", weights.shifts),
            "codes": self._array("uint8_t", f"codes_{number}", packed),
            "values": "0" if fmt is None else self._values(fmt),
            "bits": WIDE_BITS if fmt is None else fmt.bits,
            "numbers": weights.packed.nbytes // weights.lane,
        }
        return f"{start}, {', '.join(f'.{name} = {value}' for name, value in fields.items())}}}"

    def _values(self, fmt: Format) -> str:
        """The integer of every code of a format."""
        if fmt not in self._formats:
            name = f"values_{fmt}".replace("-", "_")
            self._formats[fmt] = self._array("int16_t", name, numbers_of(fmt))
        return self._formats[fmt]

    def _array(self, kind: str, name: str, numbers: NDArray[np.integer]) -> str:
        self.bytes += len(numbers) * {"uint8_t": 1, "int8_t": 1, "int16_t": 2, "int32_t": 4}[kind]
        self._lines += [f"static const {kind} {name}[] = {{", *_wrapped(numbers.tolist()), "};"]
        return name

    def _structures(self, structure: type[Structure], kind: str, name: str, items: Sequence[str]) -> None:
        self.bytes += sizeof(structure) * len(items)
        self._lines += [f"static const {kind} {name}[] = {{", *(f"    {item}," for item in items), "};"]


def _wrapped(numbers: Iterable[int]) -> Iterable[str]:
    line = "   "
    for number in numbers:
        word = f" {number},"
        if len(line) + len(word) > 118:
            yield line
            line = "   "
        line += word
    yield line


def _header(graph: Graph, rows: int, cols: int, arena: int, rings: int, limit: int) -> str:
    return f"""/* {graph.name}, graph {graph.digest}. Made by taran_eo; not to be changed by hand. */
#ifndef TARAN_MODEL_H
#define TARAN_MODEL_H

#include <stdint.h>

#define TARAN_BANDS {graph.bands}
#define TARAN_ROWS {rows}
#define TARAN_COLS {cols}
#define TARAN_CLASSES {graph.classes}
#define TARAN_LOGIT_ROWS {rows >> graph.level}
#define TARAN_LOGIT_COLS {cols >> graph.level}
#define TARAN_LIMIT ({limit}) /* logit from which a pixel is of the class */
#define TARAN_ARENA_BYTES {arena} /* of static memory; {rings} bytes more tell where its rows lie */

#ifdef __cplusplus
extern "C" {{
#endif

/* Pixels [TARAN_BANDS][TARAN_ROWS][TARAN_COLS] to logits [TARAN_CLASSES][TARAN_LOGIT_ROWS][TARAN_LOGIT_COLS]; not to be
 * called twice at the same time. */
void taran_run(const uint8_t *pixels, int32_t *logits);

/* Logits to labels: 1 where a logit of the first plane is at least TARAN_LIMIT, else 0. */
void taran_mask(const int32_t *logits, uint8_t *labels);

#ifdef __cplusplus
}}
#endif

#endif
"""


_RUN = """
#ifndef TARAN_KERNELS
#define TARAN_KERNELS taran_portable
#endif
extern const taran_kernels TARAN_KERNELS;

/* Words, as bytes may lie in them but not they in bytes. */
static int16_t arena[(TARAN_ARENA_BYTES + 1) / 2];
static taran_ring rings[{tensors}];

void taran_run(const uint8_t *pixels, int32_t *logits)
{{
    taran_tile tile = {{pixels, (int64_t)TARAN_ROWS * TARAN_COLS, TARAN_COLS, 1, TARAN_BANDS,
                       {{0, 0, TARAN_LOGIT_ROWS, TARAN_LOGIT_COLS}}, logits}};
    /* Every time, so that what radiation turned in them is right again. */
    for (int32_t i = 0; i < {tensors}; i++)
        rings[i] = laid_out[i];
    taran_prepare(&program, rings, (uint8_t *)arena);
    taran_compute(&program, rings, (uint8_t *)arena, {stripe}, &TARAN_KERNELS, 0, &tile);
}}

void taran_mask(const int32_t *logits, uint8_t *labels)
{{
    for (int32_t i = 0; i < TARAN_LOGIT_ROWS * TARAN_LOGIT_COLS; i++)
        labels[i] = logits[i] >= TARAN_LIMIT;
}}
"""
