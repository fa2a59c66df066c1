"""What is trained is what is lowered: fake quantization against the formats, and the network against its graph."""

import numpy as np
import pytest
import torch

from taran_eo.engines import open_engine
from taran_eo.errors import FormatError, LoweringError
from taran_eo.formats import decode, encode, parse_format, values
from taran_eo.graph import run
from taran_eo.nn.fake_quantize import fake_quantize, fake_quantize_channels, round_to
from taran_eo.nn.lower import lower
from taran_eo.nn.quantized import ActivationScale, Formats, calibrate, quantize
from taran_eo.nn.thin_unet import ThinUNet, ThinUNetShape

NAMES = ["e2m3", "ue2m4", "e3m2", "ue3m3", "e2m1", "e4m3", "e5m2", "e1m2", "int6", "int8n", "uint6", "uint8q3"]


def stairs(fmt, exponent):
    """Values, midpoints and float32 neighbours of a scaled format: they settle every float32 input."""
    finite = np.unique(values(fmt)) * 2.0**exponent
    points = np.concatenate([finite, finite[:-1] / 2 + finite[1:] / 2, [finite[0] * 3, finite[-1] * 3]])
    points = np.concatenate([points, -points]).astype(np.float32)
    return np.concatenate([points, *(np.nextafter(points, np.float32(end)) for end in (-np.inf, np.inf))])


@pytest.mark.parametrize("exponent", [-9, 0, 4])
@pytest.mark.parametrize("name", NAMES)
def test_fake_quantization_is_the_format(name, exponent):
    fmt = parse_format(name)
    points = stairs(fmt, exponent)
    expected = decode(encode(points.astype(np.float64) * 2.0**-exponent, fmt), fmt) * 2.0**exponent
    assert np.array_equal(round_to(torch.from_numpy(points), fmt, exponent).numpy(), expected)


def test_formats_without_a_mantissa_or_subnormals_are_refused():
    # Their ties and their gap around zero need another rule than adding and taking away.
    for name in ("e3m0", "e2m3z"):
        with pytest.raises(FormatError):
            round_to(torch.ones(1), parse_format(name))


def test_not_a_number_is_shown_and_infinity_saturates():
    result = round_to(torch.tensor([float("nan"), float("inf"), -float("inf")]), parse_format("e2m3"))
    assert result.isnan().tolist() == [True, False, False] and result[1:].tolist() == [7.5, -7.5]


def test_the_gradient_passes_inside_the_range_only():
    points = torch.tensor([-9.0, -7.5, 0.0, 0.3, 7.5, 8.0], requires_grad=True)
    fake_quantize(points, parse_format("e2m3")).sum().backward()
    assert points.grad.tolist() == [0, 1, 1, 1, 1, 0]
    points.grad = None
    fake_quantize(points, parse_format("ue2m4"), -1).sum().backward()
    assert points.grad.tolist() == [0, 0, 0, 1, 0, 0]
    edges = torch.tensor([-129.0, -128.0, 127.0, 128.0], requires_grad=True)
    fake_quantize(edges, parse_format("int8")).sum().backward()
    assert edges.grad.tolist() == [0, 1, 1, 0]


def test_channels_are_scaled_one_by_one():
    rows = torch.randn(5, 40)
    scales = 2.0 ** torch.tensor([-3.0, -1, 0, 1, 2])
    together = fake_quantize_channels(rows, parse_format("e3m2"), scales)
    for row, scale, result in zip(rows, scales, together, strict=True):
        assert torch.equal(result, round_to(row, parse_format("e3m2"), int(scale.log2())))


def trained_like(shape, seed):
    """A float network with the statistics of a trained one: batch norms that have seen data."""
    torch.manual_seed(seed)
    network = ThinUNet(shape)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2.0)
                module.bias.uniform_(-0.5, 0.5)
        for _ in range(3):
            network(torch.randint(0, 256, (2, 3, 32, 32)).float())
    return network.eval()


def quantized(weights, activations, shape, seed=0):
    formats = Formats(*(parse_format(name) for name in (weights, activations, weights, weights)))
    network = quantize(trained_like(shape, seed), formats)
    calibrate(network, [torch.randint(0, 256, (2, 3, 32, 32)).float() for _ in range(3)])
    return network.eval()


@pytest.mark.parametrize(("weights", "activations"), [("e2m3", "ue2m4"), ("int8n", "uint8"), ("int6n", "uint6")])
@pytest.mark.parametrize("shape", [ThinUNetShape(width=8, depth=2), ThinUNetShape(width=4, depth=3, growth=2)])
def test_the_network_is_its_graph(weights, activations, shape):
    network = quantized(weights, activations, shape)
    graph = lower(network, "twin")
    pixels = np.random.default_rng(3).integers(0, 256, (3, 48, 32), dtype=np.uint8)
    with torch.no_grad():
        logits = network(torch.from_numpy(pixels)[None].float())[0].double().numpy()
    assert np.array_equal(run(graph, pixels) * graph.logit_scale, logits)
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), run(graph, pixels))


def test_e3m2_is_its_graph_in_double_precision():
    # Its sums may pass 2**24, where a float32 network is no bit-true reference; in binary64 it is.
    network = quantized("e3m2", "ue3m3", ThinUNetShape(width=32, depth=1))
    graph = lower(network, "twin")
    pixels = np.random.default_rng(3).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    assert np.array_equal(open_engine("onnxruntime", graph, threads=1).run(pixels), run(graph, pixels))
    with torch.no_grad():
        logits = network.double()(torch.from_numpy(pixels)[None].double())[0].numpy()
    assert np.array_equal(run(graph, pixels) * graph.logit_scale, logits)


def test_the_published_size():
    network = ThinUNet(ThinUNetShape())
    assert sum(parameter.numel() for parameter in network.parameters()) == 195_585
    graph = lower(quantized("e2m3", "ue2m4", ThinUNetShape()), "thin_unet32")
    assert (graph.reach, graph.halo, graph.alignment) == (107, 112, 16)
    assert round(graph.macs(768, 768) / 1e9, 1) == 31.2


def test_both_inputs_of_a_concatenation_share_a_scale():
    network = quantized("e2m3", "ue2m4", ThinUNetShape(width=4, depth=2))
    network.middle[1].target = ActivationScale(parse_format("ue2m4"), exponent=9)
    with pytest.raises(LoweringError, match="concatenation"):
        lower(network, "torn")


def test_what_cannot_be_lowered_is_refused():
    shape = ThinUNetShape(width=4, depth=1)
    formats = Formats(*(parse_format(name) for name in ("e2m3", "e2m3", "e2m3", "e2m3")))
    with pytest.raises(LoweringError, match="signed"):
        quantize(trained_like(shape, 0), formats)
    with pytest.raises(LoweringError, match="not quantized"):
        lower(trained_like(shape, 0), "float")
    formats = Formats(*(parse_format(name) for name in ("e2m3", "ue2m4", "e2m3", "e2m3")))
    with pytest.raises(LoweringError, match="calibrate"):
        lower(quantize(trained_like(shape, 0), formats), "early")


def test_state_survives_saving():
    network = quantized("e2m3", "ue2m4", ThinUNetShape(width=4, depth=1))
    formats = Formats(*(parse_format(name) for name in ("e2m3", "ue2m4", "e2m3", "e2m3")))
    again = quantize(trained_like(ThinUNetShape(width=4, depth=1), 1), formats)
    again.load_state_dict(network.state_dict())
    assert lower(again, "n").digest == lower(network, "n").digest
