"""Residual networks for small and for large pictures: ResNet-20 of CIFAR-10 and ResNet-18 of ImageNet.

They are what learned bit-widths are compared on (`taran_eo.nn.learned_bits`). Every ReLU is a module of its own, so
that a quantizer may take its place. They have strides and sums, for which the integer graph has no operation.
"""

from typing import Literal

import torch
from torch import Tensor, nn

PIXEL_MIDDLE = 128.0
PIXEL_UNIT = 64.0
"""Pixels enter as integers 0 to 255, less the one and divided by the other: 8-bit numbers of about unit variance."""

ResNetDepth = Literal[18, 20]


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity; where the shape changes, beside a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.between = nn.ReLU()
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.after = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[n, inputs, rows, cols]`` to ``[n, outputs, rows / stride, cols / stride]``, not negative."""
        inside = self.between(self.first_norm(self.first(features)))
        result: Tensor = self.after(self.second_norm(self.second(inside)) + self.shortcut(features))
        return result


class ResNet(nn.Module):
    """The float network: pixels in, a logit for each class out.

    Source: He, Zhang, Ren and Sun, arXiv 1512.03385: section 4.2 for depth 20, with projections where the shape
    changes (their option B); table 1 for depth 18.

    Example:
        >>> ResNet(20, 10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, depth: ResNetDepth, classes: int) -> None:
        super().__init__()
        widths, blocks = ((16, 32, 64), 3) if depth == 20 else ((64, 128, 256, 512), 2)
        first = widths[0]
        stem = [nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
        if depth == 18:
            stem[0] = nn.Conv2d(3, first, 7, 2, padding=3, bias=False)
            stem.append(nn.MaxPool2d(3, 2, padding=1))
        self.stem = nn.Sequential(*stem)
        inputs, stages = first, []
        for level, width in enumerate(widths):
            for block in range(blocks):
                stages.append(Residual(inputs, width, 2 if level and not block else 1))
                inputs = width
        self.blocks = nn.Sequential(*stages)
        self.mean = nn.AdaptiveAvgPool2d(1)
        # Means of what is not negative are not: it changes nothing, and is where what the head reads is quantized.
        self.means = nn.ReLU()
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify a batch.

        Args:
            pixels: ``[n, 3, rows, cols]``, values 0 to 255.

        Returns:
            Logits ``[n, classes]``.
        """
        features = self.blocks(self.stem((pixels - PIXEL_MIDDLE) / PIXEL_UNIT))
        logits: Tensor = self.head(self.means(torch.flatten(self.mean(features), 1)))
        return logits
