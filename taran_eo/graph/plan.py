"""Where each tensor lies in memory while a tile runs: one arena, known before the first tile."""

from dataclasses import dataclass

from taran_eo.graph.graph import Graph
from taran_eo.graph.ops import Conv, FloatConv, sources_of

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


def _bytes(graph: Graph, name: str, rows: int, cols: int) -> int:
    tensor = graph.tensors[name]
    lane = 4 if name == graph.output else tensor.lane.itemsize
    size = tensor.channels * (rows >> tensor.level) * (cols >> tensor.level) * lane
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
