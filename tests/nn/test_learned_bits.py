"""Widths find what a search over all of them finds; a probe leaves no trace; what cannot be learned is told."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from taran_eo.engines import open_engine
from taran_eo.errors import LoweringError, WidthError
from taran_eo.formats import Integer, MiniFloat, parse_format, spend_sign
from taran_eo.graph import run
from taran_eo.nn.learned_bits import LearnedBits, Learning, Width, splits
from taran_eo.nn.lowering import lower
from taran_eo.nn.quantized_modules import ModuleFormats, QuantizedModules, calibrate_modules
from taran_eo.nn.resnet import ResNet
from taran_eo.nn.sites import Layer, bit_operations, mean_bits, sites, weight_bytes
from tests.nn.mixed import mixed_unet, unet


class Paper:
    """A site that holds nothing."""

    def __init__(self, name, kind, fmt, least=None):
        self.name, self.kind, self.format, self.least = name, kind, fmt, least

    def take(self, fmt):
        self.format = fmt

    def attempt(self, fmt):
        before, self.format = self.format, fmt
        return lambda: self.take(before)

    def error(self, fmt):
        return abs(fmt.exponent_bits - self.least)


def papers(count=3, bits=8, fmt=None):
    """Layers of one, two, ... multiplications; the first reads pixels."""
    weights, activations = fmt or Integer(bits), spend_sign(fmt or Integer(bits))
    reads = [None, *(Paper(f"a{place}", "activations", activations, 2) for place in range(1, count))]
    return [
        Layer(f"l{place}", Paper(f"w{place}", "weights", weights, 1), read, 10 * (place + 1), place + 1.0)
        for place, read in enumerate(reads)
    ]


def damage(layers, needs):
    """A loss that doubles with each bit fewer, of sites that need more or less of them."""
    return sum(need * 2.0**-site.format.bits for site, need in zip(sites(layers), needs, strict=True))


def learned(layers, how, needs, steps=400, followers=()):
    bits = LearnedBits(layers, how, followers=followers)
    for step in range(steps):
        bits.after(step, steps, lambda share: damage(layers, needs))
    return bits


@pytest.mark.parametrize("pressure", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("cost", ["bit_operations", "weight_bytes"])
def test_one_pair_of_widths_ends_beside_the_best_pair(pressure, cost):
    layers, needs = papers(), [3.0, 5.0, 2.0, 4.0, 3.0]
    how = Learning(pressure=pressure, cost=cost, weight_rate=2.0, activation_rate=2.0, every=1, reversals=3, until=0.9)
    bits = learned(layers, how, needs)
    assert bits.done
    found = next(layer.weights.format.bits for layer in layers), layers[1].activations.format.bits

    def total(pair):
        for site in sites(layers):
            site.take(Integer(pair[site.kind == "activations"], signed=site.kind == "weights"))
        return damage(layers, needs) + pressure * bits.share

    best = min(itertools.product(range(2, 9), repeat=2), key=total)
    # Frozen is the upper of the two widths that it went back and forth between.
    assert all(0 <= one - other <= 1 for one, other in zip(found, best, strict=True))


def test_layers_that_need_more_get_more():
    layers, needs = papers(4), [9.0, 0.1, 9.0, 0.1, 0.1, 0.1, 0.1]
    learned(layers, Learning(group="layer", pressure=1.0, every=1, probed=7, until=0.9), needs)
    found = {site.name: site.format.bits for site in sites(layers)}
    assert found["w0"] > found["w2"] and found["a1"] > found["a2"], found


@pytest.mark.parametrize("target", [0.6, 0.3, 0.15])
@pytest.mark.parametrize("group", ["network", "layer", 2])
def test_the_target_is_met_at_the_deadline_and_nothing_presses_below_it(target, group):
    layers, needs = papers(6), [2.0] * 11
    how = Learning(group=group, target=target, pressure=40.0, every=1, probed=11, weight_rate=0.3, activation_rate=0.3)
    bits = learned(layers, how, needs, steps=600)
    assert bits.done and bits.share <= target
    wider = [bits.share + (1.0 if group == "network" else 0.2)]  # a bit more for one of the groups would pass it
    assert target < wider[0]


def test_the_pressure_grows_to_the_deadline_and_ends_at_the_target():
    bits = LearnedBits(papers(), Learning(target=0.3, pressure=2.0, rise=9.0, until=0.5))
    above, at = 0.31 * bits.whole, 0.3 * bits.whole
    assert [bits.pressure(step, 200, above) for step in (0, 50, 100, 150)] == pytest.approx([2, 6, 18, 18])
    assert bits.pressure(50, 200, at) == 0
    assert LearnedBits(papers(), Learning(pressure=2.0)).pressure(50, 200, at) == 2


@pytest.mark.parametrize(("rise", "met"), [(1.0, False), (30.0, True)])
def test_a_target_beyond_the_first_pressure_is_met_as_it_grows(rise, met):
    layers, rates = papers(), {"weight_rate": 0.5, "activation_rate": 0.5}
    bits = LearnedBits(layers, Learning(target=0.2, rise=rise, every=1, until=1.0, reversals=10**6, **rates))
    for step in range(399):
        bits.after(step, 400, lambda share: damage(layers, [2.0] * 5))
    assert (min(line[1] for line in bits.trace) <= 0.2) == met


def test_what_cannot_be_reached_is_told_before_the_training():
    with pytest.raises(
        WidthError, match=r"With 2 bits everywhere the network has 0\.0.* above the target of 0\.01"
    ) as told:
        LearnedBits(papers(), Learning(target=0.01))
    assert 0.01 < told.value.least < 0.2
    with pytest.raises(WidthError, match="All layers have a fixed format"):
        layers = papers()
        LearnedBits(layers, Learning(), fixed=sites(layers))


def test_a_target_that_is_missed_at_the_deadline_is_told_and_the_widths_stay():
    layers = papers()
    bits = LearnedBits(layers, Learning(target=0.1, until=0.5))
    with pytest.raises(WidthError, match=r"cost 0\.7.* of 8 bits even with a bit fewer each"):
        bits.after(49, 100, lambda share: 1.0)
    assert not bits.done and {site.format.bits for site in sites(layers)} == {8}


@pytest.mark.parametrize(
    ("how", "fmt"),
    [
        (Learning(lowest=4, highest=6), Integer(8)),
        (Learning(lowest=4), Integer(3)),
        (Learning(lowest=1), Integer(4)),
        (Learning(lowest=2), MiniFloat(2, 1)),
    ],
)
def test_widths_that_begin_out_of_range_or_cannot_be_are_told(how, fmt):
    with pytest.raises(WidthError, match=r"The widths of w0 begin with .* at least\. Correct `lowest`"):
        LearnedBits(papers(fmt=fmt), how)


def test_sites_that_share_a_width_begin_with_one():
    layers = papers()
    layers[2].weights.take(Integer(6))
    with pytest.raises(WidthError, match="w0 and w2 share a width, but begin with int8 and int6"):
        LearnedBits(layers, Learning())
    LearnedBits(layers, Learning(group="layer"))


def test_a_width_stays_in_its_range_and_freezes_at_the_upper_after_so_many_turns():
    width = Width(4.0, 2, 8, 1.0)
    # By a bit at once, whatever a probe says.
    for slope, bits, neighbour in ((100.0, 3, 2), (math.inf, 2, 3), (100.0, 2, 3)):
        width.move(slope, 9)
        assert (width.bits, width.neighbour) == (bits, neighbour)
    for _ in range(9):
        width.move(-math.inf, 9)
    assert width.bits == 8 and width.neighbour == 7 and width.turns == 1
    restless = Width(4.0, 2, 8, 1.0)
    for slope in (0.9, 0.4, -0.4, 0.4, -0.4):
        restless.move(slope, 3)
        assert not restless.frozen or restless.value == restless.bits == 4
    assert restless.frozen


@pytest.mark.parametrize("value", [2.0, 2.25, 4.9, 8.0])
def test_steps_have_the_learned_width_on_average(value):
    width, chances = Width(value, 2, 8, 1.0), (np.arange(1000) + 0.5) / 1000
    drawn = [width.drawn(chance) for chance in chances]
    assert np.mean(drawn) == pytest.approx(value, abs=2e-3)
    assert set(drawn) <= {math.floor(value), math.ceil(value)}


def test_a_step_has_the_drawn_widths_a_probe_whole_ones_and_neither_leaves_a_trace():
    layers, average = papers(), papers()
    bits = LearnedBits(layers, Learning(group="layer", every=20, probed=2, until=1.0), followers=[average])
    whole, drawn, asked = [site.format for site in sites(layers)], set(), []
    bits.groups[0].widths[0].value = 7.5

    def loss_of(share):
        asked.append([site.format for site in sites(layers)])
        return 0.0

    for step in range(20):
        bits.before(step, 100)
        drawn.add(layers[0].weights.format.bits)
        assert [site.format for site in sites(layers)][1:] == whole[1:]
        assert [site.format for site in sites(average)] == whole
        bits.after(step, 100, loss_of)
    assert drawn == {7, 8} and asked[0] == whole
    assert [sum(one != other for one, other in zip(each, whole, strict=True)) for each in asked[1:]] == [1, 1]


@pytest.mark.parametrize("said", [math.nan, math.inf])
def test_a_width_that_ruins_the_network_is_left(said):
    layers = papers(bits=4)
    bits = LearnedBits(layers, Learning(every=1, pressure=0.5, until=1.0))
    losses = iter((1.0, said, 1.0, said, 1.0))
    bits.after(0, 100, lambda share: next(losses))
    assert layers[0].weights.format.bits == 5


def test_what_narrows_the_network_narrows_its_followers():
    layers, other = papers(), papers()
    learned(layers, Learning(pressure=2.0, every=1), [1.0] * 5, followers=[other])
    assert [site.format for site in sites(layers)] == [site.format for site in sites(other)]
    assert layers[0].weights.format.bits < 8


def test_what_is_remembered_goes_on_as_if_it_had_not_stopped():
    how, needs = Learning(group="layer", every=1, pressure=2.0, until=1.0, target=0.3), [3.0, 1.0, 2.0, 4.0, 3.0]
    whole, torn = papers(), papers()
    bits, first = LearnedBits(whole, how), LearnedBits(torn, how)
    for step in range(60):
        bits.after(step, 100, lambda share: damage(whole, needs))
        if step == 30:
            kept = first.remember()
            first = LearnedBits(torn, how)  # with the formats of the checkpoint
            first.recall(kept)
        first.after(step, 100, lambda share: damage(torn, needs))
    assert first.remember() == bits.remember() and len(first.trace) == 60
    assert [site.format for site in sites(torn)] == [site.format for site in sites(whole)]


def test_a_split_is_the_one_of_least_error_or_learned_itself():
    layers = papers(fmt=MiniFloat(2, 5))
    how = Learning(lowest=3, pressure=2.0, every=1)
    bits = learned(layers, how, [1.0] * 5)
    for site in sites(layers):  # those of the weights prefer one exponent bit, those of the activations two
        assert site.format.exponent_bits == site.least and site.format.bits < 8
    relaxed = papers(fmt=MiniFloat(2, 5))
    bits = learned(relaxed, how.model_copy(update={"split": "relaxed"}), [1.0] * 5)
    assert all(3 <= site.format.bits <= 8 and 1 <= site.format.exponent_bits <= 3 for site in sites(relaxed))
    assert relaxed[0].weights.format.bits < 8
    assert bits.names[:2] == ["weights network exponent", "weights network mantissa"]


def test_all_splits_of_a_width():
    assert [str(each) for each in splits(6)] == ["e1m4", "e2m3", "e3m2"]
    assert [str(each) for each in splits(3)] == ["e1m1"]


def modules(weights="int4", way="pact", **changes):
    torch.manual_seed(0)
    fmt = parse_format(weights)
    network = QuantizedModules(ResNet(20, 10), ModuleFormats(fmt, spend_sign(fmt), way=way, **changes), 16)
    calibrate_modules(network, [torch.randint(0, 256, (4, 3, 16, 16)).float()])
    return network


@pytest.mark.parametrize("make", [modules, lambda: modules(way="lsq"), unet, lambda: unet(learned=True)])
def test_an_attempt_leaves_no_trace(make):
    network = make()
    before = {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in network.state_dict().items()
    }
    fmt = network.layers()[0].weights.format
    for site in sites(network.layers()):
        other = Integer(3) if isinstance(fmt, Integer) else MiniFloat(2, 1)
        undo = site.attempt(other if site.kind == "weights" else spend_sign(other))
        assert site.format.bits != fmt.bits
        undo()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) if isinstance(value, torch.Tensor) else value == before[name], name


@pytest.mark.parametrize("make", [modules, lambda: modules(way="lsq"), unet])
def test_formats_are_in_the_state_of_a_network(make):
    network, other = make(), make()
    rng = np.random.default_rng(0)
    fmt = network.layers()[0].weights.format
    for site in sites(network.layers()):
        chosen = Integer(int(rng.integers(2, 9))) if isinstance(fmt, Integer) else splits(int(rng.integers(3, 9)))[-1]
        site.take(chosen if site.kind == "weights" else spend_sign(chosen))
    other.load_state_dict(network.state_dict())
    pixels = torch.randint(0, 256, (1, 3, 32, 32)).float()
    with torch.no_grad():
        assert torch.equal(network.eval()(pixels), other.eval()(pixels))
    assert [site.format for site in sites(other.layers())] == [site.format for site in sites(network.layers())]


def test_costs_of_resnet_20_are_those_of_the_count_by_hand():
    eight = parse_format("int8")
    network = QuantizedModules(
        ResNet(20, 10), ModuleFormats(Integer(4), Integer(4, signed=False), eight, eight, spend_sign(eight)), 32
    )
    layers = network.layers()
    first, inner, head = 432 * 1024, 40_813_184 - 432 * 1024 - 640, 640
    assert sum(layer.macs for layer in layers) == first + inner + head
    assert bit_operations(layers) == first * 64 + inner * 16 + head * 64
    assert weight_bytes(layers) == 432 + (sum(layer.count for layer in layers) - 432 - 640) / 2 + 640
    assert [layer.name for layer in layers if layer.activations is None] == ["stem.0"]
    assert {site.name for site in network.fixed()} == {"stem.0", "head", "means"}
    assert mean_bits(layers, "weights") == pytest.approx(4, abs=0.1)


def test_of_a_layer_without_weights_no_width_is_learned():
    network = ResNet(20, 10)
    nn.init.zeros_(network.blocks[0].first.weight)
    with pytest.raises(LoweringError, match=r"blocks\.0\.first has no weight but zeros"):
        QuantizedModules(network, ModuleFormats(Integer(4), Integer(4, signed=False)), 16)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, pixels):
        return self.second(self.first(pixels))


def test_activations_without_a_relu_are_told():
    with pytest.raises(LoweringError, match="What first gives is read without a ReLU module"):
        QuantizedModules(Bare(), ModuleFormats(Integer(4), Integer(4, signed=False)), 16)


@pytest.mark.parametrize("family", ["int8", "e2m3"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_of_mixed_widths_is_its_graph_on_every_engine(family, seed):
    rng = np.random.default_rng(seed)
    network = mixed_unet(family, rng)
    graph = lower(network, "mixed")
    assert [str(each.weights) for each in graph.widths] == [str(layer.weights.format) for layer in network.layers()]
    pixels = rng.integers(0, 256, (3, 48, 32), dtype=np.uint8)
    logits = run(graph, pixels)
    with torch.no_grad():
        said = network(torch.from_numpy(pixels)[None].float())[0].double().numpy()
    assert np.array_equal(logits * graph.logit_scale, said)
    for name in ("native", "onnxruntime"):
        assert np.array_equal(open_engine(name, graph, threads=1).run(pixels), logits), name
