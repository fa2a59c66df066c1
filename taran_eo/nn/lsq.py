"""Steps that learn, of weights and activations: LSQ, for any format.

Source: Esser et al., Learned Step Size Quantization, arXiv 1902.08153: gradient as in section 2.1, scaled as in 2.2.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from taran_eo.formats import Format
from taran_eo.nn.quantizer import Quantizer
from taran_eo.nn.rounding import fake_quantize
from taran_eo.nn.sawb import least_error_scale, statistical_scale

SMALLEST = 1 / 16
"""A step stays above this share of what it began with: at none at all, nothing would be left to learn from."""


class LsqStep(Quantizer):
    """One step a layer or activation, a parameter.

    Attributes:
        step: ``float32[]``: what one of the format stands for.
        least: ``float32[]``: what it does not fall below.
    """

    decays = False
    least: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("least", torch.tensor(SMALLEST))

    def begin(self, sample: Tensor, fmt: Format) -> None:
        """Take the step of least square error (the paper begins with 2 mean|v| / sqrt(largest))."""
        with torch.no_grad():
            self.step.fill_(float(least_error_scale(sample, fmt)))
            self.least.copy_(SMALLEST * self.step)

    def switch(self, before: Format, after: Format) -> None:
        """Scale the step as that of normal values has to be for the other format."""
        with torch.no_grad():
            for each in (self.step, self.least):
                each.mul_(_normal_step(after) / _normal_step(before))

    def beside(self, values: Tensor, present: Format, fmt: Format) -> Tensor:
        """Round at the step that a switch would take."""
        return self._round(values, fmt, _normal_step(fmt) / _normal_step(present))

    def forward(self, values: Tensor, fmt: Format) -> Tensor:
        """Round at the step."""
        return self._round(values, fmt, 1.0)

    def _round(self, values: Tensor, fmt: Format, times: float) -> Tensor:
        slowed = 1 / math.sqrt(values.numel() * fmt.largest)
        step = times * torch.maximum(self.step, self.least)
        return fake_quantize(values, fmt, step * slowed + (step * (1 - slowed)).detach())


@cache
def _normal_step(fmt: Format) -> float:
    """The best step of normal values of variance one."""
    return float(statistical_scale(torch.erfinv((torch.arange(1024.0) + 0.5) / 1024), fmt))
