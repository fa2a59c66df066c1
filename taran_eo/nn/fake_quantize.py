"""Rounding to a format inside a float network, with a straight-through gradient.

Forward, every value is replaced by the nearest of the scaled format, as `taran_eo.formats` defines it; NaN stays
NaN, so that a run that diverges shows it. Backward, the gradient passes where the value lay inside the format's
range and stops where it saturated (Bengio et al., arXiv 1308.3432).
"""

from typing import Any, assert_never

import torch
from torch import Tensor

from taran_eo.errors import FormatError
from taran_eo.formats import Format, Integer, MiniFloat

_EXPONENT_FIELD = 0x7F800000
_FLOAT32_MANTISSA = 23
_FLOAT32_BIAS = 127


def round_to(values: Tensor, fmt: Format, exponent: int = 0) -> Tensor:
    """Round float32 values to a format scaled by a power of two, exactly, ties to even.

    The sign of a value that becomes zero is lost; as an integer image zero has none.

    Args:
        values: ``float32[...]``.
        fmt: The format.
        exponent: Its scale is ``2**exponent``.

    Returns:
        ``float32[...]`` of the same memory layout.

    Raises:
        FormatError: A minifloat without mantissa bits or without subnormals.
    """
    scale = 2.0**exponent
    match fmt:
        case Integer():
            step = scale * 2.0**fmt.step_exponent
            return (values / step).round_().clamp_(fmt.lowest_integer, fmt.highest_integer).mul_(step)
        case MiniFloat():
            if not (fmt.mantissa_bits and fmt.subnormals):
                raise FormatError(
                    f"{fmt} has no mantissa bits or no subnormals, which fake quantization needs",
                    remedy="Take a split with at least one mantissa bit",
                )
            clipped = values.clamp(fmt.lowest * scale, fmt.largest * scale)
            lowest_binade = 1 - fmt.exponent_bias + exponent
            # 1.5 * 2**(binade + 23 - m): adding it leaves m mantissa bits, rounded to nearest even, and taking it
            # away leaves the result. The constants are Python integers: as symbols, torch.compile miscompiles them.
            magic = clipped.view(torch.int32).bitwise_and(_EXPONENT_FIELD)
            magic = magic.clamp_min_((lowest_binade + _FLOAT32_BIAS) << _FLOAT32_MANTISSA)
            magic = magic.add_(((_FLOAT32_MANTISSA - fmt.mantissa_bits) << _FLOAT32_MANTISSA) | 0x400000)
            adder = magic.view(torch.float32)
            return clipped.add_(adder).sub_(adder)
        case _:
            assert_never(fmt)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, fmt: Format, exponent: int) -> Tensor:  # noqa: ANN401 - torch's context
        full = values.float()
        low, high = fmt.lowest * 2.0**exponent, fmt.largest * 2.0**exponent
        # At zero an unsigned format acts as a ReLU, whose gradient there is zero.
        inside = (full > low) if low == 0.0 else (full >= low)
        ctx.save_for_backward(inside.logical_and_(full <= high))
        return round_to(full, fmt, exponent).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def fake_quantize(values: Tensor, fmt: Format, exponent: int = 0) -> Tensor:
    """`round_to` with a straight-through gradient; bfloat16 in, bfloat16 out.

    Every value of a format with at most 8 significant bits is a bfloat16, so nothing is lost on the way out. On the way
    in something is: where autocast has rounded an accumulator to bfloat16, it is rounded twice. The integer graph,
    which is what gets scored, rounds once.

    Args:
        values: ``float32[...]`` or ``bfloat16[...]``.
        fmt: The format.
        exponent: Its scale is ``2**exponent``.

    Returns:
        The nearest values of the scaled format, of the same shape and type.

    Raises:
        FormatError: As for `round_to`.
    """
    result: Tensor = _StraightThrough.apply(values, fmt, exponent)  # type: ignore[no-untyped-call]
    return result


def fake_quantize_channels(values: Tensor, fmt: Format, scales: Tensor) -> Tensor:
    """`fake_quantize` with one power-of-two scale for each index of the first axis.

    Args:
        values: ``float32[channels, ...]``.
        fmt: The format.
        scales: ``float32[channels]``, powers of two, so that dividing by them is exact.
    """
    column = scales.reshape(-1, *(1,) * (values.ndim - 1))
    return fake_quantize(values / column, fmt) * column


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
