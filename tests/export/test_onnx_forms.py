"""The forms of ONNX in real numbers: what they hold, how runtimes take them, and how far they are from the graph."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from taran_eo.errors import GraphError
from taran_eo.export import to_onnx
from taran_eo.export.onnx_real import has_power_of_two_scales, to_float, to_qdq, to_qonnx, to_small_floats
from taran_eo.graph import Conv, in_float, logit_at, run, tolerance
from taran_eo.model import Model, shipped
from tests.export.replaying import exported, replayed
from tests.graph import networks

QUANTIZED = ("thin_unet32_e2m3", "thin_unet32_e3m2", "thin_unet32_int6", "thin_unet32_int8", "thin_unet16_e2m3",
             "ship_gate_e2m3")  # fmt: skip


def opened(name):
    return Model.open(shipped(name))


def session(model, **options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def logits_of(runner, graph, pixels):
    """In units of the graph, as real numbers."""
    (reals,) = runner.run(None, {graph.input: pixels[None]})
    assert reals.dtype == np.float32
    return reals[0].astype(np.float64) / graph.logit_scale


def constants(model):
    return {each.name: each for each in model.graph.initializer}


def nodes(model, kind):
    return [node for node in model.graph.node if node.op_type == kind]


@pytest.mark.parametrize("name", ["thin_unet32_e2m3", "ship_gate_e2m3", "thin_unet32_float"])
def test_float_is_the_network_in_float(name):
    model = opened(name)
    pixels = model.golden()[0][0]
    graph = in_float(model.graph)
    expected = run(graph, pixels)
    found = logits_of(session(to_float(model.graph)), model.graph, pixels)
    # Integers against real numbers: half a unit is the rounding of the graph itself.
    assert np.abs(found - expected).max() <= tolerance(graph, expected) + 0.5


def test_any_float_graph_can_be_written():
    graph = networks.in_float(networks.random_unet(np.random.default_rng(1)), np.random.default_rng(1))
    pixels = np.random.default_rng(2).integers(0, 256, (3, 16, 8), dtype=np.uint8)
    expected = run(graph, pixels)
    found = logits_of(session(to_float(graph)), graph, pixels)
    assert np.abs(found - expected).max() <= tolerance(graph, expected) + 0.5


@pytest.mark.parametrize("name", ["thin_unet32_int8", "thin_unet32_int6"])
def test_a_uniform_grid_of_8_bits_is_exact(name):
    # Scales are powers of two and sums stay below 2**24: what is left to the runtime is rounding to nearest even.
    model = opened(name)
    runner = session(to_qdq(model.graph, signed=False))
    for pixels, logits in zip(*model.golden(), strict=True):
        assert np.array_equal(logits_of(runner, model.graph, pixels), logits)


@pytest.mark.parametrize(
    ("name", "signed", "largest", "pixels_changed"),
    [
        ("thin_unet32_e2m3", False, 0.46, 40),
        ("thin_unet32_e2m3", True, 0.46, 40),
        ("thin_unet32_e3m2", False, 0.55, 65),
        ("thin_unet32_e3m2", True, 0.93, 110),
        ("thin_unet32_int8", True, 0.69, 55),
        ("ship_gate_e2m3", False, 0.46, 2),
    ],
)
def test_8_bits_come_near_another_grid(name, signed, largest, pixels_changed):
    model = opened(name)
    runner = session(to_qdq(model.graph, signed=signed))
    tiles, logits = model.golden()
    found = np.stack([logits_of(runner, model.graph, tile) for tile in tiles])
    limit = logit_at(model.threshold, model.graph.logit_scale)
    assert np.abs(found - logits).max() * model.graph.logit_scale <= largest
    assert np.count_nonzero((found >= limit) != (logits >= limit)) <= pixels_changed
    assert np.count_nonzero(logits >= limit) > 60


@pytest.mark.parametrize("name", ["thin_unet32_e2m3", "thin_unet32_int8"])
def test_onnx_runtime_fuses_every_convolution_but_the_last(name, tmp_path):
    graph = opened(name).graph
    session(to_qdq(graph, signed=False), optimized_model_filepath=str(tmp_path / "optimized.onnx"))
    optimized = onnx.load(tmp_path / "optimized.onnx")
    convolutions = sum(isinstance(op, Conv) for op in graph.ops)
    assert len(nodes(optimized, "QLinearConv")) == convolutions - 1
    assert len(nodes(optimized, "Conv") + nodes(optimized, "FusedConv")) == 1  # its logits are wanted in real numbers
    assert len(nodes(optimized, "QuantizeLinear")) == 0


def test_weights_of_e2m3_are_stored_as_they_are():
    graph = opened("thin_unet32_e2m3").graph
    stored = [numpy_helper.to_array(each) for each in to_qdq(graph, signed=False).graph.initializer]
    weights = [array for array in stored if array.ndim == 4]
    assert {array.dtype for array in weights} == {np.dtype(np.int8)}
    convolutions = [op for op in graph.ops if isinstance(op, Conv)]
    for op, array in zip(convolutions, weights, strict=True):
        assert np.array_equal(array, op.weights)


def test_steps_that_do_not_fit_are_doubled_and_rounded_to_even():
    graph = opened("thin_unet32_e3m2").graph
    weights = next(op for op in graph.ops if isinstance(op, Conv)).weights
    stored = next(
        array
        for array in map(numpy_helper.to_array, to_qdq(graph, signed=False).graph.initializer)
        if array.dtype == np.int8 and array.ndim == 4
    )
    for channel, codes in zip(weights, stored, strict=True):
        doubled = next(
            2**times for times in range(5) if channel.min() >> times >= -128 and channel.max() >> times <= 127
        )
        assert np.array_equal(codes, np.rint(channel / doubled))


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_symmetric_variant_has_zero_points_of_int8_zero_only(name):
    model = to_qdq(opened(name).graph, signed=True)
    stored = constants(model)
    quantizers = nodes(model, "QuantizeLinear") + nodes(model, "DequantizeLinear")
    zeros = [stored[node.input[2]] for node in quantizers if len(node.input) == 3]
    assert {zero.data_type for zero in zeros} == {TensorProto.INT8}
    assert not any(numpy_helper.to_array(zero).any() for zero in zeros)
    codes = {stored[node.input[0]].data_type for node in quantizers if node.input[0] in stored}
    assert codes == {TensorProto.INT8}  # weights; no int32 biases


@pytest.mark.parametrize(("weights", "activations"), [("e2m3", "e2m3"), ("int8", "int8")])
def test_activations_with_a_sign_are_int8(weights, activations):
    graph = networks.random_unet(np.random.default_rng(3), weights=weights, activations=activations, depth=1)
    pixels = np.random.default_rng(3).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    model = to_qdq(graph, signed=False)
    assert sorted({constants(model)[node.input[2]].data_type for node in nodes(model, "QuantizeLinear")}) == [
        TensorProto.INT8
    ]
    found, expected = logits_of(session(model), graph, pixels), run(graph, pixels)
    assert np.abs(found - expected).max() <= (0 if activations == "int8" else 0.2 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "kind", "bits"),
    [
        ("thin_unet32_e2m3", TensorProto.FLOAT6E2M3, 6),
        ("thin_unet32_e3m2", TensorProto.FLOAT6E3M2, 6),
        ("thin_unet32_int8", TensorProto.INT8, 8),
        ("ship_gate_e2m3", TensorProto.FLOAT6E2M3, 6),
    ],
)
def test_small_floats_are_stored_small_and_exact(name, kind, bits):
    model = opened(name)
    graph = model.graph
    assert has_power_of_two_scales(graph)
    program = to_small_floats(graph)
    weights = [each for each in program.graph.initializer if len(each.dims) == 4]
    assert {each.data_type for each in weights} == {kind}
    assert all(8 * len(each.raw_data) == bits * np.prod(each.dims) for each in weights)
    convolutions = [op for op in graph.ops if isinstance(op, Conv)]
    for op, each in zip(convolutions, weights, strict=True):
        numbers = op.weights * 2.0**op.weight_format.step_exponent
        assert np.array_equal(numpy_helper.to_array(each).astype(np.float64), numbers)
    pixels = np.ascontiguousarray(model.golden()[0][0][:, 32:96, 32:96])
    assert np.array_equal(logits_of(ReferenceEvaluator(program), graph, pixels), run(graph, pixels))


@pytest.mark.parametrize(
    ("weights", "activations", "kind"),
    [
        ("e2m1", "ue2m2", TensorProto.FLOAT4E2M1),
        ("e2m1", "e2m1", TensorProto.FLOAT4E2M1),
        ("int4", "uint4", TensorProto.INT4),
        ("int8n", "e3m2", TensorProto.INT8),
        ("e3m2", "ue3m3", TensorProto.FLOAT6E3M2),
    ],
)
def test_random_networks_in_small_types_are_exact(weights, activations, kind):
    rng = np.random.default_rng(4)
    graph = networks.random_unet(rng, weights=weights, activations=activations, depth=1)
    program = to_small_floats(graph)
    assert {each.data_type for each in program.graph.initializer if len(each.dims) == 4} == {kind}
    pixels = rng.integers(0, 256, (3, 12, 8), dtype=np.uint8)
    assert np.array_equal(logits_of(ReferenceEvaluator(program), graph, pixels), run(graph, pixels))


@pytest.mark.parametrize("weights", ["int6", "e3m3", "e1m2"])
def test_a_weight_format_without_a_standard_type_is_refused(weights):
    graph = networks.random_unet(np.random.default_rng(5), weights=weights, depth=1)
    with pytest.raises(GraphError, match=f"'down0a' are {weights}, which no standard type"):
        to_small_floats(graph)


def test_an_onnx_without_small_floats_is_told(monkeypatch):
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 27)
    with pytest.raises(GraphError, match=r"knows no floats of 6 bits.*Install onnx 1\.23"):
        to_small_floats(opened("thin_unet16_e2m3").graph)


@pytest.mark.parametrize(
    "write",
    [lambda g: to_qdq(g, signed=False), to_small_floats, lambda g: to_qonnx(g, 16, 16)],
    ids=["qdq", "small", "qonnx"],
)
def test_a_float_network_has_no_quantized_form(write):
    with pytest.raises(GraphError, match=r"FloatConv 'encoder\.0\.0\.conv' computes in float32"):
        write(opened("thin_unet32_float").graph)


def test_scales_that_are_no_powers_of_two_are_noticed():
    rng = np.random.default_rng(6)
    assert has_power_of_two_scales(networks.random_unet(rng))
    assert not has_power_of_two_scales(networks.random_unet(rng, powers_of_two=False))


def test_operations_in_any_order():
    graph = networks.chain("conv3", "pool", "conv1", "up", "join t0", "pool", "pool", "conv5", level=0)
    pixels = np.random.default_rng(7).integers(0, 256, (3, 16, 8), dtype=np.uint8)
    expected = run(graph, pixels)
    assert np.array_equal(logits_of(ReferenceEvaluator(to_small_floats(graph)), graph, pixels), expected)
    for model in (to_float(graph), to_qdq(graph, signed=False), to_qdq(graph, signed=True)):
        assert logits_of(session(model), graph, pixels).shape == expected.shape


def test_replay_judges_by_the_manifest(tmp_path):
    model = opened("thin_unet16_e2m3")
    folder = tmp_path / "export"
    folder.mkdir()
    exported(folder, model, "onnx-qdq", to_qdq(model.graph, signed=False), dtype="float32", exact=False,
             difference={"largest": 0.0, "mask_pixels": 0})  # fmt: skip
    code, lines = replayed(folder, "--measure")
    found = json.loads(lines[-1])
    assert code == 0 and len(lines) == 1 + found["vectors"] == 5
    assert 0.1 < found["largest"] < 0.6 and found["logits_differing"] > 0 and found["mask_pixels"] < 60
    assert replayed(folder)[0] == 1
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["difference"] = found
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert replayed(folder) == (0, lines)


@pytest.mark.parametrize(
    ("form", "write", "dtype"),
    [("onnx-integer", to_onnx, "int32"), ("onnx-fp6", to_small_floats, "float32")],
)
def test_replay_of_an_exact_form(tmp_path, form, write, dtype):
    model = opened("ship_gate_e2m3")
    exported(tmp_path, model, form, write(model.graph), dtype=dtype, exact=True)
    code, lines = replayed(tmp_path)
    assert code == 0
    assert json.loads(lines[-1]) == {"vectors": 4, "largest": 0.0, "mask_pixels": 0, "logits_differing": 0}
    raw = bytearray((tmp_path / "golden" / "logits.i32").read_bytes())
    raw[0] ^= 1
    (tmp_path / "golden" / "logits.i32").write_bytes(raw)
    assert replayed(tmp_path)[0] == 1


def test_every_form_is_sound_and_names_its_graph():
    graph = opened("thin_unet16_e2m3").graph
    forms = (to_float(graph), to_qdq(graph, signed=True), to_small_floats(graph), to_qonnx(graph, 16, 16))
    for model in forms:
        onnx.checker.check_model(model, full_check=True)
        assert {each.key: each.value for each in model.metadata_props} == {"taran_eo.graph": graph.digest}
        assert (model.graph.input[0].name, model.graph.output[0].name) == (graph.input, graph.output)
