"""ONNX Runtime gives the integers of the reference, on random networks of every route."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo.engines import open_engine
from taran_eo.errors import GraphError
from taran_eo.formats import Integer, Scaling
from taran_eo.graph import Conv, Graph, Requantize, Tensor, run
from tests.graph.networks import every_pair, one_layer, random_unet

ROUTES = [
    ("e2m3", "ue2m4", True),
    ("e3m2", "ue3m3", True),
    ("e2m3", "ue2m4", False),
    ("int8n", "uint8", True),
    ("int8n", "uint8", False),
    ("e2m1", "ue2m2", True),
    ("e3m3", "ue3m3", False),
    ("int6", "uint6", True),
]


@pytest.mark.parametrize(("weights", "activations", "powers"), ROUTES)
def test_random_networks(weights, activations, powers):
    rng = np.random.default_rng(11)
    graph = random_unet(rng, weights=weights, activations=activations, width=12, depth=2, powers_of_two=powers)
    engine = open_engine("onnxruntime", graph, threads=1)
    for shape in ((3, 4, 4), (3, 40, 24)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        assert np.array_equal(engine.run(pixels), run(graph, pixels))


@pytest.mark.parametrize("name", ["ue2m4", "ue3m3", "e2m3", "e3m2", "ue2m2", "uint6", "int6n", "ue4m2"])
@pytest.mark.parametrize(("shift", "multiplier"), [(0, 1), (1, 1), (3, 1), (0, 3), (9, 1001)])
def test_every_accumulator_on_every_stair(name, shift, multiplier):
    graph = one_layer(name, shift, multiplier, weight=256)
    pixels = every_pair()
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), run(graph, pixels))


def test_the_most_negative_input_counts():
    # A signed 8-bit input reaches -128, one further than its largest value.
    tensors = {
        "pixels": Tensor("pixels", 1, 0, Integer(8, signed=False), Scaling.power_of_two(0)),
        "signed": Tensor("signed", 1037, 0, Integer(8), Scaling.power_of_two(0)),
        "logits": Tensor("logits", 1, 0, Integer(32), Scaling.power_of_two(0)),
    }
    weights = np.full((1, 1037, 1, 1), 127, np.int8)
    weights[0, -1] = 1
    spread = np.full((1037, 1, 1, 1), -1, np.int8)
    how = Requantize(np.ones(1037, np.int32), np.zeros(1037, np.int32))
    ops = (
        Conv("pixels", "signed", spread, Integer(8), np.zeros(1037, np.int32), how),
        Conv("signed", "logits", weights, Integer(8), np.zeros(1, np.int32), None),
    )
    graph = Graph("negative", tensors, ops, "pixels", "logits")
    pixels = np.full((1, 2, 2), 128, np.uint8)
    assert run(graph, pixels)[0, 0, 0] == -128 * (1036 * 127 + 1)
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), run(graph, pixels))


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(ROUTES))
def test_any_network(seed, route):
    weights, activations, powers = route
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 40))
    graph = random_unet(rng, weights=weights, activations=activations, width=width, depth=1, powers_of_two=powers)
    pixels = rng.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), run(graph, pixels))


def test_a_tile_that_does_not_fit_is_refused():
    engine = open_engine("onnxruntime", random_unet(np.random.default_rng(0)), threads=1)
    with pytest.raises(GraphError):
        engine.run(np.zeros((3, 5, 4), np.uint8))


def test_nothing_is_reported_to_anyone(tmp_path):
    # The runtime's telemetry keeps its queue and a device number under the home folder.
    code = (
        "import numpy as np; from taran_eo.engines import open_engine; from taran_eo.model import Model;"
        "open_engine('onnxruntime', Model.open().graph, threads=1).run(np.zeros((3, 16, 16), np.uint8))"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", code], check=True, env=kept | {"HOME": str(tmp_path)})
    assert list(tmp_path.rglob("*")) == []
