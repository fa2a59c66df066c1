"""Which format stands where in a quantized network, and how scales are found."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from taran_eo.formats import BlockFormat, Format, Scaling
from taran_eo.nn.rounding import PowerOfTwo, fake_quantize

PERCENTILE = 0.9999
"""Share of the magnitudes that the percentile calibration does not let saturate."""

POWERS = 4
"""Powers of two that are tried for the least square error: that which covers the largest value, and smaller ones."""

SHARES = torch.linspace(0.2, 1.0, 65)
"""What is tried instead with real scales: shares of the scale that covers the largest value."""

AnyFormat = Format | BlockFormat
Calibration = Literal["max", "percentile", "mse"]


@dataclass(frozen=True)
class Quantization:
    """Which format stands where, and how scales are found.

    Attributes:
        weights: Of every convolution.
        activations: After every ReLU. A signed format is stored with its sign bit, which is then always zero.
        first_weights: Of the convolution on the pixels, if not `weights`.
        head_weights: Of the last convolution, if not `weights`; it has one scale for all channels.
        skips: Of what a concatenation takes from further back, rounded once more; None leaves it in `activations`.
            Studied only, never lowered.
        power_of_two: Whether scales are powers of two, which is what flies, or any positive number.
        per_channel: Whether weights have one scale an output channel, or one a layer.
        learned: Whether scales are parameters that train, or stay as calibrated.
        scale_by: What a scale is chosen by: to cover the largest magnitude, to cover the `PERCENTILE`, or the least
            mean square error. The last two look at a sample of the activations.
    """

    weights: AnyFormat
    activations: AnyFormat
    first_weights: AnyFormat | None = None
    head_weights: AnyFormat | None = None
    skips: AnyFormat | None = None
    power_of_two: bool = True
    per_channel: bool = True
    learned: bool = False
    scale_by: Calibration = "mse"


class Scale(nn.Module):
    """A scale, or one a channel, as a logarithm: a parameter where it is learned, else a buffer.

    Attributes:
        log2: ``float32[channels]``; NaN until it is known.
    """

    log2: Tensor

    def __init__(self, channels: int, how: Quantization) -> None:
        super().__init__()
        self.power_of_two = how.power_of_two
        unknown = torch.full((channels,), torch.nan)
        if how.learned:
            self.log2 = nn.Parameter(unknown)
        else:
            self.register_buffer("log2", unknown)

    def forward(self) -> Tensor:
        """The scale, ``float32[channels]``."""
        return cast(Tensor, PowerOfTwo.apply(self.log2)) if self.power_of_two else self.log2.exp2()  # type: ignore[no-untyped-call]

    @property
    def known(self) -> bool:
        """Whether it was calibrated."""
        return bool(torch.isfinite(self.log2).all())


def choose_scales(rows: Tensor, fmt: Format, how: Quantization) -> Tensor:
    """The scale of each row of values.

    Args:
        rows: ``float32[channels, n]``; no row is all zero.
        fmt: The format.
        how: By what a scale is chosen, and whether it is a power of two.

    Returns:
        ``float32[channels]``.
    """
    magnitudes = rows.abs()
    largest = magnitudes.amax(dim=1)
    if how.scale_by == "percentile":
        place = max(1, round(PERCENTILE * rows.shape[1]))
        largest = magnitudes.kthvalue(place, dim=1).values.clamp_min(largest * 2.0**-POWERS)
    cover = Scaling.covering(largest.double().numpy(), fmt, axis=0, power_of_two=how.power_of_two)
    scales = torch.tensor(cover.scales, dtype=torch.float32)
    if how.scale_by != "mse":
        return scales
    shares = 2.0 ** -torch.arange(POWERS) if how.power_of_two else SHARES.flip(0)
    errors = [(fake_quantize(rows, fmt, (scales * share)[:, None]) - rows).square().mean(dim=1) for share in shares]
    return scales * shares[torch.stack(errors).argmin(dim=0)]
