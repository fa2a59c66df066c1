"""A small residual-free network of modules, quantized and calibrated, with a batch of its own."""

import torch
from torch import nn

from taran_eo.formats import parse_format, spend_sign
from taran_eo.nn.quantized_modules import ModuleFormats, QuantizedModules, calibrate_modules

SIDE = 4


def floating(side=SIDE, classes=3, seed=0):
    """Two convolutions and a linear layer, each behind a ReLU, in evaluation mode."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * side * side, classes),
    ).eval()


def batch(count=8, seed=1):
    """Pixels about zero, and a class for each."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, SIDE, SIDE, generator=rng), torch.randint(0, 3, (count,), generator=rng)


def modules(weights="int4", way="pact", **changes):
    """The network with its weights in a format, and its activations in the unsigned one of the same width."""
    fmt = parse_format(weights)
    network = QuantizedModules(floating(), ModuleFormats(fmt, spend_sign(fmt), way=way, **changes), SIDE)
    calibrate_modules(network, [batch()[0]])
    return network.eval()
