"""Rounding to a format inside a float network, with a straight-through gradient.

Forward, every finite value is replaced by the nearest of the scaled format, as `taran_eo.formats` defines it, but zero
has no sign. Infinity saturates, also where the format has one; NaN stays NaN, so that a run that diverges shows it (in
a block it makes its neighbours zero). Backward, the gradient passes where the value lay inside the format's
range and stops where it saturated (Bengio et al., arXiv 1308.3432); a scale learns by its effect on both (Esser et
al., arXiv 1902.08153).

One kernel serves every format: adding ``1.5 * 2**(binade + 23 - m)`` in float32 leaves m mantissa bits, rounded to
nearest even, and taking it away leaves the result; an integer is a float whose lowest binade is its highest. Eager it
is six passes over memory. `compile_kernels` makes it one, at the speed of a copy, with the same result in every bit;
only the sum that is the gradient of a learned scale is added up in another order.

Example:
    >>> from taran_eo.formats import parse_format
    >>> fake_quantize(torch.tensor([0.3, -9.0, 2.25]), parse_format("e2m1"))
    tensor([ 0.5000, -6.0000,  2.0000])
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar, assert_never, cast

import torch
from torch import Tensor

from taran_eo.errors import FormatError
from taran_eo.formats import BlockFormat, Format, Integer, MiniFloat

_EXPONENT_FIELD = 0x7F800000
_FLOAT32_MANTISSA = 23
_FLOAT32_BIAS = 127
_HALF = 0x400000
_SMALLEST_EXPONENT = -126


_Result = TypeVar("_Result")


class _Grid(NamedTuple):
    """A scaled format as the kernel takes it: tensors without dimensions, so that one compiled kernel serves all.

    As Python integers they would be symbols of the compiler, whose view from int32 to float32 then converts the value
    instead of keeping the bits (torch 2.13).
    """

    lowest: Tensor
    below: Tensor
    largest: Tensor
    binade: Tensor
    adder: Tensor


@cache
def _grid(fmt: Format, exponent: int) -> _Grid:
    match fmt:
        case Integer():
            binade = max(abs(fmt.lowest_integer), fmt.highest_integer).bit_length() + fmt.step_exponent + exponent
            mantissa = binade - fmt.step_exponent - exponent
        case MiniFloat():
            if not (fmt.mantissa_bits and fmt.subnormals):
                raise FormatError(
                    f"{fmt} has no mantissa bits or no subnormals, which fake quantization needs",
                    remedy="Take a split with at least one mantissa bit",
                )
            binade, mantissa = 1 - fmt.exponent_bias + exponent, fmt.mantissa_bits
        case _:
            assert_never(fmt)
    scale = 2.0**exponent
    highest = math.frexp(fmt.largest * scale)[1] - 1 + _FLOAT32_MANTISSA - mantissa
    if mantissa > _FLOAT32_MANTISSA - 2 or binade - mantissa < _SMALLEST_EXPONENT or highest > _FLOAT32_BIAS:
        raise FormatError(
            f"{fmt} times 2**{exponent} reaches beyond what float32 can round to it",
            remedy="Take fewer bits, or a scale nearer to one",
        )
    lowest = torch.tensor(fmt.lowest * scale)
    # At zero an unsigned format acts as a ReLU, whose gradient there is zero; a lowest value below zero is inside.
    below = torch.nextafter(lowest, torch.tensor(-math.inf)) if fmt.lowest < 0 else lowest
    return _Grid(
        lowest,
        below,
        torch.tensor(fmt.largest * scale),
        torch.tensor((binade + _FLOAT32_BIAS) << _FLOAT32_MANTISSA, dtype=torch.int32),
        torch.tensor(((_FLOAT32_MANTISSA - mantissa) << _FLOAT32_MANTISSA) | _HALF, dtype=torch.int32),
    )


def _round(values: Tensor, grid: _Grid) -> Tensor:
    clipped = torch.minimum(torch.maximum(values, grid.lowest), grid.largest)
    bits = torch.maximum(clipped.view(torch.int32).bitwise_and(_EXPONENT_FIELD), grid.binade)
    adder = (bits + grid.adder).view(torch.float32)
    return (clipped + adder) - adder


def _round_as_they_are(values: Tensor, grid: _Grid) -> Tensor:
    return _round(values.float(), grid).to(values.dtype)


def _backward(gradient: Tensor, values: Tensor, grid: _Grid) -> Tensor:
    full = values.float()
    return torch.where((full > grid.below) & (full <= grid.largest), gradient, 0.0)


def _backward_learned(gradient: Tensor, values: Tensor, result: Tensor, grid: _Grid) -> tuple[Tensor, Tensor]:
    """The gradient of the values, and that of the scale times the scale: `_moved` summed."""
    passed = _backward(gradient, values, grid)
    return passed, _moved(gradient, values, result, passed).sum()


def _moved(gradient: Tensor, values: Tensor, result: Tensor, passed: Tensor) -> Tensor:
    """What a larger scale changes: a result by its distance to the value, and where it saturates by itself."""
    return result.float() * gradient.float() - values.float() * passed.float()


def _round_scaled(values: Tensor, scale: Tensor, grid: _Grid) -> Tensor:
    return (_round(values.float() / scale, grid) * scale).to(values.dtype)


def _backward_scaled(gradient: Tensor, values: Tensor, scale: Tensor, grid: _Grid) -> Tensor:
    return _backward(gradient, values.float() / scale, grid)


def _round_uniform(values: Tensor, scale: Tensor, grid: _Grid) -> Tensor:
    """`_round_scaled` for integers, in a third of the time."""
    clipped = torch.minimum(torch.maximum(values.float() / scale, grid.lowest), grid.largest)
    return (clipped.round() * scale).to(values.dtype)


def _learned_scaled(gradient: Tensor, values: Tensor, scale: Tensor, grid: _Grid) -> tuple[Tensor, Tensor]:
    numbers = values.float() / scale
    passed = _backward(gradient, numbers, grid)
    return passed, _moved(gradient, numbers, _round(numbers, grid), passed).sum()


def _clipped_scaled(gradient: Tensor, values: Tensor, scale: Tensor, grid: _Grid) -> tuple[Tensor, Tensor]:
    """The gradient of the values, and that of the scale as far as it comes from values above the largest."""
    numbers = values.float() / scale
    above = torch.where(numbers > grid.largest, gradient.float(), 0.0).sum() * grid.largest
    return _backward(gradient, numbers, grid), above


def _round_blocks(blocks: Tensor, grid: _Grid, binade: Tensor) -> Tensor:
    """Round ``[n, size]``, each row by the scale of its largest magnitude; `binade` is that of the largest element."""
    full = blocks.float()
    # The binade of the largest magnitude, straight from its exponent field; zeros and subnormals have the lowest.
    field = full.abs().amax(dim=1, keepdim=True).view(torch.int32) >> _FLOAT32_MANTISSA
    scale = ((field - binade).clamp(1, 2 * _FLOAT32_BIAS) << _FLOAT32_MANTISSA).view(torch.float32)
    return (_round(full / scale, grid) * scale).to(blocks.dtype)


class _Kernels:
    """What runs on a flat tensor: eager functions, until `compile_kernels` replaces them."""

    forward: Callable[[Tensor, _Grid], Tensor] = staticmethod(_round_as_they_are)
    backward: Callable[[Tensor, Tensor, _Grid], Tensor] = staticmethod(_backward)
    learned: Callable[[Tensor, Tensor, Tensor, _Grid], tuple[Tensor, Tensor]] = staticmethod(_backward_learned)
    blocks: Callable[[Tensor, _Grid, Tensor], Tensor] = staticmethod(_round_blocks)
    scaled: Callable[[Tensor, Tensor, _Grid], Tensor] = staticmethod(_round_scaled)
    scaled_backward: Callable[[Tensor, Tensor, Tensor, _Grid], Tensor] = staticmethod(_backward_scaled)
    scaled_learned: Callable[[Tensor, Tensor, Tensor, _Grid], tuple[Tensor, Tensor]] = staticmethod(_learned_scaled)
    scaled_clipped: Callable[[Tensor, Tensor, Tensor, _Grid], tuple[Tensor, Tensor]] = staticmethod(_clipped_scaled)
    uniform: Callable[[Tensor, Tensor, _Grid], Tensor] = staticmethod(_round_uniform)


def _alike(kernel: Callable[..., _Result]) -> Callable[..., _Result]:
    """A compiled kernel that sees nothing but dense tensors, without gradient, autocast or base.

    What differs in any of these is compiled anew, and after the eighth time runs eager, without a word.
    """

    def run(*tensors: Tensor | _Grid) -> _Result:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return kernel(*(each.detach() if isinstance(each, Tensor) else each for each in tensors))

    return run


def compile_kernels() -> bool:
    """Compile the kernels for the rest of the process: every later call runs at the speed of a copy.

    Takes some ten seconds, and longer the first time on a machine, as the compiler keeps its results.

    Returns:
        Whether it was possible; without a C++ compiler everything stays as it is.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    forward = _alike(torch.compile(_round_as_they_are, dynamic=True))
    backward = _alike(torch.compile(_backward, dynamic=True))
    learned = _alike(torch.compile(_backward_learned, dynamic=True))
    blocks = _alike(torch.compile(_round_blocks))
    scaled = _alike(torch.compile(_round_scaled, dynamic=True))
    scaled_backward = _alike(torch.compile(_backward_scaled, dynamic=True))
    scaled_learned = _alike(torch.compile(_learned_scaled, dynamic=True))
    scaled_clipped = _alike(torch.compile(_clipped_scaled, dynamic=True))
    uniform = _alike(torch.compile(_round_uniform, dynamic=True))
    grid, one = _grid(Integer(8), 0), torch.tensor(1.0)
    try:
        for probe in (torch.ones(1024), torch.ones(1024, dtype=torch.bfloat16)):
            backward(forward(probe, grid), probe, grid)
            learned(probe, probe, probe, grid)
            scaled_backward(scaled(probe, one, grid), probe, one, grid)
            scaled_learned(uniform(probe, one, grid), probe, one, grid)
            scaled_clipped(probe, probe, one, grid)
            for rows in (16, 32):  # a second size makes the number of rows a symbol, once and for all
                blocks(probe[: 32 * rows].view(rows, 32), grid, torch.tensor(0, dtype=torch.int32))
    except TorchDynamoException:  # whatever the compiler itself says, no compiler among it
        return False
    _Kernels.forward, _Kernels.backward = staticmethod(forward), staticmethod(backward)
    _Kernels.learned, _Kernels.blocks = staticmethod(learned), staticmethod(blocks)
    _Kernels.scaled, _Kernels.scaled_backward = staticmethod(scaled), staticmethod(scaled_backward)
    _Kernels.scaled_learned, _Kernels.scaled_clipped = staticmethod(scaled_learned), staticmethod(scaled_clipped)
    _Kernels.uniform = staticmethod(uniform)
    return True


