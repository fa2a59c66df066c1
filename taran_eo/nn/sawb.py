"""A scale from two statistics of the weights, for any format: statistics-aware weight binning.

The scale of least square error follows from the root mean square and the mean magnitude (Choi et al., Accurate and
Efficient 2-bit Quantized Neural Networks, MLSys 2019, who fit a line for each width of integers). Here it is read off
between the shapes of `_SHAPES`, from flat to heavy-tailed, so that wide formats and minifloats have it too.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taran_eo.formats import Format
from taran_eo.nn.rounding import fake_quantize

QUANTILES = 4096
TRIED = torch.logspace(-2.0, 0.0, 97)
"""Scales that are tried, as shares of the one that covers the largest value."""


def least_error_scale(values: Tensor, fmt: Format) -> Tensor:
    """The scale of the least mean square error, ``float32[]``, of values ``float32[n]`` that are not all zero."""
    cover = values.abs().amax() / fmt.largest
    errors = [(fake_quantize(values, fmt, share * cover) - values).square().mean() for share in TRIED]
    return cover * TRIED[torch.stack(errors).argmin()]


def _shapes() -> list[Tensor]:
    """Magnitudes: uniform, triangular, normal, logistic, Laplacian, and normal squared; by rising tails."""
    share = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
    normal = torch.erfinv(share)
    return [
        each.float()
        for each in (
            share,
            1 - (1 - share).sqrt(),
            normal,
            ((1 + share) / (1 - share)).log(),
            -(1 - share).log(),
            normal.square(),
        )
    ]


@cache
def _table(fmt: Format) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each shape the root mean square, rising, and the best scale, both over the mean magnitude."""
    tails, scales = [], []
    for magnitudes in _shapes():
        mean = magnitudes.mean()
        values = magnitudes if fmt.lowest == 0 else torch.cat([-magnitudes, magnitudes])
        tails.append(float(magnitudes.square().mean().sqrt() / mean))
        scales.append(float(least_error_scale(values, fmt) / mean))
    return np.array(tails), np.array(scales)


def statistical_scale(values: Tensor, fmt: Format) -> Tensor:
    """The scale for some values, ``float32[]``, without a gradient; that of values which are all zero is tiny."""
    held = values.detach().float()
    mean = held.abs().mean().clamp_min(2.0**-100)
    tail = held.square().mean().sqrt() / mean
    return mean * float(np.interp(tail.item(), *_table(fmt)))
