"""The gate: a tiny network that says where a ship may be, so that the U-Net runs nowhere else.

It halves its input again and again and never goes back up: one logit for each cell of ``2**depth`` pixels. The first
halving is of the pixels themselves, by their maximum, as ships are brighter than the sea; every convolution then costs
a quarter of what it would. Of most scenes this is the only network that ever runs.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.nn.thin_unet import PIXEL_SCALE, ConvUnit, double


@dataclass(frozen=True)
class ShipGateShape:
    """What a gate looks like.

    Attributes:
        bands: Input bands.
        width: Channels of the two finest levels; the others, where a channel costs little, have twice as many.
        depth: Poolings; a cell has ``2**depth`` rows and columns.
    """

    bands: int = 3
    width: int = 16
    depth: int = 4

    def channels(self, level: int) -> int:
        """Channels at `level`, 0 being the pixels."""
        return self.bands if level == 0 else self.width * (1 if level <= 2 else 2)


class ShipGate(nn.Module):
    """The float network: pixels in, a logit for each cell out.

    Example:
        >>> import torch
        >>> ShipGate(ShipGateShape())(torch.zeros(1, 3, 32, 64)).shape
        torch.Size([1, 1, 2, 4])
    """

    def __init__(self, shape: ShipGateShape) -> None:
        super().__init__()
        self.shape = shape
        self.levels = nn.ModuleList(
            ConvUnit(shape.channels(level), shape.channels(level + 1)) for level in range(shape.depth)
        )
        self.around = double(shape.channels(shape.depth), shape.channels(shape.depth))
        self.head = nn.Conv2d(shape.channels(shape.depth), 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Judge a batch.

        Args:
            pixels: ``[n, bands, rows, cols]``, values 0 to 255; rows and cols multiples of ``2**depth``.

        Returns:
            Logits ``[n, 1, rows / 2**depth, cols / 2**depth]``: whether a pixel of the cell is ship.
        """
        features = pixels * PIXEL_SCALE
        for level in self.levels:
            features = level(F.max_pool2d(features, 2))
        logits: Tensor = self.head(self.around(features))
        return logits