def _order(values: Tensor) -> torch.memory_format:
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not values.is_contiguous() else torch.contiguous_format


def _flat(values: Tensor) -> Tensor:
    """The elements in the order of memory, without a copy where they are dense."""
    ordered = values.permute(0, 2, 3, 1) if _order(values) is torch.channels_last else values
    return ordered.reshape(-1)


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_flat`."""
    if _order(like) is torch.channels_last:
        outer, inner, rows, cols = like.shape
        return flat.view(outer, rows, cols, inner).permute(0, 3, 1, 2)
    return flat.view(like.shape)


def _known(values: Tensor) -> Tensor:
    if values.dtype not in (torch.float32, torch.bfloat16):
        raise FormatError(
            f"Values of {values.dtype} would be rounded twice, to float32 before the format",
            remedy="Give float32 or bfloat16, or take taran_eo.formats, which rounds binary64",
        )
    return values


def round_to(values: Tensor, fmt: Format, exponent: int = 0) -> Tensor:
    """Round float32 values to a format scaled by a power of two, exactly, ties to even.

    The sign of a value that becomes zero is lost; as an integer image zero has none.

    Args:
        values: ``float32[...]``.
        fmt: The format, with at least one mantissa bit and subnormals if it is a minifloat.
        exponent: Its scale is ``2**exponent``.

    Returns:
        ``float32[...]`` of the same memory layout.

    Raises:
        FormatError: A minifloat without mantissa bits or without subnormals, a scale beyond float32, or values of
            another type.
    """
    return _shaped(_Kernels.forward(_flat(_known(values)), _grid(fmt, exponent)), values)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, fmt: Format, scale: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        power = _exponent(scale)
        grid = _grid(fmt, power or 0)
        numbers = values if power is not None else values.float() / scale
        result = _shaped(_Kernels.forward(_flat(numbers), grid), numbers)
        if power is None:
            result = (result * scale).to(values.dtype)
        ctx.grid, ctx.undivided = grid, power is not None
        # The result kept in any other way would keep itself alive: it knows this context.
        ctx.save_for_backward(numbers, *((values, result, scale) if ctx.needs_input_grad[2] else ()))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor | None]:  # noqa: ANN401
        numbers, *learned = ctx.saved_tensors
        ordered = _flat(gradient.contiguous(memory_format=_order(numbers)))
        if not learned:
            return _shaped(_Kernels.backward(ordered, _flat(numbers), ctx.grid), numbers), None, None
        values, result, scale = learned
        if ctx.undivided:
            passed, moved = _Kernels.learned(ordered, _flat(numbers), _flat(result), ctx.grid)
            return _shaped(passed, numbers), None, (moved / scale).view(scale.shape)
        passed = _shaped(_Kernels.backward(ordered, _flat(numbers), ctx.grid), numbers)
        return passed, None, (_moved(gradient, values, result, passed) / scale).sum_to_size(scale.shape)


class _StraightThroughScaled(torch.autograd.Function):
    """One real scale for all values, in one pass over memory each way."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, fmt: Format, scale: Tensor, clips: bool) -> Tensor:  # noqa: ANN401
        ctx.grid, ctx.clips, one = _grid(fmt, 0), clips, scale.reshape(())
        ctx.save_for_backward(values, one)
        ctx.shape = scale.shape
        uniform = isinstance(fmt, Integer) and not fmt.fraction_bits
        kernel = _Kernels.uniform if uniform else _Kernels.scaled
        return _shaped(kernel(_flat(values), one, ctx.grid), values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor | None, None]:  # noqa: ANN401
        values, scale = ctx.saved_tensors
        ordered = _flat(gradient.contiguous(memory_format=_order(values)))
        if not ctx.needs_input_grad[2]:
            passed = _Kernels.scaled_backward(ordered, _flat(values), scale, ctx.grid)
            return _shaped(passed, values), None, None, None
        kernel = _Kernels.scaled_clipped if ctx.clips else _Kernels.scaled_learned
        passed, moved = kernel(ordered, _flat(values), scale, ctx.grid)
        return _shaped(passed, values), None, moved.view(ctx.shape), None


def _exponent(scale: Tensor) -> int | None:
    """The exponent of a single scale that is a power of two, else None."""
    if scale.numel() != 1:
        return None
    mantissa, exponent = math.frexp(scale.item())
    return exponent - 1 if mantissa == 0.5 else None


def fake_quantize(values: Tensor, fmt: Format, scale: Tensor | float = 1.0, *, clips: bool = False) -> Tensor:
    """Round to the nearest values of a scaled format, with a straight-through gradient.

    Divided by a power of two, a value loses nothing and is rounded once; by a real scale, its quotient is rounded to
    float32 before. Every value of a format with at most 8 significant bits is a bfloat16, so with powers of two
    nothing is lost on the way out of a bfloat16 network either. On the way in something is: where autocast has rounded
    an accumulator to bfloat16, it is rounded twice. The integer graph, which is what gets scored, rounds once.

    Args:
        values: ``float32[...]`` or ``bfloat16[...]``.
        fmt: The format.
        scale: Positive; a number, or a tensor that broadcasts to `values`, e.g. ``float32[channels, 1, 1, 1]``. If it
            requires a gradient it gets one.
        clips: A single scale learns only from what lies above the largest value, and not from what is rounded: as
            the clip of PACT does (Choi et al., arXiv 1805.06085).

    Returns:
        The nearest values of the scaled format, of the same shape, type and memory layout.

    Raises:
        FormatError: As for `round_to`, or a scale that is zero or negative.
    """
    column = scale if isinstance(scale, Tensor) else torch.tensor(scale)
    if (column <= 0).any():  # a scale that is NaN passes, and shows in the result as a diverged run does
        raise FormatError(
            f"A scale of {column.min().item():g} makes no format",
            remedy="Give positive scales; a dead channel has none",
        )
    known = _known(values)
    if column.numel() == 1 and (clips or _exponent(column) is None):
        result = _StraightThroughScaled.apply(known, fmt, column, clips)  # type: ignore[no-untyped-call]
    else:
        result = _StraightThrough.apply(known, fmt, column)  # type: ignore[no-untyped-call]
    return cast(Tensor, result)


class _StraightThroughBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, fmt: BlockFormat, axis: int) -> Tensor:  # noqa: ANN401 - torch's context
        moved = values.movedim(axis, -1)
        length = moved.shape[-1]
        binade = torch.tensor(fmt.element_binade, dtype=torch.int32)
        if rest := -length % fmt.size:
            moved = torch.nn.functional.pad(moved, (0, rest))
        blocks = _Kernels.blocks(moved.reshape(-1, fmt.size), _grid(fmt.element, 0), binade)
        return blocks.view(moved.shape)[..., :length].movedim(-1, axis)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return gradient, None, None


def fake_quantize_blocks(values: Tensor, fmt: BlockFormat, axis: int) -> Tensor:
    """Round to a block format: neighbours along an axis share a power-of-two scale, taken from their largest magnitude.

    The gradient passes everywhere: a block scales itself to its values, of which at most the largest saturate.

    Args:
        values: ``float32[...]`` or ``bfloat16[...]``.
        fmt: The block format.
        axis: The axis along which blocks lie; the last block may be short.

    Returns:
        ``[...]`` of the same type; of finite numbers what `taran_eo.formats.round_blocks` gives, but zero has no sign.

    Raises:
        FormatError: As for `round_to`, of the elements.
    """
    result: Tensor = _StraightThroughBlocks.apply(_known(values), fmt, axis)  # type: ignore[no-untyped-call]
    return result


class PowerOfTwo(torch.autograd.Function):
    """``2**round(log2_scale)``, exactly, with the gradient of ``2**log2_scale``; NaN stays NaN."""

    @staticmethod
    def forward(ctx: Any, log2_scale: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        """Put the rounded exponent into the exponent field: an exponential would be off in the last place."""
        field = log2_scale.round().clamp(_SMALLEST_EXPONENT, _FLOAT32_BIAS).to(torch.int32) + _FLOAT32_BIAS
        scale = (field << _FLOAT32_MANTISSA).view(torch.float32).where(~log2_scale.isnan(), torch.nan)
        ctx.save_for_backward(scale)
        return scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        """The derivative of an exponential."""
        (scale,) = ctx.saved_tensors
        slope: Tensor = gradient * scale * math.log(2)
        return slope


class RoundThrough(torch.autograd.Function):
    """Round to integers, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        """Round to nearest even."""
        return values.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        """Pass the gradient on."""
        return gradient
