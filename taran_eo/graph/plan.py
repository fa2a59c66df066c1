"""Where each tensor lies in memory while a tile runs: one arena, known before the first tile."""

from dataclasses import dataclass

from taran_eo.graph.graph import Graph
from taran_eo.graph.ops import Concat, Conv, FloatConv, sources_of

ALIGNMENT_BYTES = 64
"""A cache line; also enough for any vector load."""


@dataclass(frozen=True)
class Slot:
    """A tensor's place: bytes ``[offset, offset + size)`` during operations ``first`` to ``last`` inclusive."""

    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The arena of a graph for one tile size.

    Attributes:
        slots: Place and life of each tensor, by name.
        arena_bytes: Size of the arena.
        weight_bytes: Size of the weights and biases as the engines hold them.
    """

    slots: dict[str, Slot]
    arena_bytes: int
    weight_bytes: int


def plan(graph: Graph, rows: int, cols: int) -> MemoryPlan:
    """Place every tensor of a graph for tiles of rows x cols pixels.

    Greedy by size: the largest tensor first, each at the lowest offset that is free for the whole of its life
    (Pisarchyk and Lee, arXiv 2001.03288).
    """
    made = {graph.input: 0} | {op.target: step for step, op in enumerate(graph.ops)}
    used = made | {source: step for step, op in enumerate(graph.ops) for source in sources_of(op)}
    used[graph.output] = len(graph.ops) - 1
    slots: dict[str, Slot] = {}
    sizes = {name: _bytes(graph, name, rows, cols) for name in graph.tensors}
    for name in sorted(sizes, key=lambda name: (-sizes[name], made[name])):
        first, last, size = made[name], used[name], sizes[name]
        offset = 0
        for other in sorted(slots.values(), key=lambda slot: slot.offset):
            overlaps_in_time = other.first <= last and first <= other.last
            if overlaps_in_time and other.offset < offset + size and offset < other.offset + other.size:
                offset = other.offset + other.size
        slots[name] = Slot(offset, size, first, last)
    weights = sum(op.weights.nbytes + op.bias.nbytes for op in graph.ops if isinstance(op, Conv | FloatConv))
    return MemoryPlan(slots, max(slot.offset + slot.size for slot in slots.values()), weights)


@dataclass(frozen=True)
class Traffic:
    """What the activations of a tile move between memory and arithmetic.

    Each tensor is written once, and read once by every operation that reads it. A concatenation moves nothing; its
    reader reads what it joins.

    Attributes:
        total_bytes: All of it.
        skip_bytes: The part of the skip connections: what is read again of tensors that a concatenation takes from
            before the operations just done.
    """

    total_bytes: int
    skip_bytes: int


def traffic(graph: Graph, rows: int, cols: int) -> Traffic:
    """The traffic of activations for a tile of rows x cols pixels, and the part of it that skip connections have."""
    sizes = {name: _bytes(graph, name, rows, cols) for name in graph.tensors}
    made = {graph.input: -1} | {op.target: step for step, op in enumerate(graph.ops)}
    joined = {op.target for op in graph.ops if isinstance(op, Concat)}
    # A skip is what a concatenation joins to the newest of its sources.
    skips = [
        source
        for op in graph.ops
        if isinstance(op, Concat)
        for source in op.sources
        if source != max(op.sources, key=lambda name: made[name])
    ]
    written = sum(size for name, size in sizes.items() if name not in joined and name != graph.input)
    read = sum(sizes[source] for op in graph.ops if not isinstance(op, Concat) for source in sources_of(op))
    return Traffic(written + read, sum(sizes[name] for name in skips))


def _bytes(graph: Graph, name: str, rows: int, cols: int) -> int:
    tensor = graph.tensors[name]
    lane = 4 if name == graph.output else tensor.lane.itemsize
    size = tensor.channels * (rows >> tensor.level) * (cols >> tensor.level) * lane
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
