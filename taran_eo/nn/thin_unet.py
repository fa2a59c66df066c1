"""Thin U-Net: a U-Net of constant width at every level.

The name comes from the ship segmentation study that this project continues; its definition was never
published. Ours is the reading of Vaze, Xie and Namburete (IEEE JBHI 2020, doi 10.1109/JBHI.2019.2961264):
few channels, the same number at each level, plain upsampling, skips by concatenation. With 32 channels and
4 poolings it has 196 k parameters and costs 31.2 GMAC for a tile of 768 x 768 pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

PIXEL_SCALE = 2.0**-8
"""Pixels enter as integers 0 to 255 and are scaled by a power of two; a mean is not subtracted, so that zero
padding stays zero."""


@dataclass(frozen=True)
class ThinUNetShape:
    """What a Thin U-Net looks like.

    Attributes:
        bands: Input bands.
        width: Channels at full resolution ("32" in Thin U-Net 32).
        depth: Poolings; the input's rows and columns must be multiples of ``2**depth``.
        growth: Factor on the channels from a level to the next lower one; 1 is "thin", 2 the classic U-Net.
        classes: Output channels; 1 is ship against everything else.
        skips: Channels that each skip connection is squeezed to by a 1x1 convolution; 0 takes the skips out, None
            passes all channels as they are.
    """

    bands: int = 3
    width: int = 32
    depth: int = 4
    growth: int = 1
    classes: int = 1
    skips: int | None = None

    def channels(self, level: int) -> int:
        """Channels at `level`, 0 being full resolution."""
        return int(self.width * self.growth**level)

    def skipped(self, level: int) -> int:
        """Channels that the skip connection of `level` brings."""
        return self.channels(level) if self.skips is None else self.skips


class ConvUnit(nn.Module):
    """A convolution, 3x3 unless told otherwise, its batch norm and a ReLU: what becomes one integer operation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, inputs, rows, cols]`` to ``[n, outputs, rows, cols]``, not negative."""
        return F.relu(self.norm(self.conv(features)))


def double(inputs: int, outputs: int) -> nn.Sequential:
    """The two convolution units of one level."""
    return nn.Sequential(ConvUnit(inputs, outputs), ConvUnit(outputs, outputs))


class ThinUNet(nn.Module):
    """The float network: pixels in, logits out.

    Example:
        >>> ThinUNet(ThinUNetShape())(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    def __init__(self, shape: ThinUNetShape) -> None:
        super().__init__()
        self.shape = shape
        levels = [shape.channels(level) for level in range(shape.depth + 1)]
        self.encoder = nn.ModuleList(
            double(shape.bands if level == 0 else levels[level - 1], levels[level]) for level in range(shape.depth)
        )
        self.middle = double(levels[-2] if shape.depth else shape.bands, levels[-1])
        self.decoder = nn.ModuleList(
            double(levels[level + 1] + shape.skipped(level), levels[level]) for level in reversed(range(shape.depth))
        )
        self.squeeze = nn.ModuleList(
            ConvUnit(levels[level], shape.skips, kernel=1) for level in range(shape.depth) if shape.skips
        )
        self.head = nn.Conv2d(levels[0], shape.classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Segment a batch.

        Args:
            pixels: ``[n, bands, rows, cols]``, values 0 to 255; rows and cols multiples of ``2**depth``.

        Returns:
            Logits ``[n, classes, rows, cols]``.
        """
        features = pixels * PIXEL_SCALE
        skips: list[Tensor] = []
        for number, level in enumerate(self.encoder):
            features = level(features)
            skips.append(self.squeeze[number](features) if len(self.squeeze) else features)
            features = F.max_pool2d(features, 2)
        features = self.middle(features)
        for level in self.decoder:
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            skip = skips.pop()
            features = level(features if self.shape.skips == 0 else torch.cat([features, skip], dim=1))
        logits: Tensor = self.head(features)
        return logits
