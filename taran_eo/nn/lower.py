"""From a quantized torch network to the integer graph that computes the same."""

from typing import cast

import numpy as np
from torch import nn

from taran_eo.errors import LoweringError
from taran_eo.formats import Format, Integer, Scaling, encode, integer_image, to_image
from taran_eo.graph import Concat, Conv, Graph, MaxPool, Op, Requantize, Tensor, Upsample
from taran_eo.nn.quantized import PIXELS, QuantizedConv
from taran_eo.nn.thin_unet import PIXEL_SCALE, ThinUNet

INPUT = "pixels"
OUTPUT = "logits"


def lower(network: ThinUNet, name: str) -> Graph:
    """Freeze a calibrated network into its integer program.

    Args:
        network: From `taran_eo.nn.quantized.quantize`, calibrated, trained.
        name: Name of the graph.

    Returns:
        A graph whose logits, times its ``logit_scale``, are those of ``network.eval()`` in float32, exactly,
        as long as no float32 sum of the network passes ``2**24`` units.

    Raises:
        LoweringError: The network is not quantized or not calibrated, or inputs of a concatenation differ in scale.
    """
    return _Lowering(name).run(network)


class _Lowering:
    def __init__(self, name: str) -> None:
        self.name = name
        pixels = Tensor(INPUT, 0, 0, PIXELS, Scaling((PIXEL_SCALE / 2.0**PIXELS.step_exponent,)))
        self.tensors = {INPUT: pixels}
        self.ops: list[Op] = []

    def run(self, network: ThinUNet) -> Graph:
        self.tensors[INPUT] = Tensor(INPUT, network.shape.bands, 0, PIXELS, self.tensors[INPUT].scaling)
        top, skips = INPUT, []
        for level, pair in enumerate(network.encoder):
            top = self.pair(pair, top, f"encoder{level}")
            skips.append(top)
            top = self.resize(MaxPool(top, f"pool{level}"), level + 1)
        top = self.pair(network.middle, top, "middle")
        for level, pair in zip(reversed(range(network.shape.depth)), network.decoder, strict=True):
            top = self.resize(Upsample(top, f"upsample{level}"), level)
            top = self.pair(pair, self.concat((top, skips.pop()), f"concat{level}"), f"decoder{level}")
        self.conv(network.head, top, OUTPUT)
        return Graph(self.name, self.tensors, tuple(self.ops), INPUT, OUTPUT)

    def add(self, op: Op, channels: int, level: int, fmt: Format, scaling: Scaling) -> str:
        self.tensors[op.target] = Tensor(op.target, channels, level, fmt, scaling)
        self.ops.append(op)
        return op.target

    def pair(self, pair: nn.Module, source: str, name: str) -> str:
        first, second = cast(nn.Sequential, pair)
        return self.conv(second, self.conv(first, source, f"{name}a"), f"{name}b")

    def resize(self, op: MaxPool | Upsample, level: int) -> str:
        source = self.tensors[op.source]
        return self.add(op, source.channels, level, source.format, source.scaling)

    def concat(self, sources: tuple[str, str], name: str) -> str:
        first, second = (self.tensors[source] for source in sources)
        if (first.format, first.scaling) != (second.format, second.scaling):
            raise LoweringError(
                f"{first.name} and {second.name} meet in a concatenation with scales {first.scaling.scales[0]:g} and "
                f"{second.scaling.scales[0]:g}",
                remedy="Give both the same ActivationScale before training",
            )
        return self.add(
            Concat(sources, name), first.channels + second.channels, first.level, first.format, first.scaling
        )

    def conv(self, unit: nn.Module, source: str, name: str) -> str:
        if not isinstance(unit, QuantizedConv):
            raise LoweringError(f"{name} is a {type(unit).__name__} and not quantized", remedy="Use quantize first")
        before = self.tensors[source]
        image = integer_image(unit.weight_format)
        reals = unit.weight.detach().double().numpy()
        scales = unit.weight_scales.double().numpy()
        weights = to_image(encode(reals / scales.reshape(-1, 1, 1, 1), unit.weight_format), unit.weight_format)
        units = scales * 2.0**image.step_exponent * before.step
        bias = np.rint(unit.bias.detach().double().numpy() / units).astype(np.int32)
        outputs = len(bias)
        if unit.target is None:
            op = Conv(source, name, weights.astype(image.lane), unit.weight_format, bias, None)
            return self.add(op, outputs, before.level, Integer(32), Scaling((float(units[0]),)))
        requantize = _power_of_two_requantize(units / unit.target.step(), name)
        op = Conv(source, name, weights.astype(image.lane), unit.weight_format, bias, requantize)
        return self.add(op, outputs, before.level, unit.target.format, unit.target.scaling())


def _power_of_two_requantize(ratios: np.ndarray[tuple[int, ...], np.dtype[np.float64]], name: str) -> Requantize:
    """The multiplier and shift of each channel for ratios of the accumulator's unit to the target's step."""
    mantissas, exponents = np.frexp(ratios)
    if (mantissas != 0.5).any():
        raise LoweringError(f"{name} has a scale that is no power of two", remedy="Round the scales before lowering")
    places = exponents - 1
    return Requantize((2 ** places.clip(0)).astype(np.int32), (-places).clip(0).astype(np.int32))
