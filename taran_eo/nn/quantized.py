"""A Thin U-Net whose every convolution computes, in float32, what an integer machine will compute.

`quantize` takes a trained float network, folds its batch norms, and puts a quantized unit in the place of each
convolution; the network's own `forward` stays as it is. Scales are powers of two: one a channel for weights, one a
tensor for activations, set once by `calibrate` to the least mean square error, then kept while the weights train.
The two inputs of a concatenation share one scale. Biases are rounded to units of the accumulator.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.errors import LoweringError
from taran_eo.formats import Format, Integer, Scaling, integer_image
from taran_eo.nn.fake_quantize import RoundThrough, fake_quantize, fake_quantize_channels, round_to
from taran_eo.nn.thin_unet import PIXEL_SCALE, ConvUnit, ThinUNet

PIXELS = Integer(8, signed=False)
CANDIDATES = 4
"""Exponents that are tried for each scale: the one that covers the largest value, and the next smaller ones."""

OBSERVED = 20_000
"""Values kept a batch and tensor for calibration."""


@dataclass(frozen=True)
class Formats:
    """Which format stands where; the first and the last layer have their own.

    Attributes:
        weights: Of every 3x3 convolution but the first.
        activations: After every ReLU; unsigned.
        first_weights: Of the convolution on the pixels.
        head_weights: Of the last, 1x1, convolution, with one scale for all channels.
    """

    weights: Format
    activations: Format
    first_weights: Format
    head_weights: Format


class ActivationScale(nn.Module):
    """The power-of-two scale of one or several activations that must agree.

    The exponent is state, though neither a parameter nor a buffer: it must not be averaged, and it is a Python
    integer wherever it is used.
    """

    def __init__(self, fmt: Format, exponent: int | None = None) -> None:
        super().__init__()
        self.format = fmt
        self.exponent = exponent
        self.observed: list[Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Quantize; before calibration, only ReLU, keeping a sample of what passes."""
        if self.exponent is not None:
            return fake_quantize(features, self.format, self.exponent)
        features = F.relu(features)
        if self.observed is not None:
            flat = features.detach().float().flatten()
            self.observed.append(flat[:: max(1, flat.numel() // OBSERVED)])
        return features

    def scaling(self) -> Scaling:
        """The scale, once it is known.

        Raises:
            LoweringError: It is not calibrated yet.
        """
        if self.exponent is None:
            raise LoweringError("An activation has no scale yet", remedy="Run calibrate on the network first")
        return Scaling.power_of_two(self.exponent)

    def step(self) -> float:
        """The real value of one unit of the integer image; raises as `scaling` does."""
        return self.scaling().scales[0] * 2.0 ** integer_image(self.format).step_exponent

    def calibrate(self) -> None:
        """Choose the exponent with the least mean square error on what was observed."""
        values = torch.cat(self.observed or [torch.ones(1)])
        (cover,) = Scaling.covering(values.max().item(), self.format).exponents
        self.exponent = min(
            range(cover - CANDIDATES + 1, cover + 1),
            key=lambda exponent: float((round_to(values, self.format, exponent) - values).square().mean()),
        )
        self.observed = None

    def get_extra_state(self) -> int | None:
        """The exponent, for the state dictionary."""
        return self.exponent

    def set_extra_state(self, state: int | None) -> None:
        """The exponent, from the state dictionary."""
        self.exponent = state


class QuantizedConv(nn.Module):
    """A convolution with quantized weights, and quantized activations behind it unless it is the last.

    Attributes:
        weight: Float weights that train, ``[outputs, inputs, k, k]``.
        bias: Float bias that trains, ``[outputs]``.
        weight_scales: Powers of two, ``[outputs]``.
        weight_format: Format of the weights.
        source: Scale of the input; None for the pixels.
        target: Scale of the output; None for the logits.
    """

    weight_scales: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        weight_format: Format,
        source: ActivationScale | None,
        target: ActivationScale | None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.weight_format = weight_format
        self.source = source
        self.target = target
        scales = _weight_scales(self.weight.detach(), weight_format, shared=target is None)
        self.register_buffer("weight_scales", scales)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, inputs, rows, cols]`` to ``[n, outputs, rows, cols]``."""
        weight = fake_quantize_channels(self.weight, self.weight_format, self.weight_scales)
        bias: Tensor = self.bias
        if self.source is None or self.source.exponent is not None:
            unit = self.accumulator_unit()
            bias = cast(Tensor, RoundThrough.apply(bias / unit)) * unit  # type: ignore[no-untyped-call]
        sums = F.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
        return sums if self.target is None else cast(Tensor, self.target(sums))

    def accumulator_unit(self) -> Tensor:
        """The real value of one unit of the accumulator, ``float32[outputs]``."""
        input_step = PIXEL_SCALE if self.source is None else self.source.step()
        return self.weight_scales * 2.0 ** integer_image(self.weight_format).step_exponent * input_step


def _weight_scales(weight: Tensor, fmt: Format, *, shared: bool) -> Tensor:
    rows = weight.reshape(1 if shared else len(weight), -1)
    cover = torch.tensor(Scaling.covering(rows.abs().amax(dim=1).numpy(), fmt, axis=0).scales)
    errors = []
    for place in range(CANDIDATES):
        scales = (cover * 2.0**-place)[:, None]
        errors.append((round_to((rows / scales).float(), fmt) * scales - rows).square().sum(dim=1))
    best = torch.stack(errors).argmin(dim=0)
    return (cover * 2.0 ** -best.double()).float().expand(len(weight)).clone()


def _folded(unit: ConvUnit) -> tuple[Tensor, Tensor]:
    norm = unit.norm
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101 - tracked by default
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return unit.conv.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain


def quantize(network: ThinUNet, formats: Formats) -> ThinUNet:
    """Copy a float network with a quantized unit for each of its convolutions, not yet calibrated.

    Args:
        network: Trained, with its batch-norm statistics; left as it is.
        formats: Which format stands where.

    Raises:
        LoweringError: The activations' format is signed; after a ReLU the sign bit would be wasted.
    """
    if formats.activations.signed:
        raise LoweringError(
            f"The activations' format {formats.activations} is signed, but follows a ReLU",
            remedy=f"Take the unsigned format of the same width, e.g. u{formats.activations}",
        )
    copied = copy.deepcopy(network)
    depth = network.shape.depth
    # joined[level]: what the concatenation of that level joins, the skip and what comes from below.
    joined = [ActivationScale(formats.activations) for _ in range(depth)]
    top = ActivationScale(formats.activations)
    source: ActivationScale | None = None

    def replace(pair: nn.Module, target: ActivationScale, first: Format) -> None:
        nonlocal source
        inner = ActivationScale(formats.activations)
        units = cast(nn.Sequential, pair)
        units[0] = QuantizedConv(*_folded(cast(ConvUnit, units[0])), first, source, inner)
        units[1] = QuantizedConv(*_folded(cast(ConvUnit, units[1])), formats.weights, inner, target)
        source = target

    for level, pair in enumerate(copied.encoder):
        replace(pair, joined[level], formats.weights if level else formats.first_weights)
    replace(copied.middle, joined[depth - 1], formats.weights)
    for level, pair in zip(reversed(range(depth)), copied.decoder, strict=True):
        source = joined[level]
        replace(pair, joined[level - 1] if level else top, formats.weights)
    head = network.head
    bias = head.bias if head.bias is not None else torch.zeros(head.out_channels)
    copied.head = cast(nn.Conv2d, QuantizedConv(head.weight, bias, formats.head_weights, top, None))
    return copied


def calibrate(network: ThinUNet, batches: Iterable[Tensor]) -> None:
    """Set the scale of every activation from pixels that pass through the float activations.

    Args:
        network: From `quantize`.
        batches: Pixels ``float32[n, bands, rows, cols]``.
    """
    scales = [module for module in network.modules() if isinstance(module, ActivationScale)]
    for scale in scales:
        scale.exponent, scale.observed = None, []
    with torch.no_grad():
        for pixels in batches:
            network(pixels)
    for scale in scales:
        scale.calibrate()
