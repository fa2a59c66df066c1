"""What is trained is what is lowered: any network of the graph's operations, in every format that it holds."""

import numpy as np
import pytest
import torch
from torch import nn

from taran_eo.engines import open_engine
from taran_eo.errors import FormatError, GraphError, LoweringError
from taran_eo.formats import parse_any_format, upper_half
from taran_eo.graph import Conv, run, tolerance
from taran_eo.nn.lowering import lower, lower_float
from taran_eo.nn.program import read
from taran_eo.nn.quantized import calibrate, quantize
from taran_eo.nn.rounding import fake_quantize
from taran_eo.nn.scales import Quantization, choose_scales
from taran_eo.nn.segmentation_models import SegmentationModel
from taran_eo.nn.ship_gate import ShipGate, ShipGateShape
from taran_eo.nn.thin_unet import ThinUNet, ThinUNetShape


def formats(weights, activations, **changes):
    return Quantization(parse_any_format(weights), parse_any_format(activations), **changes)


def settled(network):
    """A float network with the statistics of a trained one: batch norms that have seen data."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2.0)
                module.bias.uniform_(-0.5, 0.5)
        for _ in range(3):
            network(torch.randint(0, 256, (2, 3, 32, 32)).float())
    return network.eval()


def trained_like(shape, seed=0):
    torch.manual_seed(seed)
    return settled(ThinUNet(shape))


def quantized(network, how):
    result = quantize(network, how)
    calibrate(result, [torch.randint(0, 256, (2, 3, 32, 32)).float() for _ in range(3)])
    return result.eval()


SMALL = ThinUNetShape(width=4, depth=2)
SHAPES = [
    ThinUNetShape(width=8, depth=2),
    ThinUNetShape(width=4, depth=3, growth=2),
    ThinUNetShape(width=4, depth=2, skips=2),
]


def compare(network, name):
    """Logits of the graph by the reference and by ONNX Runtime, which must agree, and of the network."""
    graph = lower(network, name)
    pixels = np.random.default_rng(3).integers(0, 256, (3, 48, 32), dtype=np.uint8)
    with torch.no_grad():
        logits = network(torch.from_numpy(pixels)[None].float())[0].double().numpy()
    integers = run(graph, pixels)
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), integers)
    return integers * graph.logit_scale, logits


@pytest.mark.parametrize(
    ("weights", "activations"),
    [("e2m3", "ue2m4"), ("int8", "uint8"), ("int6n", "uint6"), ("e2m1", "ue2m2"), ("int4", "uint4"), ("e2m3", "uint8")],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_network_is_its_graph(weights, activations, shape):
    graph, logits = compare(quantized(trained_like(shape), formats(weights, activations)), "twin")
    assert np.array_equal(graph, logits)


@pytest.mark.parametrize("weights", ["e2m3", "e3m2", "int8"])
def test_a_gate_is_its_graph(weights):
    torch.manual_seed(4)
    network = quantized(settled(ShipGate(ShipGateShape(width=4, depth=3))), formats(weights, "ue2m4"))
    graph, logits = compare(network, "gate")
    assert np.array_equal(graph, logits)
    assert lower(network, "gate").level == 3 and graph.shape == (1, 6, 4)


def test_pooled_pixels_are_pixels():
    torch.manual_seed(4)
    layers = nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 1, 1)
    network = quantized(nn.Sequential(*layers).eval(), formats("e2m3", "ue2m4", first_weights=parse_any_format("int8")))
    # No scale of theirs is chosen, and who reads them is the first layer.
    assert network.convolutions["1"].source is None
    graph, logits = compare(network, "pooled")
    assert np.array_equal(graph, logits)
    assert [str(op.weight_format) for op in lower(network, "pooled").ops if isinstance(op, Conv)] == ["int8", "e2m3"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_float_network_is_its_graph_up_to_the_order_of_sums(shape):
    network = trained_like(shape)
    graph = lower_float(read(network), "twin")
    pixels = np.random.default_rng(3).integers(0, 256, (3, 48, 32), dtype=np.uint8)
    reference = run(graph, pixels)
    with torch.no_grad():
        logits = network(torch.from_numpy(pixels)[None].float())[0].double().numpy()
    assert np.abs(reference).max() > 300 * tolerance(graph, reference)
    assert np.abs(logits / graph.logit_scale - reference).max() <= tolerance(graph, reference)
    engine = open_engine("onnxruntime", graph, threads=1)
    assert np.abs(engine.run(pixels) - reference).max() <= tolerance(graph, reference)
    integers = lower(quantized(network, formats("e2m3", "ue2m4")), "twin")
    assert (graph.halo, graph.alignment, graph.parameters) == (integers.halo, integers.alignment, integers.parameters)


def test_a_graph_does_not_change_with_the_network_that_is_trained_on():
    network = trained_like(SMALL)
    graph = lower_float(read(network), "twin")
    before = {op.target: (op.weights.copy(), op.bias.copy()) for op in graph.ops if hasattr(op, "bias")}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)
    for op in graph.ops:
        if op.target in before:
            assert np.array_equal(op.weights, before[op.target][0]) and np.array_equal(op.bias, before[op.target][1])


@pytest.mark.parametrize("changes", [{"per_channel": False}, {"learned": True}, {"scale_by": "max"}])
def test_every_way_to_scale_is_lowered(changes):
    graph, logits = compare(quantized(trained_like(SMALL), formats("e2m3", "ue2m4", **changes)), "twin")
    assert np.array_equal(graph, logits)


def test_real_scales_are_lowered_up_to_the_rounding_of_their_ratios():
    graph, logits = compare(quantized(trained_like(SMALL), formats("e2m3", "ue2m4", power_of_two=False)), "twin")
    assert np.abs(graph - logits).mean() < 1e-3 * np.abs(logits).mean()


def test_a_signed_format_behind_a_relu_is_its_upper_half():
    pixels = torch.randint(0, 256, (1, 3, 32, 32)).float()
    signed, unsigned = (
        quantized(trained_like(SMALL), formats("e2m3", name))
        for name in ("e2m3", str(upper_half(parse_any_format("e2m3"))))
    )
    assert torch.equal(signed(pixels), unsigned(pixels))


def test_e3m2_is_exact_where_a_float32_network_is_no_bit_true_reference():
    # Its sums may pass 2**24.
    network = quantized(trained_like(ThinUNetShape(width=32, depth=1)), formats("e3m2", "ue3m3"))
    graph = lower(network, "twin")
    pixels = np.random.default_rng(3).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), run(graph, pixels))


def test_the_published_size():
    network = ThinUNet(ThinUNetShape())
    assert sum(parameter.numel() for parameter in network.parameters()) == 195_585
    graph = lower(quantized(trained_like(ThinUNetShape()), formats("e2m3", "ue2m4")), "thin_unet32")
    assert (graph.reach, graph.halo, graph.alignment) == (107, 112, 16)
    assert round(graph.macs(768, 768) / 1e9, 1) == 31.2


def test_the_program_is_the_network():
    network = trained_like(ThinUNetShape(width=4, depth=2, skips=3))
    plain = quantize(network, formats("e2m3", "ue2m4"))  # before calibration activations are not rounded
    for unit in plain.convolutions.values():
        unit.any_format = parse_any_format("float16")
    pixels = torch.randint(0, 256, (1, 3, 32, 32)).float()
    with torch.no_grad():
        assert torch.allclose(plain(pixels), network(pixels), atol=0.05)


def test_inputs_of_a_concatenation_share_a_scale():
    network = quantized(trained_like(SMALL), formats("e2m3", "ue2m4"))
    joined = [quantizer.layers for quantizer in network.quantizers if len(quantizer.layers) > 1]
    assert joined == [["encoder.0.1.conv", "decoder.0.1.conv"], ["encoder.1.1.conv", "middle.1.conv"]]


def test_skip_connections_may_be_rounded_harder_but_are_not_lowered_then():
    pixels = torch.randint(0, 256, (1, 3, 32, 32)).float()
    # Rounded to the very format that they are in, the skips change nothing; to fewer bits, they do.
    plain, same, harder = (
        quantized(trained_like(SMALL), formats("e2m3", "ue2m4", scale_by="max", skips=skips))
        for skips in (None, parse_any_format("uint16"), parse_any_format("uint2"))
    )
    assert torch.allclose(plain(pixels), same(pixels), atol=1e-2) and not torch.allclose(plain(pixels), harder(pixels))
    with pytest.raises(LoweringError, match="skip connections are rounded once more, to uint2"):
        lower(harder, "skips")


def test_models_of_others_are_lowered_where_the_operations_are_known():
    torch.manual_seed(0)
    floats = settled(SegmentationModel("unet", "vgg11_bn"))
    network = quantized(floats, formats("e2m3", "ue2m4"))
    graph, float_graph = lower(network, "u"), lower_float(read(floats), "u")
    pixels = np.random.default_rng(3).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    with torch.no_grad():
        logits, float_logits = (
            each(torch.from_numpy(pixels)[None].float())[0].double().numpy() for each in (network, floats)
        )
    # The reference interpreter would take a minute for its 512 channels.
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels) * graph.logit_scale, logits)
    found = open_engine("onnxruntime", float_graph, threads=1).run(pixels)
    assert np.abs(found - float_logits / float_graph.logit_scale).max() <= tolerance(float_graph, found)


@pytest.mark.parametrize(
    ("architecture", "encoder", "said"),
    [
        ("unet", "resnet18", r"encoder\.conv1: a convolution of kernel \[7, 7\], stride \[2, 2\]"),
        ("fpn", "vgg11_bn", r"decoder\.p\d.*: .*(ReLU|add)"),
        ("unet", "mobilenet_v2", r"stride \[2, 2\]"),
    ],
)
def test_models_of_others_are_refused_by_name(architecture, encoder, said):
    with pytest.raises(LoweringError, match=said):
        read(SegmentationModel(architecture, encoder).eval())


class Odd(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels):
        return self.layers(pixels)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Odd(nn.Conv2d(3, 1, 3)), "padding"),
        (Odd(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)), "needs a ReLU"),
        (Odd(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 1, 1)), "avg_pool2d"),
        (Odd(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 1, 1)), "max pooling"),
        (Odd(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(4, 1, 1)), "ceil_mode=True"),
        (Odd(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=4), nn.Conv2d(4, 1, 1)), "upsampling"),
        (Odd(nn.Conv2d(3, 1, 3, padding=1), nn.Sigmoid()), "sigmoid|needs a ReLU"),
        (Odd(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)), "end in a convolution"),
    ],
)
def test_what_the_graph_does_not_know_is_refused(network, said):
    with pytest.raises(LoweringError, match=said):
        read(network.eval())


class Divided(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def forward(self, pixels):
        return self.layers(pixels / 256)


def test_pixels_may_be_divided_and_padding_may_be_called_same():
    torch.manual_seed(0)
    network = quantized(Divided().eval(), formats("e2m3", "ue2m4"))
    graph, logits = compare(network, "divided")
    assert network.program.pixel_scale == 1 / 256
    assert np.array_equal(graph, logits)


class Twice(nn.Module):
    def __init__(self, read):
        super().__init__()
        self.read = read
        self.first, self.second = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, pixels):
        one, other = self.read(pixels)
        return self.last(torch.cat([self.first(one).relu(), self.second(other).relu()], dim=1))


def test_pixels_are_scaled_for_each_who_reads_them():
    program = read(Twice(lambda pixels: (pixels / 16 / 16, pixels.clone() / 256)).eval())
    assert program.pixel_scale == 1 / 256
    with pytest.raises(LoweringError, match=r"second: pixels times 1 are read here, and times 0\.00390625 before"):
        read(Twice(lambda pixels: (pixels / 256, pixels)).eval())
    with pytest.raises(LoweringError, match="without rounding"):
        read(Twice(lambda pixels: [torch.div(pixels, 16, rounding_mode="floor")] * 2).eval())


class Undecided(nn.Module):
    def forward(self, pixels):
        return pixels if pixels.sum() > 0 else -pixels


def test_a_path_that_depends_on_the_pixels_is_refused():
    with pytest.raises(LoweringError, match="Undecided has no fixed list of operations"):
        read(Undecided().eval())


def test_broken_weights_and_dead_channels_are_named():
    network = trained_like(SMALL)
    with torch.no_grad():
        network.encoder[1][0].conv.weight[2] = 0
    with pytest.raises(LoweringError, match=r"encoder\.1\.0\.conv: no weight of channel 2 exceeds 0, which"):
        quantize(network, formats("e2m3", "ue2m4"))
    with torch.no_grad():
        network.encoder[1][0].conv.weight[2] = torch.nan
    with pytest.raises(LoweringError, match=r"encoder\.1\.0\.conv has weights that are no finite numbers"):
        quantize(network, formats("e2m3", "ue2m4"))


def test_dead_activations_are_named():
    network = trained_like(SMALL)
    with torch.no_grad():
        network.middle[0].norm.bias.fill_(-1e6)
    with pytest.raises(LoweringError, match=r"activation of middle\.0\.conv in calibration is 0"):
        quantized(network, formats("e2m3", "ue2m4"))


def test_data_that_are_no_numbers_are_named_by_the_first_layer_that_sees_them():
    network = quantize(trained_like(SMALL), formats("e2m3", "ue2m4"))
    pixels = torch.zeros(2, 3, 256, 256)  # more than are kept
    pixels[1, 2, 100, 101] = torch.nan
    with pytest.raises(LoweringError, match=r"activation of encoder\.0\.0\.conv in calibration is nan"):
        calibrate(network, [pixels])
    assert all(quantizer.observed is None for quantizer in network.quantizers)


def test_weights_below_zero_need_a_signed_format():
    with pytest.raises(
        LoweringError, match=r"encoder\.0\.0\.conv has weights down to -\d.*, and ue2m4 holds none below"
    ):
        quantize(trained_like(SMALL), formats("ue2m4", "ue2m4"))


@pytest.mark.parametrize("what", ["weight", "bias", "scale"])
def test_what_became_no_number_is_named_with_its_channel(what):
    network = quantized(trained_like(SMALL), formats("e2m3", "ue2m4"))
    unit = network.convolutions["1"]
    values = unit.scale.log2 if what == "scale" else getattr(unit, what)
    with torch.no_grad():
        values[3] = torch.nan
    with pytest.raises(LoweringError, match=rf"encoder\.0\.1\.conv: the {what} of channel 3 is no finite number"):
        lower(network, "broken")


def test_the_largest_activation_is_covered_however_rare():
    pixels = torch.zeros(2, 3, 256, 256)
    pixels[1, 2, 100, 101] = 255.0
    network = quantize(trained_like(SMALL), formats("int8", "uint8", scale_by="max", power_of_two=False))
    first = network.quantizers[0]
    with torch.no_grad():
        largest = network.convolutions["0"](pixels / 256).max()  # a ReLU, as long as nothing is calibrated
    calibrate(network, [pixels])
    assert (first.scale() * first.format.largest).item() == pytest.approx(largest.item(), rel=1e-6)


def test_what_does_not_fit_the_integers_is_refused_with_layer_and_value():
    with pytest.raises(LoweringError, match=r"encoder\.0\.0\.conv has weights e4m3, whose integers have 19 bits"):
        lower(quantized(trained_like(SMALL), formats("e4m3", "ue2m4")), "wide")
    with pytest.raises(LoweringError, match="in blocks"):
        lower(quantized(trained_like(SMALL), formats("mxe2m3", "mxe2m3")), "blocks")
    with pytest.raises(GraphError, match=r"'decoder\.0\.0\.conv' can reach \d+ in its accumulator, beyond int32"):
        lower(quantized(trained_like(ThinUNetShape(width=32, depth=1)), formats("int12", "uint12")), "wide")
    network = quantized(trained_like(SMALL), formats("e2m3", "ue2m4"))
    with torch.no_grad():
        network.convolutions["1"].bias[3] = 1e9
    with pytest.raises(LoweringError, match=r"encoder\.0\.1\.conv: the bias of channel 3 is .* beyond int32"):
        lower(network, "far")
    with pytest.raises(LoweringError, match=r"encoder\.0\.0\.conv has no scale yet"):
        lower(quantize(trained_like(SMALL), formats("e2m3", "ue2m4")), "early")
    with pytest.raises(FormatError, match="no mantissa bits"):
        quantize(trained_like(SMALL), formats("e3m0", "ue2m4"))


@pytest.mark.parametrize("power_of_two", [True, False])
def test_scales_are_chosen_as_said(power_of_two):
    torch.manual_seed(1)
    rows, fmt = torch.randn(3, 20_000) * torch.tensor([[0.1], [1.0], [7.0]]), parse_any_format("int6")
    rows[:, 0] *= 10  # an outlier, which must not set the scale
    found = {
        name: choose_scales(rows, fmt, formats("int6", "uint6", scale_by=name, power_of_two=power_of_two))
        for name in ("max", "percentile", "mse")
    }
    if power_of_two:
        assert all(torch.equal(each.log2(), each.log2().round()) for each in found.values())
    largest = rows.abs().amax(dim=1)
    assert (found["max"] * fmt.largest >= largest * (1 - 1e-6)).all()
    assert (found["max"] * fmt.largest < largest * (2.0 if power_of_two else 1.0001)).all()
    assert (found["percentile"] <= found["max"]).all()

    def error(scales):
        return (fake_quantize(rows, fmt, scales[:, None]) - rows).square().mean(dim=1)

    assert all((error(found["mse"]) <= error(found[name]) * 1.001).all() for name in ("max", "percentile"))


def test_state_survives_saving():
    how = formats("e2m3", "ue2m4")
    network = quantized(trained_like(SMALL), how)
    again = quantize(trained_like(SMALL, 1), how)
    again.load_state_dict(network.state_dict())
    assert lower(again, "n").digest == lower(network, "n").digest
