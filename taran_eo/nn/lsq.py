"""Steps that learn, of weights and activations: LSQ, for any format.

Source: Esser et al., Learned Step Size Quantization, arXiv 1902.08153: gradient as in section 2.1, scaled as in 2.2.
"""

import math

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
        normal = torch.erfinv((torch.arange(1024.0) + 0.5) / 1024)
        with torch.no_grad():
            self.step.mul_(statistical_scale(normal, after) / statistical_scale(normal, before))

    def forward(self, values: Tensor, fmt: Format) -> Tensor:
        """Round at the step."""
        slowed = 1 / math.sqrt(values.numel() * fmt.largest)
        step = self.step.clamp_min(SMALLEST_STEP)
        return fake_quantize(values, fmt, step * slowed + (step * (1 - slowed)).detach())
