"""From a torch network to the graph that computes the same: integers of a quantized one, float32 of any other."""

from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from taran_eo.errors import LoweringError
from taran_eo.formats import BlockFormat, Integer, Scaling, encode, integer_image, to_image
from taran_eo.graph import FLOAT32, Concat, Conv, FloatConv, Graph, MaxPool, Op, Requantize, Tensor, Upsample
from taran_eo.nn.program import INPUT, OUTPUT, Affine, Program
from taran_eo.nn.quantized import QuantizedConv, QuantizedNetwork

PIXELS = Integer(8, signed=False)
"""What a camera gives, and the first convolution takes."""

LANE_BITS = 16
"""Weights travel in integers of up to this width."""

MULTIPLIER_BITS = 23
"""Significant bits that a real ratio of scales keeps."""

UNSCALED = Scaling((1.0,))

FLOAT_LOGITS = Scaling((2.0**-16,))
"""The unit that float logits are told in: far below what moves a probability, and int32 holds them up to 32,768."""

Reals = NDArray[np.float64]


def lower(network: QuantizedNetwork, name: str) -> Graph:
    """Freeze a calibrated network into its integer program.

    Args:
        network: From `taran_eo.nn.quantized.quantize`, calibrated, trained.
        name: Name of the graph.

    Returns:
        A graph whose logits, times its ``logit_scale``, are those of ``network.eval()`` in float32: with power-of-two
        scales exactly, as long as no float32 sum of the network passes ``2**24`` units; with real scales up to the
        rounding of their ratios to 23 bits.

    Raises:
        LoweringError: The network is not calibrated, or a format, a bias or a scale does not fit the integers that
            the graph computes in; says which layer and by how much.
        GraphError: An accumulator could leave int32; says which.
    """
    if network.how.skips is not None:
        raise LoweringError(
            f"The skip connections are rounded once more, to {network.how.skips}, for which the graph has no operation",
            remedy="Leave out `skips`; it is for studies",
        )

    def convolution(place: int, step: Affine, source: Tensor) -> tuple[Op, Tensor]:
        unit = network.convolutions[str(place)]
        assert isinstance(unit, QuantizedConv)  # noqa: S101 - as it was made
        return _convolution(unit, source, step.target)

    return _assemble(network.program, name, Scaling((network.program.pixel_scale,)), convolution)


def lower_float(program: Program, name: str) -> Graph:
    """Freeze a float network as it is.

    Args:
        program: From `taran_eo.nn.program.read`; the network may be trained on afterwards.
        name: Name of the graph.

    Returns:
        A graph whose logits, times its ``logit_scale``, are those of the network up to the rounding of float32 sums and
        to the logits' unit.
    """

    def convolution(_: int, step: Affine, source: Tensor) -> tuple[Op, Tensor]:
        scaled = step.weight * program.pixel_scale if source.format == PIXELS else step.weight
        weights, bias = (np.array(each.numpy(), dtype=np.float32, order="C") for each in (scaled, step.bias))
        fmt, scaling = (FLOAT32, UNSCALED) if step.relu else (Integer(32), FLOAT_LOGITS)
        op = FloatConv(step.source, step.target, weights, bias, step.relu)
        return op, Tensor(step.target, len(step.bias), source.level, fmt, scaling)

    return _assemble(program, name, UNSCALED, convolution)


def _assemble(
    program: Program, name: str, pixel_scaling: Scaling, convolution: Callable[[int, Affine, Tensor], tuple[Op, Tensor]]
) -> Graph:
    tensors = {INPUT: Tensor(INPUT, program.bands, 0, PIXELS, pixel_scaling)}
    ops: list[Op] = []
    for place, step in enumerate(program.steps):
        match step:
            case Affine():
                op, target = convolution(place, step, tensors[step.source])
                ops.append(op)
            case MaxPool() | Upsample():
                source = tensors[step.source]
                ops.append(step)
                level = source.level + (1 if isinstance(step, MaxPool) else -1)
                target = Tensor(step.target, source.channels, level, source.format, source.scaling)
            case Concat():
                joined = [tensors[source] for source in step.sources]
                ops.append(step)
                channels, first = sum(each.channels for each in joined), joined[0]
                target = Tensor(step.target, channels, first.level, first.format, first.scaling)
            case _:
                assert_never(step)
        tensors[step.target] = target
    return Graph(name, tensors, tuple(ops), INPUT, OUTPUT)


