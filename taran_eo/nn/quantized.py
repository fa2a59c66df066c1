"""A network whose every convolution computes, in float32, what an integer machine will compute.

`quantize` reads a trained float network, folds its batch norms, and makes a `QuantizedNetwork` of the same operations;
`calibrate` sets the scales of its activations from pixels. Then it trains like any other network. With power-of-two
scales, the default, it is lowered without loss (`taran_eo.nn.lower`).

The two inputs of a concatenation share one scale. Biases are rounded to units of the accumulator.
"""

from collections.abc import Iterable
from typing import assert_never, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.errors import LoweringError
from taran_eo.formats import BlockFormat, integer_image, upper_half
from taran_eo.graph import Concat, MaxPool, Upsample, sources_of
from taran_eo.nn.program import INPUT, OUTPUT, Affine, Program, Step, read
from taran_eo.nn.rounding import RoundThrough, fake_quantize, fake_quantize_blocks
from taran_eo.nn.scales import AnyFormat, Quantization, Scale, choose_scales

OBSERVED = 20_000
"""Values kept a batch and tensor, for what is chosen by more than the largest."""

SMALLEST_WEIGHT = 2.0**-64
"""A channel whose weights are all smaller is dead: its scale would leave float32."""


class ActivationQuantizer(nn.Module):
    """Rounds one activation, or several that share a scale because a concatenation joins them.

    Attributes:
        layers: Names of the convolutions that it stands behind.
        format: Of every value.
        scale: Its scale; None for a block format, which carries its own.
    """

    def __init__(self, fmt: AnyFormat, how: Quantization) -> None:
        super().__init__()
        self.how = how
        self.layers: list[str] = []
        self.format = fmt if isinstance(fmt, BlockFormat) else upper_half(fmt)
        self.scale = None if isinstance(self.format, BlockFormat) else Scale(1, how)
        self.observed: list[Tensor] | None = None
        self.largest = 0.0

    def forward(self, features: Tensor) -> Tensor:
        """Quantize; before calibration, only ReLU, keeping a sample of what passes."""
        if isinstance(self.format, BlockFormat):
            return fake_quantize_blocks(F.relu(features), self.format, axis=1)
        assert self.scale is not None  # noqa: S101 - only block formats have none
        if self.observed is None and self.scale.known:
            return fake_quantize(features, self.format, self.scale())
        features = F.relu(features)
        if self.observed is not None:
            flat = features.detach().float().flatten()
            self.observed.append(flat[:: max(1, flat.numel() // OBSERVED)])
            # A maximum passes NaN on, and one that was met stays.
            self.largest = torch.maximum(torch.tensor(self.largest), flat.amax()).item()
        return features

    def step(self) -> Tensor:
        """The real value of one unit of the integer image, ``float32[1]``.

        Raises:
            LoweringError: The scale is not calibrated yet, or the format has no fixed scale.
        """
        if self.scale is None or isinstance(self.format, BlockFormat):
            raise LoweringError(
                f"{self.where} is in blocks, which have no fixed scale", remedy="Take a format without blocks"
            )
        if not self.scale.known:
            raise LoweringError(
                f"The activation of {self.where} has no scale yet", remedy="Run calibrate on the network first"
            )
        unit: Tensor = self.scale() * 2.0 ** integer_image(self.format).step_exponent
        return unit

    @property
    def where(self) -> str:
        """The layers, for messages."""
        return " and ".join(self.layers)

    def calibrate(self) -> None:
        """Choose the scale from what was observed.

        Raises:
            LoweringError: Nothing above zero was observed, or something that is no number.
        """
        values = torch.cat(self.observed or [torch.zeros(1)])
        if self.scale is None or isinstance(self.format, BlockFormat):
            return
        if not 0 < self.largest < float("inf"):
            raise LoweringError(
                f"The largest activation of {self.where} in calibration is {self.largest}, which makes no scale",
                remedy="Look for dead channels or a diverged run, and calibrate on images with content",
            )
        if self.how.scale_by == "max" or not values.any():
            values = torch.tensor([self.largest])
        with torch.no_grad():
            self.scale.log2.copy_(choose_scales(values[None], self.format, self.how).log2())


class QuantizedConv(nn.Module):
    """A convolution with quantized weights, and quantized activations behind it unless it is the last.

    Attributes:
        weight: Float weights that train, ``[outputs, inputs, k, k]``.
        bias: Float bias that trains, ``[outputs]``.
        weight_format: Format of the weights.
        scale: Of the weights; None for a block format.
        source: Quantizer of the input; None for the pixels.
        target: Quantizer of the output; None for the logits.
    """

    def __init__(
        self, step: Affine, fmt: AnyFormat, how: Quantization, source: ActivationQuantizer | None, pixel_scale: float
    ) -> None:
        super().__init__()
        self.name = step.target
        self.weight = nn.Parameter(step.weight.clone())
        self.bias = nn.Parameter(step.bias.clone())
        self.weight_format = fmt
        self.pixel_scale = pixel_scale
        self.source = source
        self.target: ActivationQuantizer | None = None
        if isinstance(fmt, BlockFormat):
            self.scale = None
            return
        if fmt.lowest == 0 and (smallest := step.weight.amin().item()) < 0:
            raise LoweringError(
                f"{self.name} has weights down to {smallest:g}, and {fmt} holds none below zero",
                remedy="Take a signed format for weights; unsigned ones are for activations",
            )
        outputs = len(step.weight)
        shared = step.target == OUTPUT or not how.per_channel
        rows = step.weight.reshape(1 if shared else outputs, -1)
        largest = rows.abs().amax(dim=1)
        dead = torch.nonzero(largest < SMALLEST_WEIGHT).flatten().tolist()
        if dead:
            raise LoweringError(
                f"{self.name}: no weight of channel {dead[0]} exceeds {largest[dead[0]]:g}, which makes no scale",
                remedy="Take the dead channel out of the network, or train longer",
            )
        self.scale = Scale(len(rows), how)
        with torch.no_grad():
            self.scale.log2.copy_(choose_scales(rows, fmt, how).log2())

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, inputs, rows, cols]`` to ``[n, outputs, rows, cols]``."""
        bias: Tensor = self.bias
        if isinstance(self.weight_format, BlockFormat) or self.scale is None:
            weight = fake_quantize_blocks(self.weight, cast(BlockFormat, self.weight_format), axis=1)
        else:
            scale = self.scale()
            weight = fake_quantize(self.weight, self.weight_format, scale.reshape(-1, 1, 1, 1))
            if self.source is None or (self.source.scale is not None and self.source.scale.known):
                unit = self.accumulator_unit(scale).detach()
                bias = cast(Tensor, RoundThrough.apply(bias / unit)) * unit  # type: ignore[no-untyped-call]
        sums = F.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
        return sums if self.target is None else cast(Tensor, self.target(sums))

    def accumulator_unit(self, scale: Tensor) -> Tensor:
        """The real value of one unit of the accumulator, ``float32[outputs or 1]``, for a scale of the weights."""
        input_step = self.pixel_scale if self.source is None else self.source.step()
        assert not isinstance(self.weight_format, BlockFormat)  # noqa: S101 - it has no scale to be called with
        return scale * 2.0 ** integer_image(self.weight_format).step_exponent * input_step


class QuantizedNetwork(nn.Module):
    """The operations of a float network, quantized.

    Attributes:
        program: What it was made of.
        how: Formats and scales.
        convolutions: The `QuantizedConv` of each convolution, by the place of its step.
        quantizers: Each once, shared ones too.
    """

    def __init__(self, program: Program, how: Quantization) -> None:
        super().__init__()
        self.program = program
        self.how = how
        groups, pixels = _joined(program.steps), _resized_pixels(program.steps)
        quantizers = {group: ActivationQuantizer(how.activations, how) for group in dict.fromkeys(groups.values())}
        self.convolutions = nn.ModuleDict()
        for place, step in enumerate(program.steps):
            if not isinstance(step, Affine):
                continue
            fmt = how.weights
            if step.source in pixels:
                fmt = how.first_weights or how.weights
            elif step.target == OUTPUT:
                fmt = how.head_weights or how.weights
            source = None if step.source in pixels else quantizers[groups[step.source]]
            unit = QuantizedConv(step, fmt, how, source, program.pixel_scale)
            if step.relu:
                unit.target = quantizers[groups[step.target]]
                unit.target.layers.append(step.target)
            self.convolutions[str(place)] = unit
        self.quantizers = nn.ModuleList(each for each in quantizers.values() if each.layers)
        self.skips = nn.ModuleDict()
        for place, step in enumerate(program.steps):
            if isinstance(step, Concat) and how.skips is not None:
                quantizer = ActivationQuantizer(how.skips, how)
                quantizer.layers.append(f"the skip connection of {step.target}")
                self.skips[str(place)] = quantizer
                self.quantizers.append(quantizer)
        # A tensor is forgotten after the last step that reads it.
        self._last = {source: place for place, step in enumerate(program.steps) for source in _sources(step)}

    def forward(self, pixels: Tensor) -> Tensor:
        """Segment pixels ``[n, bands, rows, cols]`` of 0 to 255: logits ``[n, classes, rows, cols]``."""
        values = {INPUT: pixels * self.program.pixel_scale}
        for place, step in enumerate(self.program.steps):
            match step:
                case Affine():
                    result = self.convolutions[str(place)](values[step.source])
                case MaxPool():
                    result = F.max_pool2d(values[step.source], 2)
                case Upsample():
                    result = F.interpolate(values[step.source], scale_factor=2.0, mode="nearest")
                case Concat():
                    newest, joined = list(values)[-1], []
                    for source in step.sources:
                        again = str(place) in self.skips and source != newest
                        joined.append(self.skips[str(place)](values[source]) if again else values[source])
                    result = torch.cat(joined, dim=1)
                case _:
                    assert_never(step)
            values[step.target] = result
            for source in _sources(step):
                if self._last[source] == place:
                    values.pop(source, None)
        return values[OUTPUT]

    def extra_repr(self) -> str:
        """The formats."""
        return f"weights={self.how.weights}, activations={self.how.activations}"


def _sources(step: Step) -> tuple[str, ...]:
    return (step.source,) if isinstance(step, Affine) else sources_of(step)


def _joined(steps: tuple[Step, ...]) -> dict[str, str]:
    """For each tensor one that stands for all that share its scale: resizing keeps it, a concatenation ties."""
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while first.setdefault(name, name) != name:
            name = first[name]
        return name

    for step in steps:
        if not isinstance(step, Affine):
            for source in sources_of(step):
                first[root(source)] = root(step.target)
    return {name: root(name) for step in steps for name in (step.target, *_sources(step))}


def _resized_pixels(steps: tuple[Step, ...]) -> frozenset[str]:
    """The tensors that hold pixels as they came: the input, and what is pooled or upsampled of it."""
    pixels = {INPUT}
    for step in steps:
        if isinstance(step, MaxPool | Upsample) and step.source in pixels:
            pixels.add(step.target)
    return frozenset(pixels)


def quantize(network: nn.Module, how: Quantization, bands: int = 3) -> QuantizedNetwork:
    """Make a quantized network of a float one, not yet calibrated.

    Args:
        network: Trained, in evaluation mode, on the CPU; left as it is.
        how: Formats and scales.
        bands: Input bands.

    Returns:
        The network on pixels ``[n, bands, rows, cols]`` of 0 to 255, in training mode.

    Raises:
        LoweringError: The network does something that the integer graph does not know, or has a dead channel or a
            weight that is no number; says which layer.
        FormatError: A format that fake quantization does not do.
    """
    return QuantizedNetwork(read(network, bands), how)


def calibrate(network: QuantizedNetwork, batches: Iterable[Tensor]) -> None:
    """Set the scale of every activation from pixels that pass through the float activations.

    Args:
        network: From `quantize`, on the CPU.
        batches: Pixels ``float32[n, bands, rows, cols]``.

    Raises:
        LoweringError: An activation is zero everywhere or no number; says behind which layer.
    """
    quantizers = [cast(ActivationQuantizer, each) for each in network.quantizers]
    for quantizer in quantizers:
        quantizer.observed, quantizer.largest = [], 0.0
    try:
        with torch.no_grad():
            for pixels in batches:
                network(pixels)
        for quantizer in quantizers:
            quantizer.calibrate()
    finally:  # nobody goes on observing after a failure
        for quantizer in quantizers:
            quantizer.observed = None
