"""The gate: a tiny network that says where a ship may be, so that the U-Net runs nowhere else.

It halves its input again and again and never goes back up: one logit for each cell of ``2**depth`` pixels. One
convolution sees the pixels as they are, as a dark ship on glittering water is lost in their maximum; the next one comes
two poolings below it, where it costs a sixteenth. Of most scenes this is the only network that ever runs.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.nn.thin_unet import PIXEL_SCALE, ConvUnit, double

SHALLOWEST_GATE = 2


@dataclass(frozen=True)
class ShipGateShape:
    """What a gate looks like.

    Attributes:
        bands: Input bands.
        width: Channels of the first layer; the others, where a channel costs little, have twice as many.
        depth: Poolings, at least `SHALLOWEST_GATE`; a cell has ``2**depth`` rows and columns.
    """

    bands: int = 3
    width: int = 16
    depth: int = 4


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
        wide = 2 * shape.width
        self.first = ConvUnit(shape.bands, shape.width)
        self.levels = nn.ModuleList(
            ConvUnit(shape.width if level == 2 else wide, wide) for level in range(2, shape.depth + 1)
        )
        self.around = double(wide, wide)
        self.head = nn.Conv2d(wide, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Judge a batch.

        Args:
            pixels: ``[n, bands, rows, cols]``, values 0 to 255; rows and cols multiples of ``2**depth``.

        Returns:
            Logits ``[n, 1, rows / 2**depth, cols / 2**depth]``: whether a pixel of the cell is ship.
        """
        features = F.max_pool2d(self.first(pixels * PIXEL_SCALE), 2)
        for level in self.levels:
            features = level(F.max_pool2d(features, 2))
        logits: Tensor = self.head(self.around(features))
        return logits
