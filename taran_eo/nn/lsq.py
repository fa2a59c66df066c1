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

SMALLEST_STEP = 2.0**-40


class LsqStep(Quantizer):
    """One step a layer or activation, a parameter.

    Attributes:
        step: ``float32[]``: what one of the format stands for.
    """

    decays = False

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(1.0))

    def begin(self, sample: Tensor, fmt: Format) -> None:
        """Take the step of least square error (the paper begins with 2 mean|v| / sqrt(largest))."""
        with torch.no_grad():
            self.step.fill_(float(least_error_scale(sample, fmt)))

    def switch(self, before: Format, after: Format) -> None:
        """Scale the step as that of normal values has to be for the other format."""
        with torch.no_grad():
            self.step.mul_(_normal_step(after) / _normal_step(before))

    def beside(self, values: Tensor, present: Format, fmt: Format) -> Tensor:
        """Round at the step that a switch would take."""
        return self._round(values, fmt, self.step * (_normal_step(fmt) / _normal_step(present)))

    def forward(self, values: Tensor, fmt: Format) -> Tensor:
        """Round at the step."""
        return self._round(values, fmt, self.step)

    def _round(self, values: Tensor, fmt: Format, step: Tensor) -> Tensor:
        slowed = 1 / math.sqrt(values.numel() * fmt.largest)
        step = step.clamp_min(SMALLEST_STEP)
        return fake_quantize(values, fmt, step * slowed + (step * (1 - slowed)).detach())


@cache
def _normal_step(fmt: Format) -> float:
    """The best step of normal values of variance one."""
    return float(statistical_scale(torch.erfinv((torch.arange(1024.0) + 0.5) / 1024), fmt))
