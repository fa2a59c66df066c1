"""The narrow waist: one frozen program, checked when it is made and trusted from then on."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import assert_never

import numpy as np

from taran_eo.errors import GraphError
from taran_eo.formats import Format, Integer, MiniFloat, from_image, integer_image
from taran_eo.graph.ops import FLOAT32, Concat, Conv, Float32, FloatConv, MaxPool, Op, Tensor, Upsample, sources_of
from taran_eo.graph.program import Arrays, digest_of, to_program
from taran_eo.graph.requantize import EXACT_BITS, LARGEST_SHIFT, MULTIPLIER_BITS

INT32 = 2**31 - 1


@dataclass(frozen=True)
class ConvFormats:
    """The formats of a convolution, which may differ from one to the next.

    Attributes:
        name: That of what it makes.
        weights: Format of its weights.
        reads: Format of what it reads.
        count: Weights.
    """

    name: str
    weights: Format | Float32
    reads: Format | Float32
    count: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A straight list of operations in static single assignment.

    Raw integer pixels go in, int32 logits come out, and every tensor between has a concrete number format.
    It is exact in integers unless it holds a `FloatConv`.
    It says nothing of a tile's size: any rows and columns that are multiples of `alignment` will do.

    Attributes:
        name: Name of the network.
        tensors: Every tensor, by name.
        ops: The operations, in the order in which they run.
        input: Name of the tensor that the pixels go into.
        output: Name of the tensor that holds the logits.

    Raises:
        GraphError: The program is not well formed, or not exact in int32; says which operation and why.
    """

    name: str
    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    input: str
    output: str

    def __post_init__(self) -> None:
        defined = {self.input}
        for op in self.ops:
            for source in sources_of(op):
                if source not in defined:
                    raise _fault(op, f"reads {source!r}, which nothing before it makes")
            if op.target in defined or op.target not in self.tensors:
                raise _fault(op, f"writes {op.target!r}, which is written already or not declared")
            defined.add(op.target)
            _check(op, [self.tensors[source] for source in sources_of(op)], self.tensors[op.target])
        if self.output not in defined or defined != set(self.tensors):
            unused = sorted(set(self.tensors) - defined)
            raise GraphError(
                f"The graph {self.name!r} does not make its output {self.output!r} or declares {unused} in vain",
                remedy="Lower the network again; the file may come from another version",
            )

    def program(self) -> tuple[str, Arrays]:
        """The graph as canonical JSON and named arrays."""
        return to_program(self.name, self.tensors.values(), self.ops, (self.input, self.output))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the program and all its numbers, in hexadecimal: the identity of a graph."""
        return digest_of(*self.program())

    @property
    def exact(self) -> bool:
        """Whether every engine gives the same logits, bit for bit: there is no float32 in it."""
        return not any(isinstance(op, FloatConv) for op in self.ops)

    @property
    def bands(self) -> int:
        """Channels of the pixels."""
        return self.tensors[self.input].channels

    @property
    def classes(self) -> int:
        """Channels of the logits."""
        return self.tensors[self.output].channels

    @property
    def level(self) -> int:
        """Of the logits: one stands for ``2**level`` rows and columns of pixels."""
        return self.tensors[self.output].level

    @property
    def logit_scale(self) -> float:
        """The real value of one unit of the logits."""
        return self.tensors[self.output].step

    @property
    def alignment(self) -> int:
        """Rows and columns of a tile, and its origin in the scene, must be multiples of this."""
        return 1 << max(tensor.level for tensor in self.tensors.values())

    @cached_property
    def reach(self) -> int:
        """How many pixels away a pixel can still change a logit."""
        furthest = 0
        for logit in range(self.alignment >> self.level):
            low, high = self.spans(logit, logit + 1)[self.input]
            furthest = max(furthest, (logit << self.level) - low, high - (logit + 1 << self.level))
        return furthest

    def spans(self, first: int, stop: int) -> dict[str, tuple[int, int]]:
        """The rows ``[low, high)`` of each tensor that the rows ``[first, stop)`` of the logits depend on.

        So it is with columns. Rows beyond a tile are among them, and tensors that no logit depends on are not.
        """
        needed = {self.output: (first, stop)}
        for op in reversed(self.ops):
            if op.target not in needed:
                continue
            low, high = needed[op.target]
            match op:
                case Conv() | FloatConv():
                    low, high = low - op.kernel // 2, high + op.kernel // 2
                case MaxPool():
                    low, high = 2 * low, 2 * high
                case Upsample():
                    low, high = low // 2, -(-high // 2)
                case Concat():
                    pass
                case _:
                    assert_never(op)
            for source in sources_of(op):
                before = needed.get(source, (low, high))
                needed[source] = min(before[0], low), max(before[1], high)
        return needed

    @property
    def halo(self) -> int:
        """The margin around a tile that makes its logits independent of the tiling: `reach`, aligned."""
        return -(-self.reach // self.alignment) * self.alignment

    @property
    def weight_formats(self) -> tuple[str, ...]:
        """Names of the formats of the weights, sorted."""
        return tuple(sorted({str(op.weight_format) for op in self._convolutions}))

    @property
    def activation_formats(self) -> tuple[str, ...]:
        """Names of the formats between convolutions, sorted."""
        between = (op.target for op in self._convolutions if op.target != self.output)
        return tuple(sorted({str(self.tensors[target].format) for target in between}))

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(op.weights.size + op.bias.size for op in self._convolutions)

    @property
    def widths(self) -> tuple[ConvFormats, ...]:
        """The formats of each convolution, in order."""
        return tuple(
            ConvFormats(op.target, op.weight_format, self.tensors[op.source].format, op.weights.size)
            for op in self._convolutions
        )

    def macs(self, rows: int, cols: int) -> int:
        """Multiplications of a tile of rows x cols pixels."""
        return self.macs_of(rows, cols, (0, 0, rows, cols))

    def macs_of(self, rows: int, cols: int, wanted: tuple[int, int, int, int]) -> int:
        """Multiplications behind some of a tile's logits, if nothing is computed that they do not depend on.

        Args:
            rows: Rows of the tile, in pixels.
            cols: Columns of the tile.
            wanted: First row, first column, rows and columns of the logits, in pixels.
        """
        row, col, height, width = (each >> self.level for each in wanted)
        down, across = self.spans(row, row + height), self.spans(col, col + width)

        def length(span: tuple[int, int], whole: int) -> int:
            return min(span[1], whole) - max(span[0], 0)

        return sum(
            op.weights.size
            * length(down[op.target], rows >> self.tensors[op.target].level)
            * length(across[op.target], cols >> self.tensors[op.target].level)
            for op in self._convolutions
            if op.target in down
        )

    @property
    def _convolutions(self) -> tuple[Conv | FloatConv, ...]:
        return tuple(op for op in self.ops if isinstance(op, Conv | FloatConv))


def logit_at(probability: float, logit_scale: float) -> int:
    """The smallest integer logit that is no less than a probability, above 0 and below 1.

    Args:
        probability: Of the logistic function.
        logit_scale: Real logit of the integer logit 1.
    """
    return math.ceil(math.log(probability / (1.0 - probability)) / logit_scale)


def worst_accumulator(op: Conv, source: Tensor) -> int:
    """The largest magnitude that an accumulator of this convolution can reach, whatever the input."""
    image = integer_image(source.integer_format)
    per_channel = np.abs(op.weights.astype(np.int64)).reshape(len(op.weights), -1).sum(axis=1)
    reached = per_channel * image.magnitude + np.abs(op.bias.astype(np.int64))
    return int(reached.max())


def _check(op: Op, sources: list[Tensor], target: Tensor) -> None:
    source = sources[0]
    match op:
        case Conv():
            _check_shapes(op, source, target)
            _check_integers(op, source, target)
        case FloatConv():
            _check_shapes(op, source, target)
            _check_floats(op, source, target)
        case MaxPool() | Upsample():
            level = source.level + (1 if isinstance(op, MaxPool) else -1)
            if target != Tensor(target.name, source.channels, level, source.format, source.scaling):
                raise _fault(op, "changes more than the size of its input")
        case Concat():
            if any((t.format, t.scaling, t.level) != (target.format, target.scaling, target.level) for t in sources):
                raise _fault(op, "joins tensors of different formats, scales or sizes; all must share one")
            if sum(t.channels for t in sources) != target.channels:
                raise _fault(op, f"makes {target.channels} channels of {[t.channels for t in sources]}")
        case _:
            assert_never(op)


def _check_shapes(op: Conv | FloatConv, source: Tensor, target: Tensor) -> None:
    shape = (target.channels, source.channels, op.kernel, op.kernel)
    if op.weights.shape != shape or op.kernel % 2 == 0 or op.bias.shape != (target.channels,):
        raise _fault(op, f"has weights {op.weights.shape} and bias {op.bias.shape}, not {shape} with an odd kernel")
    if source.level != target.level:
        raise _fault(op, "changes the size of its input")


def _check_floats(op: FloatConv, source: Tensor, target: Tensor) -> None:
    if any(each.dtype != np.float32 or not np.isfinite(each).all() for each in (op.weights, op.bias)):
        raise _fault(op, "has weights or biases that are no finite float32 numbers")
    if source.step != 1:
        raise _fault(op, f"reads numbers in steps of {source.step:g}; such a scale belongs into its weights")
    if (target.format, target.step) != (FLOAT32, 1) and target.format != Integer(32):
        raise _fault(op, f"makes {target.format} in steps of {target.step:g}, and not float32 of scale 1 or int32")


def _check_integers(op: Conv, source: Tensor, target: Tensor) -> None:
    from_image(op.weights, op.weight_format)  # raises where a weight is no value of its format
    worst = worst_accumulator(op, source)
    if worst > INT32:
        raise _fault(op, f"can reach {worst} in its accumulator, beyond int32")
    if op.requantize is None:
        if target.format != Integer(32):
            raise _fault(op, f"has no requantization, yet its target is {target.format} and not int32")
        return
    multipliers, shifts = op.requantize.multipliers.astype(np.int64), op.requantize.shifts
    if multipliers.shape != (target.channels,) or shifts.shape != (target.channels,):
        raise _fault(op, "needs a multiplier and a shift for each channel")
    if multipliers.min() < 1 or multipliers.max() >= 1 << MULTIPLIER_BITS:
        raise _fault(op, f"has multipliers outside 1 to 2**{MULTIPLIER_BITS} - 1")
    if shifts.min() < 0 or shifts.max() > LARGEST_SHIFT:
        raise _fault(op, f"has shifts outside 0 to {LARGEST_SHIFT}")
    if worst * int(multipliers.max()) >= 1 << EXACT_BITS:
        raise _fault(op, f"can reach {worst} times {multipliers.max()}, beyond 2**{EXACT_BITS}")
    fmt = target.integer_format
    if isinstance(fmt, MiniFloat) and not (fmt.mantissa_bits and fmt.subnormals):
        raise _fault(op, f"rounds to {fmt}; the integer rule needs subnormals and a mantissa bit")


def _fault(op: Op, what: str) -> GraphError:
    return GraphError(
        f"{type(op).__name__} {op.target!r} {what}",
        remedy="Lower the network again, with formats and scales that fit",
        op=op.target,
    )
