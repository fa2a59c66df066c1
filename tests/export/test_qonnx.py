"""QONNX, in the environment of its own that `make test` makes: its tools take the form, and its executor agrees."""

import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from taran_eo.errors import GraphError
from taran_eo.export.onnx_real import to_qonnx
from taran_eo.formats import parse_format
from taran_eo.graph import run
from taran_eo.model import Model, shipped
from tests.export.replaying import exported, replayed
from tests.graph import networks


@pytest.fixture(scope="session")
def python(repository):
    """The interpreter that has qonnx."""
    interpreter = repository / ".venv-qonnx" / "bin" / "python"
    if not interpreter.exists():
        message = "qonnx is missing: `make .venv-qonnx/installed` installs it"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)
    return interpreter


def quantizers(model, source):
    """The nodes whose first input is a constant, or is none, each with its other inputs as numbers."""
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("Quant", "FloatQuant")]
    return [
        (node, [stored[name] for name in node.input[1:]])
        for node in nodes
        if (node.input[0] in stored) == (source == "weights")
    ]


@pytest.mark.parametrize("name", ["thin_unet16_e2m3", "ship_gate_e2m3", "thin_unet32_e3m2", "thin_unet32_int6"])
def test_its_executor_gives_the_logits_of_the_graph(name, python, tmp_path):
    # E2M3 and integers by calculation: all scales are powers of two, and sums stay below 2**24. E3M2 sums up to five
    # times as far, and is rounded in float32 then, which changes no result here.
    model = Model.open(shipped(name))
    rows, cols = model.golden()[0].shape[2:]
    exported(tmp_path, model, "qonnx", to_qonnx(model.graph, rows, cols), dtype="float32", exact=True)
    code, lines = replayed(tmp_path, python=python)
    assert code == 0
    assert json.loads(lines[-1]) == {"vectors": 4, "largest": 0.0, "mask_pixels": 0, "logits_differing": 0}


EXECUTE = """
import sys, numpy
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
for number in range(int(sys.argv[1])):
    model = ModelWrapper(f"{number}.onnx").transform(InferShapes())
    (logits,) = execute_onnx(model, {"pixels": numpy.load(f"{number}.npy")}).values()
    numpy.save(f"{number}.npy", logits)
"""


def test_random_networks_of_any_format(python, tmp_path):
    rng = np.random.default_rng(8)
    routes = [("e2m1", "ue2m2"), ("e2m3", "e2m3"), ("int4", "uint4"), ("int8n", "int8n"), ("e3m1", "ue3m2")]
    expected, graphs = [], []
    for number, (weights, activations) in enumerate(routes):
        graphs.append(networks.random_unet(rng, weights=weights, activations=activations, depth=1))
        pixels = rng.integers(0, 256, (3, 8, 12), dtype=np.uint8)
        expected.append(run(graphs[-1], pixels))
        onnx.save(to_qonnx(graphs[-1], 8, 12), tmp_path / f"{number}.onnx")
        np.save(tmp_path / f"{number}.npy", pixels[None])
    subprocess.run([python, "-c", EXECUTE, str(len(routes))], cwd=tmp_path, check=True)
    for number, (graph, logits) in enumerate(zip(graphs, expected, strict=True)):
        assert np.array_equal(np.load(tmp_path / f"{number}.npy")[0] / graph.logit_scale, logits), routes[number]


@pytest.mark.parametrize("name", ["thin_unet16_e2m3", "thin_unet32_int8"])
def test_its_cleanup_takes_it(name, python, tmp_path):
    model = to_qonnx(Model.open(shipped(name)).graph, 128, 128)
    onnx.save(model, tmp_path / "model.onnx")
    tool = python.with_name("qonnx-cleanup")
    subprocess.run([tool, "model.onnx", "--out-file", "clean.onnx"], cwd=tmp_path, check=True, capture_output=True)
    clean = onnx.load(tmp_path / "clean.onnx")
    assert len(quantizers(clean, "activations")) == len(quantizers(model, "activations")) == 18
    shapes = {
        each.name: [size.dim_value for size in each.type.tensor_type.shape.dim] for each in clean.graph.value_info
    }
    assert all(node.output[0] in shapes for node in clean.graph.node[:-1])


@pytest.mark.parametrize("name", ["thin_unet16_e2m3", "thin_unet32_e3m2"])
def test_float_quantizers_tell_the_formats(name):
    graph = Model.open(shipped(name)).graph
    model = to_qonnx(graph, 128, 128)
    for source, formats in (("weights", graph.weight_formats), ("activations", graph.activation_formats)):
        (fmt,) = map(parse_format, formats)
        found = quantizers(model, source)
        assert len(found) == {"weights": 19, "activations": 18}[source]
        for node, (scale, *numbers) in found:
            assert node.op_type == "FloatQuant" and node.domain == "qonnx.custom_op.general"
            assert numbers == [fmt.exponent_bits, fmt.mantissa_bits, fmt.exponent_bias, fmt.largest]
            assert scale.ndim == {"weights": 4, "activations": 0}[source]


@pytest.mark.parametrize("source", ["weights", "activations"])
def test_integer_quantizers_tell_their_width(source):
    model = to_qonnx(Model.open(shipped("thin_unet32_int6")).graph, 128, 128)
    for node, (_, zero, bits) in quantizers(model, source):
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        assert attributes == {"signed": int(source == "weights"), "narrow": 0, "rounding_mode": b"ROUND"}
        assert (node.op_type, zero, bits) == ("Quant", 0, 6)


def test_a_tile_that_does_not_fit_is_refused():
    with pytest.raises(GraphError, match="multiples of 16"):
        to_qonnx(Model.open(shipped("thin_unet16_e2m3")).graph, 120, 128)
