"""A network whose every convolution computes, in float32, what an integer machine will compute.

`quantize` reads a trained float network, folds its batch norms, and makes a `QuantizedNetwork` of the same operations;
`calibrate` sets the scales of its activations from pixels. Then it trains like any other network. With power-of-two
scales, the default, it is lowered without loss (`taran_eo.nn.lower`).

The two inputs of a concatenation share one scale. Biases are rounded to units of the accumulator.
"""

from collections.abc import Callable, Iterable
from typing import assert_never, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.errors import LoweringError
from taran_eo.formats import BlockFormat, Format, integer_image, parse_any_format, upper_half
from taran_eo.graph import Concat, MaxPool, Upsample, sources_of
from taran_eo.nn.program import INPUT, OUTPUT, Affine, Program, Step, read
from taran_eo.nn.rounding import RoundThrough, fake_quantize, fake_quantize_blocks
from taran_eo.nn.scales import AnyFormat, Quantization, Scale, choose_scales
from taran_eo.nn.sites import Kind, Layer, Site

OBSERVED = 20_000
"""Values kept a batch and tensor, for what is chosen by more than the largest."""

SAMPLE = 4096
"""Of the values that were observed, these stay: as many quantiles, by which another format finds its scale."""

SMALLEST_WEIGHT = 2.0**-64
"""A channel whose weights are all smaller is dead: its scale would leave float32."""


class _Formatted(nn.Module):
    """A module with a format that may change, and a scale that belongs to it; a site for `taran_eo.nn.learned_bits`."""

    kind: Kind
    scale: Scale | None

    def __init__(self, fmt: AnyFormat, how: Quantization) -> None:
        super().__init__()
        self.how = how
        self.any_format = fmt

    @property
    def format(self) -> Format:
        """Its present format.

        Raises:
            LoweringError: It is a block format.
        """
        if isinstance(self.any_format, BlockFormat):
            raise LoweringError(
                f"{self.name} has {self.any_format}, which is no format of one width", remedy="Take one without blocks"
            )
        return self.any_format

    @property
    def name(self) -> str:
        """That of the layer."""
        raise NotImplementedError

    def rows(self) -> Tensor:
        """What its scales are chosen by, ``float32[scales, n]``."""
        raise NotImplementedError

    def take(self, fmt: Format) -> None:
        """Take another format, with scales chosen for it."""
        if fmt != self.any_format:
            self.any_format = fmt
            self.choose(self.rows())

    def choose(self, rows: Tensor) -> None:
        """Choose the scales for ``float32[scales, n]``."""
        assert self.scale is not None  # noqa: S101 - only block formats have none
        with torch.no_grad():
            self.scale.log2.copy_(choose_scales(rows, self.format, self.how).log2())

    def attempt(self, fmt: Format) -> Callable[[], None]:
        """Take another format for a moment."""
        assert self.scale is not None  # noqa: S101 - only block formats have none
        log2, before, kept = self.scale.log2, self.any_format, self.scale.log2.detach().clone()
        self.take(fmt)

        def undo() -> None:
            self.any_format = before
            with torch.no_grad():
                log2.copy_(kept)

        return undo

    def error(self, fmt: Format) -> float:
        """Relative mean square error in a format."""
        rows = self.rows()
        rounded = fake_quantize(rows, fmt, choose_scales(rows, fmt, self.how)[:, None])
        return float((rounded - rows).square().mean() / rows.square().mean())

    def get_extra_state(self) -> str:
        """The format, so that a checkpoint has it."""
        return str(self.any_format)

    def set_extra_state(self, state: str) -> None:
        """Take up the format; the scales come as tensors."""
        self.any_format = parse_any_format(state)


class ActivationQuantizer(_Formatted):
    """Rounds one activation, or several that share a scale because a concatenation joins them.

    Attributes:
        layers: Names of the convolutions that it stands behind.
        any_format: Of every value.
        scale: Its scale; None for a block format, which carries its own.
        sample: Quantiles of what was observed, ``float32[SAMPLE]``.
    """

    kind: Kind = "activations"
    sample: Tensor

    def __init__(self, fmt: AnyFormat, how: Quantization) -> None:
        super().__init__(fmt if isinstance(fmt, BlockFormat) else upper_half(fmt), how)
        self.layers: list[str] = []
        self.scale = None if isinstance(fmt, BlockFormat) else Scale(1, how)
        self.register_buffer("sample", torch.zeros(SAMPLE))
        self.observed: list[Tensor] | None = None
        self.largest = 0.0

    def forward(self, features: Tensor) -> Tensor:
        """Quantize; before calibration, only ReLU, keeping a sample of what passes."""
        if isinstance(self.any_format, BlockFormat):
            return fake_quantize_blocks(F.relu(features), self.any_format, axis=1)
        assert self.scale is not None  # noqa: S101 - only block formats have none
        if self.observed is None and self.scale.known:
            return fake_quantize(features, self.any_format, self.scale())
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
        if self.scale is None:
            raise LoweringError(
                f"{self.name} is in blocks, which have no fixed scale", remedy="Take a format without blocks"
            )
        if not self.scale.known:
            raise LoweringError(
                f"The activation of {self.name} has no scale yet", remedy="Run calibrate on the network first"
            )
        unit: Tensor = self.scale() * 2.0 ** integer_image(self.format).step_exponent
        return unit

    @property
    def name(self) -> str:
        """The layers that it stands behind."""
        return " and ".join(self.layers)

    def rows(self) -> Tensor:
        """What was observed, in quantiles."""
        return self.sample[None]

    def calibrate(self) -> None:
        """Choose the scale from what was observed.

        Raises:
            LoweringError: Nothing above zero was observed, or something that is no number.
        """
        values = torch.cat(self.observed or [torch.zeros(1)])
        if self.scale is None:
            return
        if not 0 < self.largest < float("inf"):
            raise LoweringError(
                f"The largest activation of {self.name} in calibration is {self.largest}, which makes no scale",
                remedy="Look for dead channels or a diverged run, and calibrate on images with content",
            )
        if self.how.scale_by == "max" or not values.any():
            values = torch.tensor([self.largest])
        self.choose(values[None])
        places = torch.linspace(0, len(values) - 1, SAMPLE).long()
        self.sample.copy_(values.sort().values[places])