@torch.no_grad()
def _convolution(unit: QuantizedConv, source: Tensor, name: str) -> tuple[Conv, Tensor]:
    fmt = unit.any_format
    if isinstance(fmt, BlockFormat) or unit.scale is None:
        raise LoweringError(
            f"{name} has weights in blocks, {fmt}, for which the integer graph has no operation",
            remedy="Take a format with one scale a channel",
        )
    image = integer_image(fmt)
    if image.bits > LANE_BITS:
        raise LoweringError(
            f"{name} has weights {fmt}, whose integers have {image.bits} bits; the graph holds {LANE_BITS}",
            remedy="Take a format with fewer exponent bits; wider ones are only emulated",
        )
    for what, values in (("weight", unit.weight), ("bias", unit.bias), ("scale", unit.scale.log2)):
        channels = values.flatten(1) if values.ndim > 1 else values[:, None]
        broken = torch.nonzero(~torch.isfinite(channels).all(dim=1)).flatten().tolist()
        if broken:
            raise LoweringError(
                f"{name}: the {what} of channel {broken[0]} is no finite number",
                remedy="Train again; this run diverged",
            )
    scales = unit.scale().double().numpy()
    outputs = len(unit.weight)
    # The quotient as fake quantization takes it, so that real scales give the same codes.
    numbers = (unit.weight / unit.scale().reshape(-1, 1, 1, 1)).double().numpy()
    weights = to_image(encode(numbers, fmt), fmt).astype(image.lane)
    units = np.broadcast_to(scales * 2.0**image.step_exponent * source.step, outputs)
    bias = np.rint(unit.bias.double().numpy() / units)
    if (np.abs(bias) > np.iinfo(np.int32).max).any():
        channel = int(np.abs(bias).argmax())
        raise LoweringError(
            f"{name}: the bias of channel {channel} is {bias[channel]:g} units of the accumulator, beyond int32",
            remedy="Its scales are too small: take the channel out if its weights are nothing, or calibrate again",
        )
    if unit.target is None:
        scaling = Scaling((float(units[0]),))
        op = Conv(source.name, name, weights, fmt, bias.astype(np.int32), None)
        return op, Tensor(name, outputs, source.level, Integer(32), scaling)
    step = unit.target.step().double().item()
    target = Tensor(
        name,
        outputs,
        source.level,
        unit.target.format,
        Scaling((step * 2.0 ** -integer_image(unit.target.format).step_exponent,)),
    )
    op = Conv(source.name, name, weights, fmt, bias.astype(np.int32), _requantize(units / step, name))
    return op, target


def _requantize(ratios: Reals, name: str) -> Requantize:
    """The multiplier and shift of each channel, for ratios of the accumulator's unit to the target's step."""
    mantissas, exponents = np.frexp(ratios)
    powers = mantissas == 0.5
    multipliers = np.where(powers, 1, np.rint(np.ldexp(mantissas, MULTIPLIER_BITS))).astype(np.int64)
    shifts = np.where(powers, 1 - exponents, MULTIPLIER_BITS - exponents)
    if (shifts > 56).any() or (np.ldexp(multipliers, np.maximum(-shifts, 0)) >= 1 << 24).any():
        worst = float(ratios[np.abs(np.log2(ratios)).argmax()])
        raise LoweringError(
            f"{name}: the accumulator's unit is {worst:g} of the step of its result, which no shift tells",
            remedy="Calibrate again; its scales are too far apart",
        )
    multipliers = multipliers << np.maximum(-shifts, 0)
    return Requantize(multipliers.astype(np.int32), np.maximum(shifts, 0).astype(np.int32))
