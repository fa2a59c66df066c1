"""Weights by their statistics and activations by a clip that learns: SAWB and PACT, for any format.

Source: Choi et al., PACT, arXiv 1805.06085; for the weights see `taran_eo.nn.sawb`.
"""

import torch
from torch import Tensor, nn

from taran_eo.formats import Format
from taran_eo.nn.quantizer import Quantizer
from taran_eo.nn.rounding import fake_quantize
from taran_eo.nn.sawb import least_error_scale, statistical_scale

SMALLEST_CLIP = 1e-3


class SawbWeights(Quantizer):
    """One scale a layer, which follows the weights."""

    def forward(self, values: Tensor, fmt: Format) -> Tensor:
        """Round at the scale of their statistics."""
        return fake_quantize(values, fmt, statistical_scale(values, fmt))


class PactClip(Quantizer):
    """Values above a clip become it; it learns from those, and decays like a weight.

    Attributes:
        clip: ``float32[]``, the largest value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clip = nn.Parameter(torch.tensor(6.0))

    def begin(self, sample: Tensor, fmt: Format) -> None:
        """Clip where the square error is least."""
        with torch.no_grad():
            self.clip.fill_(float(least_error_scale(sample, fmt)) * fmt.largest)

    def forward(self, values: Tensor, fmt: Format) -> Tensor:
        """Round so that the clip is the format's largest value."""
        return fake_quantize(values, fmt, self.clip.clamp_min(SMALLEST_CLIP) / fmt.largest, clips=True)
