"""Networks of every kind that leaves as an archive or as C."""

from dataclasses import replace

import numpy as np

from taran_eo.formats import Integer
from taran_eo.graph import Conv, Graph
from taran_eo.nn.lowering import lower
from tests.graph.networks import chain, one_layer, random_unet
from tests.nn.mixed import mixed_unet

ROUTES = [
    ("e2m1", "ue2m2", True),
    ("int4", "uint8", True),
    ("e2m2", "ue2m3", True),
    ("e2m3", "ue2m4", True),
    ("e2m3", "e2m3", False),
    ("e3m2", "ue3m3", True),
    ("int6", "uint6", True),
    ("int8n", "uint8", False),
    ("int8", "int8", True),
    ("e3m4", "ue3m3", True),
    ("e3m5", "ue2m4", True),
    ("int11", "int8", True),
]
"""Codes of 4, 5, 6 and 8 bits, and weights that are no codes; bytes and words, signed and not."""

CHAINS = [
    ("conv1",),
    ("conv5", "conv7"),
    ("conv3", "pool", "pool", "up", "up", "conv3"),
    ("conv3", "pool", "up", "pool", "conv3"),
    ("conv3", "conv3", "join t0", "pool", "conv3", "up"),
    ("conv3", "pool", "conv3", "join t1", "up", "conv3", "join t0", "conv3"),
    ("conv3", "pool", "conv3"),
    ("pool", "conv3", "pool", "conv3"),
]


def narrow_in_a_wide_format():
    """Weights of a wide format that all lie in bytes."""
    graph = chain("conv3", "pool", "conv3")
    ops = tuple(
        replace(op, weights=op.weights.astype(np.int16), weight_format=Integer(12)) if isinstance(op, Conv) else op
        for op in graph.ops
    )
    return Graph(graph.name, graph.tensors, ops, graph.input, graph.output)


def networks(rng):
    """Some of every kind."""
    for weights, activations, powers in ROUTES:
        yield random_unet(rng, weights=weights, activations=activations, width=5, depth=2, powers_of_two=powers)
    yield random_unet(rng, width=17, depth=1)
    for number, ops in enumerate(CHAINS):
        yield chain(*ops, fmt=("ue2m4", "e2m3", "e3m2")[number % 3])
    yield one_layer("ue3m3", 3, 3)
    yield narrow_in_a_wide_format()
    for family in ("int8", "e2m3"):
        yield lower(mixed_unet(family, rng), "mixed")
