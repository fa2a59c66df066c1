"""Small graphs for the tests, of integers or floats: random Thin U-Nets, and operations in any order."""

from dataclasses import replace

import numpy as np

from taran_eo.formats import Integer, Scaling, decode, encode, integer_image, parse_format, to_image
from taran_eo.graph import FLOAT32, Concat, Conv, FloatConv, Graph, MaxPool, Requantize, Tensor, Upsample


def random_unet(rng, *, weights="e2m3", activations="ue2m4", width=6, depth=2, powers_of_two=True):
    """A Thin U-Net whose weights are drawn from all values of a format."""
    weight_format, activation_format = parse_format(weights), parse_format(activations)
    tensors = {"pixels": Tensor("pixels", 3, 0, Integer(8, signed=False), Scaling.power_of_two(-8))}
    ops = []

    def add(op, channels, level, fmt, scale):
        tensors[op.target] = Tensor(op.target, channels, level, fmt, Scaling((scale,)))
        ops.append(op)
        return op.target

    def conv(source, name, outputs, kernel=3, logits=False):
        before = tensors[source]
        codes = rng.integers(0, 2**weight_format.bits, (outputs, before.channels, kernel, kernel))
        image = to_image(codes, weight_format).clip(integer_image(weight_format).low)
        image = image.astype(integer_image(weight_format).lane)
        bias = rng.integers(-3000, 3000, outputs).astype(np.int32)
        if logits:
            return add(
                Conv(source, name, image, weight_format, bias, None), outputs, before.level, Integer(32), 2.0**-6
            )
        # Shifts that bring a typical sum of random products into the range of the target.
        spread = np.abs(image).mean() * integer_image(before.format).high / 2 * np.sqrt(image[0].size)
        shift = max(0, int(np.log2(spread / integer_image(activation_format).high * 2)))
        shifts = (shift + rng.integers(-1, 2, outputs)).clip(0)
        multipliers = np.ones(outputs)
        if not powers_of_two:
            multipliers = rng.integers(2**19, 2**20, outputs)
            shifts = shifts + 20
        how = Requantize(multipliers.astype(np.int32), shifts.astype(np.int32))
        op = Conv(source, name, image, weight_format, bias, how)
        return add(op, outputs, before.level, activation_format, 2.0**-3)

    def same(op, source, level):
        return add(op, tensors[source].channels, level, tensors[source].format, tensors[source].scaling.scales[0])

    top, skips = "pixels", []
    for level in range(depth):
        top = conv(conv(top, f"down{level}a", width), f"down{level}b", width)
        skips.append(top)
        top = same(MaxPool(top, f"pool{level}"), top, level + 1)
    top = conv(top, "middle", width)
    for level in reversed(range(depth)):
        top = same(Upsample(top, f"up{level}"), top, level)
        joined = Concat((top, skips.pop()), f"join{level}")
        top = add(joined, 2 * width, level, activation_format, 2.0**-3)
        top = conv(conv(top, f"up{level}a", width), f"up{level}b", width)
    conv(top, "logits", 1, kernel=1, logits=True)
    return Graph("random", tensors, tuple(ops), "pixels", "logits")


def in_float(graph, rng):
    """The same network with random float32 weights, under which activations keep their size."""
    one, unit = Scaling((1.0,)), Scaling((2.0**-16,))
    tensors = {name: replace(tensor, format=FLOAT32, scaling=one) for name, tensor in graph.tensors.items()}
    tensors["pixels"] = replace(graph.tensors["pixels"], scaling=one)
    tensors["logits"] = replace(graph.tensors["logits"], scaling=unit)
    ops = []
    for op in graph.ops:
        if isinstance(op, Conv):
            gain = np.sqrt(2 / op.weights[0].size) / (256 if op.source == "pixels" else 1)
            weights = rng.normal(0, gain, op.weights.shape).astype(np.float32)
            bias = rng.normal(0, 0.1, op.bias.shape).astype(np.float32)
            ops.append(FloatConv(op.source, op.target, weights, bias, relu=op.requantize is not None))
        else:
            ops.append(op)
    return Graph(graph.name, tensors, tuple(ops), graph.input, graph.output)


def one_layer(name, shift, multiplier, weight=1):
    """A 1 x 1 convolution that takes the pixel to every accumulator at will."""
    fmt = parse_format(name)
    tensors = {
        "pixels": Tensor("pixels", 2, 0, Integer(8, signed=False), Scaling.power_of_two(0)),
        "coarse": Tensor("coarse", 2, 0, fmt, Scaling.power_of_two(0)),
        "logits": Tensor("logits", 1, 0, Integer(32), Scaling.power_of_two(0)),
    }
    how = Requantize(np.full(2, multiplier, np.int32), np.full(2, shift, np.int32))
    weights = np.array([[[[1]], [[weight]]], [[[-1]], [[-weight]]]], np.int16)
    join = np.array([[[[1]], [[4096]]]], np.int16)
    ops = (
        Conv("pixels", "coarse", weights, Integer(16), np.array([-3, 255], np.int32), how),
        Conv("coarse", "logits", join, Integer(16), np.zeros(1, np.int32), None),
    )
    return Graph("staircase", tensors, ops, "pixels", "logits")


def every_pair():
    """All pairs of pixels, ``uint8[2, 256, 256]``."""
    return np.stack(np.meshgrid(np.arange(256), np.arange(256))).astype(np.uint8)


def chain(*ops, fmt="ue2m4", channels=5, bands=3, level=0):
    """A graph of operations by name: ``conv3`` and so on, ``pool``, ``up``, ``join NAME``."""
    rng = np.random.default_rng(len(ops))
    tensors = {"pixels": Tensor("pixels", bands, 0, Integer(8, signed=False), Scaling.power_of_two(-8))}
    made = []

    def add(op, count, at):
        tensors[op.target] = Tensor(op.target, count, at, parse_format(fmt), Scaling.power_of_two(-3))
        made.append(op)

    def resized(op, step):
        source = tensors[op.source]
        tensors[op.target] = replace(source, name=op.target, level=source.level + step)
        made.append(op)

    top = "pixels"
    for number, what in enumerate(ops):
        name, before = f"t{number}", tensors[top]
        if what.startswith("conv"):
            size = int(what[4:])
            weights = rng.integers(-60, 61, (channels, before.channels, size, size))
            image = parse_format("e2m3")
            weights = (decode(encode(weights / 8.0, image), image) * 8).astype(np.int8)
            how = Requantize(np.ones(channels, np.int32), rng.integers(8, 11, channels).astype(np.int32))
            add(Conv(top, name, weights, image, rng.integers(-99, 99, channels).astype(np.int32), how), channels,
                before.level)  # fmt: skip
        elif what == "pool":
            resized(MaxPool(top, name), 1)
        elif what == "up":
            resized(Upsample(top, name), -1)
        else:
            other = what.split()[1]
            add(Concat((top, other), name), before.channels + tensors[other].channels, before.level)
        top = name
    last = tensors[top]
    weights = rng.integers(-8, 8, (2, last.channels, 3, 3)).astype(np.int8)
    tensors["logits"] = Tensor("logits", 2, last.level, Integer(32), Scaling.power_of_two(-3))
    made.append(Conv(top, "logits", weights, Integer(8), np.array([5, -5], np.int32), None))
    return Graph("chain", tensors, tuple(made), "pixels", "logits")
