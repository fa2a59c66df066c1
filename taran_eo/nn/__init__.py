"""Minifloats and integers in torch: fake quantization, whole quantized networks, and their lowering to the graph.

Needs the extra ``train``. Four things are here for use by themselves:

* `fake_quantize` rounds a tensor to a scaled format of `taran_eo.formats`, every value as defined there, and lets the
  gradient through; the scale may be a number, a tensor that broadcasts, or a parameter that learns.
  `fake_quantize_blocks` does so in blocks (MXFP4, MXFP6, MXINT8), `round_to` without a gradient. `compile_kernels`
  once at the start makes them as fast as a copy and changes no result.
* `quantize` makes a `QuantizedNetwork` of any trained network of convolutions, ReLU, 2x2 max pooling, nearest
  upsampling and concatenation, as a `Quantization` says; `calibrate` sets the scales of its activations. It trains like
  any other network, and `lower` freezes it into an integer program (`taran_eo.graph`) with the same logits.
* `LearnedBits` learns the widths of either while it trains, by AdaQAT, in the groups and for the cost that a `Learning`
  says. For networks of any operations there is `QuantizedModules`, which rounds the weights of convolutions and linear
  layers and the results of ReLU modules where they stand, with batch norms and real scales; it is not lowered.
* `ThinUNet` is the float network of this project, `ShipGate` the tiny one that decides where it runs, and `ResNet` what
  the widths of others are published for.

Example:
    Six bits in a network of one's own, forward and backward:

    >>> import torch
    >>> from taran_eo.formats import parse_format
    >>> weight = torch.tensor([0.3, -0.71, 40.0], requires_grad=True)
    >>> rounded = fake_quantize(weight, parse_format("e3m2"))
    >>> rounded
    tensor([ 0.3125, -0.7500, 28.0000], grad_fn=<_StraightThroughBackward>)
    >>> rounded.sum().backward()
    >>> weight.grad  # stops where the value saturated
    tensor([1., 1., 0.])

    A whole network, with E2M3 weights and, behind each ReLU, unsigned E2M4:

    >>> network = ThinUNet(ThinUNetShape(width=4, depth=1)).eval()  # trained, normally
    >>> pixels = torch.arange(3 * 16 * 16.0).reshape(1, 3, 16, 16) % 256
    >>> e2m3, ue2m4 = parse_format("e2m3"), parse_format("ue2m4")
    >>> quantized = quantize(network, Quantization(e2m3, ue2m4))
    >>> calibrate(quantized, [pixels])
    >>> graph = lower(quantized.eval(), "tiny")

    The graph, on integers alone, gives the logits of the network, exactly:

    >>> from taran_eo.graph import run
    >>> logits = run(graph, pixels[0].byte().numpy()) * graph.logit_scale
    >>> bool((logits == quantized(pixels)[0].detach().numpy()).all())
    True
"""

from taran_eo.nn.learned_bits import LearnedBits, Learning
from taran_eo.nn.lowering import lower
from taran_eo.nn.quantized import QuantizedNetwork, calibrate, quantize
from taran_eo.nn.quantized_modules import ModuleFormats, QuantizedModules, calibrate_modules
from taran_eo.nn.resnet import ResNet
from taran_eo.nn.rounding import compile_kernels, fake_quantize, fake_quantize_blocks, round_to
from taran_eo.nn.scales import Quantization
from taran_eo.nn.ship_gate import ShipGate, ShipGateShape
from taran_eo.nn.thin_unet import ThinUNet, ThinUNetShape

__all__ = [
    "LearnedBits",
    "Learning",
    "ModuleFormats",
    "Quantization",
    "QuantizedModules",
    "QuantizedNetwork",
    "ResNet",
    "ShipGate",
    "ShipGateShape",
    "ThinUNet",
    "ThinUNetShape",
    "calibrate",
    "calibrate_modules",
    "compile_kernels",
    "fake_quantize",
    "fake_quantize_blocks",
    "lower",
    "quantize",
    "round_to",
]
