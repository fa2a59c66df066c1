"""Whether a model fits a target: its bytes and multiplications, and what would help where it does not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from taran_eo.c_runtime import Program, to_program
from taran_eo.config import Settings, load_json
from taran_eo.export.c_sources import STRIPES, constants_of, layout
from taran_eo.graph import Graph, check_size, plan
from taran_eo.target import Target, deploy

CODE_BYTES = 24 * 2**10
"""Room for the program itself; a test holds it to that where it is counted."""

_SMALLER = (512, 384, 256, 192, 128, 96, 64, 48, 32, 16)


class Count(Settings):
    """Instructions of one tile, as counted.

    Attributes:
        target: The target.
        model: Name of the model.
        digest: Of its graph.
        lane: Bytes of a factor: 1, or 2 where any takes two.
        kernels: Which kernels ran.
        macs: Multiplications of the tile.
        stripe: Rows of logits that were made at a time.
        instructions: Instructions of the tile.
        compiler: What built it.
        qemu: What ran it.
    """

    target: str
    model: str
    digest: str
    lane: Literal[1, 2]
    kernels: str
    macs: int
    stripe: int
    instructions: int
    compiler: str
    qemu: str


class Counts(Settings):
    """``deploy/instructions.json``: what was counted, on tiles of ``rows`` x ``cols``."""

    what: str
    rows: int
    cols: int
    counts: tuple[Count, ...]


@dataclass(frozen=True)
class Fit:
    """What a model takes on a target.

    Attributes:
        rows: Rows of a tile.
        cols: Columns of a tile.
        weight_bytes: Weights, packed in the codes of their format.
        constant_bytes: All constants, weights among them.
        whole_bytes: Peak of the activations where every tensor is held whole.
        arena_bytes: The arena of C, where tensors are held by rows.
        stripe: Rows of logits that are made at a time with this arena.
        exchange_bytes: The pixels of a tile, and its logits.
        macs: Multiplications of a tile.
        instructions: Instructions of a tile; None where none were counted on the target.
        counted: Whether this very tile was counted; else it is as many a multiplication as in the nearest count.
        constants_in: Memory that holds the constants and the code.
        arena_in: Memory that holds the arena, pixels and logits.
        short_bytes: What is missing there, in all; 0 if it fits, None where the target has no figures.
        exact_pixels: Pixels of a tile whose logits do not depend on where in a scene it was cut.
    """

    rows: int
    cols: int
    weight_bytes: int
    constant_bytes: int
    whole_bytes: int
    arena_bytes: int
    stripe: int
    exchange_bytes: int
    macs: int
    instructions: int | None
    counted: bool
    constants_in: str
    arena_in: str
    short_bytes: int | None
    exact_pixels: int


def fit(graph: Graph, target: Target, rows: int, cols: int) -> Fit:
    """Place a model on a target: with as many rows at a time as its memories hold.

    Args:
        graph: A graph of integers.
        target: The target.
        rows: Rows of a tile, a multiple of the graph's alignment.
        cols: Columns of a tile.

    Raises:
        GraphError: An operation or a width that the runtime lacks, or a size that the graph does not take.
        MissingExtraError: The native engine, which lays out memory, was not built.
    """
    check_size(graph, rows, cols)
    program = to_program(graph, fold=False)
    weights, constants = constants_of(graph, program)
    exchange = graph.bands * rows * cols + 4 * graph.classes * (rows >> graph.level) * (cols >> graph.level)
    for stripe in STRIPES:
        _, arena = layout(graph, program, rows, cols, stripe)
        constants_in, arena_in, short = _placed(target, constants + CODE_BYTES, arena + exchange)
        if not short:
            break
    instructions, counted = _instructions(graph, program, target, rows, cols, stripe)
    return Fit(
        rows=rows,
        cols=cols,
        weight_bytes=weights,
        constant_bytes=constants,
        whole_bytes=plan(graph, rows, cols).arena_bytes,
        arena_bytes=arena,
        stripe=stripe,
        exchange_bytes=exchange,
        macs=graph.macs(rows, cols),
        instructions=instructions,
        counted=counted,
        constants_in=constants_in,
        arena_in=arena_in,
        short_bytes=short,
        exact_pixels=max(0, rows - 2 * graph.halo) * max(0, cols - 2 * graph.halo),
    )


def lacking(target: Target, found: Fit, arena: int) -> int | None:
    """What the memories of a target lack for an arena of another size; see `Fit.short_bytes`."""
    return _placed(target, found.constant_bytes + CODE_BYTES, arena + found.exchange_bytes)[2]


def remedies(graph: Graph, target: Target, found: Fit) -> Iterator[str]:
    """What would help a model that does not fit: sentences, the least change first."""
    for side in _SMALLER:
        if side < max(found.rows, found.cols) and side % graph.alignment == 0:
            smaller = fit(graph, target, side, side)
            if smaller.short_bytes == 0:
                yield (
                    f"Tiles of {side} x {side} fit, with an arena of {smaller.arena_bytes:,} bytes; logits of "
                    f"{smaller.exact_pixels or 'none'} of their pixels do not depend on where a tile is cut"
                )
                break
    # Activations grow with the channels, and weights with their square.
    yield (
        f"A network of half the channels, as Thin U-Net 16 is of 32, takes about {found.constant_bytes // 4:,} bytes "
        f"of constants and {found.arena_bytes // 2:,} of arena"
    )
    levels = max(tensor.level for tensor in graph.tensors.values())
    if levels > 1:
        rings, arena = layout(graph, to_program(graph, fold=False), found.rows, found.cols, found.stripe)
        rows, size = max(((ring.rows, ring.rows * ring.row_bytes) for ring in rings), key=lambda each: each[1])
        yield (
            f"Fewer levels than {levels}: the tensor that takes most, {size / arena:.0%} of the arena, holds {rows} "
            "rows until the deepest level has seen them"
        )


def _placed(target: Target, constants: int, arena: int) -> tuple[str, str, int | None]:
    """The memories for constants and arena in which least is missing, and how many bytes are."""
    found = [
        (
            max(0, constants + arena - first.bytes)
            if first_name == second_name
            else max(0, constants - first.bytes) + max(0, arena - second.bytes),
            # The smaller memories are the faster ones.
            first.bytes + second.bytes,
            first_name,
            second_name,
        )
        for first_name, first in target.memories.items()
        if "constants" in first.holds
        for second_name, second in target.memories.items()
        if "arena" in second.holds
    ]
    if not found:
        return "", "", None
    short, _, constants_in, arena_in = min(found)
    return constants_in, arena_in, short


def _instructions(
    graph: Graph, program: Program, target: Target, rows: int, cols: int, stripe: int
) -> tuple[int | None, bool]:
    counts = load_json(deploy() / "instructions.json", Counts)
    lane = max(step.weights.lane for step in program.steps if step.weights is not None)
    here = [count for count in counts.counts if count.target == target.name and count.lane == lane]
    for count in here:
        if (count.digest, counts.rows, counts.cols, count.stripe) == (graph.digest, rows, cols, stripe):
            return count.instructions, True
    if not here:
        return None, False
    nearest = min(here, key=lambda count: abs(math.log(count.macs / graph.macs(counts.rows, counts.cols))))
    return round(nearest.instructions * graph.macs(rows, cols) / nearest.macs), False