class QuantizedConv(_Formatted):
    """A convolution with quantized weights, and quantized activations behind it unless it is the last.

    Attributes:
        weight: Float weights that train, ``[outputs, inputs, k, k]``.
        bias: Float bias that trains, ``[outputs]``.
        any_format: Format of the weights.
        scale: Of the weights; None for a block format.
        source: Quantizer of the input; None for the pixels.
        target: Quantizer of the output; None for the logits.
    """

    kind: Kind = "weights"

    def __init__(
        self, step: Affine, fmt: AnyFormat, how: Quantization, source: ActivationQuantizer | None, pixel_scale: float
    ) -> None:
        super().__init__(fmt, how)
        self.layer = step.target
        self.weight = nn.Parameter(step.weight.clone())
        self.bias = nn.Parameter(step.bias.clone())
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
        rows = step.weight.reshape(1 if step.target == OUTPUT or not how.per_channel else len(step.weight), -1)
        largest = rows.abs().amax(dim=1)
        dead = torch.nonzero(largest < SMALLEST_WEIGHT).flatten().tolist()
        if dead:
            raise LoweringError(
                f"{self.name}: no weight of channel {dead[0]} exceeds {largest[dead[0]]:g}, which makes no scale",
                remedy="Take the dead channel out of the network, or train longer",
            )
        self.scale = Scale(len(rows), how)
        self.choose(rows)

    @property
    def name(self) -> str:
        """That of the layer."""
        return self.layer

    def rows(self) -> Tensor:
        """The weights of each scale."""
        assert self.scale is not None  # noqa: S101 - only block formats have none
        return self.weight.detach().reshape(len(self.scale.log2), -1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, inputs, rows, cols]`` to ``[n, outputs, rows, cols]``."""
        bias: Tensor = self.bias
        if self.scale is None:
            weight = fake_quantize_blocks(self.weight, cast(BlockFormat, self.any_format), axis=1)
        else:
            scale = self.scale()
            weight = fake_quantize(self.weight, self.format, scale.reshape(-1, 1, 1, 1))
            if self.source is None or (self.source.scale is not None and self.source.scale.known):
                unit = self.accumulator_unit(scale).detach()
                bias = cast(Tensor, RoundThrough.apply(bias / unit)) * unit  # type: ignore[no-untyped-call]
        sums = F.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
        return sums if self.target is None else cast(Tensor, self.target(sums))

    def accumulator_unit(self, scale: Tensor) -> Tensor:
        """The real value of one unit of the accumulator, ``float32[outputs or 1]``, for a scale of the weights."""
        input_step = self.pixel_scale if self.source is None else self.source.step()
        return scale * 2.0 ** integer_image(self.format).step_exponent * input_step


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

    def layers(self) -> tuple[Layer, ...]:
        """Its convolutions, with their sites and their multiplications a pixel."""
        levels, found = {INPUT: 0}, []
        for place, step in enumerate(self.program.steps):
            shift = {MaxPool: 1, Upsample: -1}.get(type(step), 0)
            levels[step.target] = levels[_sources(step)[0]] + shift
            if isinstance(step, Affine):
                unit = cast(QuantizedConv, self.convolutions[str(place)])
                count = step.weight.numel()
                found.append(Layer(unit.name, unit, unit.source, count, count / 4.0 ** levels[step.target]))
        return tuple(found)

    def fixed(self) -> list[Site]:
        """The sites whose format is given apart: the weights of the first and the last layer, if it is."""
        units = [cast(QuantizedConv, each) for each in self.convolutions.values()]
        return [
            unit
            for unit in units
            if (unit.source is None and self.how.first_weights is not None)
            or (unit.target is None and self.how.head_weights is not None)
        ]

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
