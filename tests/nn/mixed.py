"""A U-Net in which each layer has formats of its own, as learned widths leave it."""

import torch

from taran_eo.formats import Integer, parse_format, spend_sign
from taran_eo.nn.learned_bits import splits
from taran_eo.nn.quantized import calibrate, quantize
from taran_eo.nn.scales import Quantization
from taran_eo.nn.sites import sites
from taran_eo.nn.thin_unet import ThinUNetShape
from tests.nn.test_quantized import trained_like


def unet(weights="e2m3", **changes):
    """One format of weights everywhere, and that of activations that goes with it."""
    fmt = parse_format(weights)
    network = quantize(trained_like(ThinUNetShape(width=4, depth=2)), Quantization(fmt, spend_sign(fmt), **changes))
    calibrate(network, [torch.randint(0, 256, (2, 3, 32, 32)).float() for _ in range(3)])
    return network


def mixed_unet(family, rng):
    """Widths from 2 to 8 of ``int8``, and any split of 3 to 7 bits of minifloats."""
    network = unet(family)
    for site in sites(network.layers()):
        fmt = Integer(int(rng.integers(2, 9)))
        if family != "int8":
            found = splits(int(rng.integers(3, 8)))
            fmt = found[int(rng.integers(len(found)))]
        site.take(fmt if site.kind == "weights" else spend_sign(fmt))
    return network.eval()
