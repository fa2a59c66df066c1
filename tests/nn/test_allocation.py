"""Widths chosen before the training: by brute force, by exact Hessians, and as the first step of a run."""

import itertools
import math
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from taran_eo.config import load_toml
from taran_eo.errors import ConfigError, WidthError
from taran_eo.formats import Integer, parse_format, spend_sign
from taran_eo.nn.allocation import allocate, settle, take
from taran_eo.nn.greedy import measured
from taran_eo.nn.hessian import estimated, hutchinson, traces
from taran_eo.nn.learned_bits import Learning, Widths
from taran_eo.nn.quantized import calibrate, quantize
from taran_eo.nn.quantized_modules import QuantizedModules
from taran_eo.nn.scales import Quantization
from taran_eo.nn.sites import bit_operations, sites
from taran_eo.nn.thin_unet import ThinUNetShape
from taran_eo.train import Recipe, carry_out, loop, outcome, recipe
from tests.nn.small import batch, floating, modules
from tests.nn.test_quantized import trained_like
from tests.train import labelled
from tests.train.classified import RECIPE, labels_of, smooth, write_jpegs

LOWEST, HIGHEST = 2, 5
WIDTHS = range(LOWEST, HIGHEST + 1)


def best(sensitivities, cost_of, limit):
    """The least loss of all widths that meet the limit."""
    every = itertools.product(WIDTHS, repeat=len(sensitivities))
    return min(total(sensitivities, bits) for bits in every if cost_of(bits) <= limit)


def total(sensitivities, bits):
    return sum(each[width] for each, width in zip(sensitivities, bits, strict=True))


def steps(rises):
    """A sensitivity that is zero at the highest width and rises so much with each bit fewer."""
    return dict(zip(reversed(WIDTHS), itertools.accumulate([0, *rises]), strict=True))


rises = st.lists(st.integers(-5, 100), min_size=3, max_size=3)
groups = st.lists(rises, min_size=1, max_size=4)


@given(groups, st.data())
def test_the_allocator_meets_the_limit_and_is_never_better_than_brute_force(some, data):
    sensitivities = [steps(each) for each in some]
    price = data.draw(st.lists(st.integers(1, 9), min_size=len(some), max_size=len(some)))

    def cost_of(bits):  # of products, as bit operations are
        return sum(one * width * other for one, width, other in zip(price, bits, [*bits[1:], 8], strict=True))

    least, most = (cost_of([width] * len(some)) for width in (LOWEST, HIGHEST))
    limit = data.draw(st.integers(least, most))
    found = allocate(sensitivities, cost_of, limit)
    assert cost_of(found) <= limit and all(width in WIDTHS for width in found)
    assert total(sensitivities, found) >= best(sensitivities, cost_of, limit)
    if limit > least:  # and it stops as soon as it is met
        with pytest.raises(WidthError, match="The lowest widths cost"):
            allocate(sensitivities, cost_of, least - 1)


@given(groups, st.integers(0, 12))
def test_where_costs_are_equal_and_each_bit_loses_more_than_the_last_it_is_brute_force(some, saved):
    sensitivities = [steps(sorted(map(abs, each))) for each in some]
    limit = max(LOWEST * len(some), HIGHEST * len(some) - saved)
    assert total(sensitivities, allocate(sensitivities, sum, limit)) == best(sensitivities, sum, limit)


def test_the_group_that_loses_least_for_what_it_saves_is_narrowed_first():
    dear, cheap, vain = steps([4, 4, 4]), steps([3, 3, 3]), steps([0, 0, 0])

    def cost_of(bits):  # the first saves twice as much as the second, and the third nothing
        return 2 * bits[0] + bits[1]

    assert allocate([dear, cheap, vain], cost_of, 14) == [4, 5, 5]
    assert allocate([dear, cheap, vain], cost_of, 8) == [2, 4, 5]
    assert allocate([dear, cheap, vain], cost_of, 15) == [5, 5, 5]


def test_a_width_that_ruins_the_network_is_the_last_resort():
    ruined = {2: math.inf, 3: math.inf, 4: 1.0, 5: 0.0}
    assert allocate([ruined, steps([50, 60, 70])], sum, 6) == [4, 2]
    assert allocate([ruined, steps([50, 60, 70])], sum, 4) == [2, 2]


def unet(weights="e2m3"):
    fmt = parse_format(weights)
    network = quantize(trained_like(ThinUNetShape(width=4, depth=1)), Quantization(fmt, spend_sign(fmt)))
    calibrate(network, [torch.randint(0, 256, (2, 3, 32, 32)).float() for _ in range(2)])
    return network


def widths_of(network, **changes):
    how = {"method": "greedy", "lowest": 3, "highest": 6, "group": "layer", "target": 0.5, **changes}
    return Widths(network.layers(), Learning(**how), fixed=network.fixed())


def state(network):
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in network.state_dict().items()
    }


def same(one, other):
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


@pytest.mark.parametrize("make", [modules, partial(modules, way="lsq"), unet])
def test_measured_is_the_loss_of_one_group_at_a_width_and_the_others_at_the_highest(make):
    network, torch_rng = make(), torch.Generator().manual_seed(3)
    side = 4 if isinstance(network, QuantizedModules) else 32
    pixels = torch.randint(0, 256, (2, 3, side, side), generator=torch_rng).float() - 128
    widths, seen = widths_of(network), []
    with torch.no_grad():
        truth = deepcopy(network)(pixels)

        def loss_of():
            seen.append({id(site): site.format.bits for site in widths.sites})
            return (network(pixels) - truth).square().mean().item()

        found = measured(widths, loss_of)
        after = state(network)
        for group in widths.groups:
            take(widths, group.places, 6)
        assert same(after, state(network))  # nothing of what was tried is left
        expected = [{}] + [dict.fromkeys(group.places, bits) for group in widths.groups for bits in (3, 4, 5)]
        assert seen == [{id(site): one.get(place, 6) for place, site in enumerate(widths.sites)} for one in expected]
        rises = []
        for place in widths.groups[0].places:
            for bits in (3, 4, 5):
                undo = take(widths, [place], bits)
                rises.append(loss_of())
                undo()
        assert same(after, state(network))
        least = loss_of()
    assert found[0][3] == rises[0] - least
    for each in found:  # what is wider loses no more
        assert list(each) == [3, 4, 5, 6] and list(each.values()) == sorted(each.values(), reverse=True)
    settle(widths, found)
    assert widths.done and widths.share <= 0.5
    assert widths.trace == [[0, widths.share, *(group.widths[0].value for group in widths.groups)]]
    assert [site.format.bits for site in widths.sites] == [
        group.bits[0] for place in range(len(widths.sites)) for group in widths.groups if place in group.places
    ]


def test_a_loss_that_is_no_number_ruins_the_width():
    widths = widths_of(modules(), target=0.9)
    values = itertools.chain([1.0, math.nan], itertools.repeat(2.0))
    found = measured(widths, lambda: next(values))
    assert found[0] == {3: math.inf, 4: 1.0, 5: 1.0, 6: 0.0}


def test_of_a_sum_of_squares_one_draw_gives_the_trace():
    rng = torch.Generator().manual_seed(0)
    curved, flat, unused = (torch.randn(3, 2, generator=rng, requires_grad=True) for _ in range(3))
    weights = torch.arange(6.0).view(3, 2)
    loss = (weights * curved.square()).sum() + flat.sum() * 2
    found = hutchinson(loss, [curved, flat, unused], 4, rng)
    assert torch.equal(found, torch.tensor([[30.0, 0.0, 0.0]] * 4, dtype=torch.float64))


def exact(network, name, kind, pixels, truth):
    """The trace of the Hessian of the mean cross entropy, from the whole Hessian."""

    def of_weights(weight):
        return nn.functional.cross_entropy(functional_call(network, {f"{name}.weight": weight}, pixels), truth)

    def of_activations(activation):
        return nn.functional.cross_entropy(network[int(name) + 1 :](activation), truth)

    if kind == "weights":
        function, tensor = of_weights, network.get_submodule(name).weight.detach()
    else:
        function, tensor = of_activations, network[: int(name) + 1](pixels).detach()
    whole = torch.autograd.functional.hessian(function, tensor)
    return whole.reshape(tensor.numel(), tensor.numel()).trace().item()


def test_the_trace_is_that_of_the_hessian_within_its_standard_error():
    network, (pixels, truth) = floating(), batch(4)
    places = sites(modules().layers())
    found = traces(
        network, places, [lambda each: nn.functional.cross_entropy(each(pixels), truth)] * 2, draws=150, seed=0
    )
    assert found.shape == (300, 5)
    assert {(site.kind, site.name) for site in places} == {
        ("weights", "0"),
        ("weights", "2"),
        ("weights", "5"),
        ("activations", "1"),
        ("activations", "3"),
    }
    error = found.std(dim=0) / math.sqrt(len(found))
    for number, site in enumerate(places):
        truly = exact(network, site.name, site.kind, pixels, truth)
        assert abs(found[:, number].mean() - truly) < 3 * error[number], site.name
        assert error[number] < 0.2 * truly, site.name  # or it would say nothing
    assert not network[1]._forward_hooks


def test_an_estimate_is_half_the_trace_times_the_square_error():
    network, (pixels, truth) = modules(), batch()
    widths = widths_of(network, method="hessian", draws=3, seed=7, group="network")
    losses = [lambda each: nn.functional.cross_entropy(each(pixels), truth)]
    found = estimated(widths, floating(), losses)
    places = [widths.sites[place] for group in widths.groups for place in group.places]
    curvature = dict(zip(places, traces(floating(), places, losses, 3, 7).mean(dim=0).tolist(), strict=True))
    for group, each in zip(widths.groups, found, strict=True):
        held = [widths.sites[place] for place in group.places]
        fmt = Integer(4, signed=group.kind == "weights")
        squares = [site.error(fmt) * site.held().square().mean().item() for site in held]
        expected = sum(max(0, curvature[site]) / 2 * square for site, square in zip(held, squares, strict=True))
        assert each[4] == pytest.approx(expected)
        assert list(each) == [3, 4, 5, 6] and list(each.values()) == sorted(each.values(), reverse=True)


def test_networks_for_the_integer_graph_have_no_hessian_here():
    widths = widths_of(unet(), method="hessian")
    with pytest.raises(WidthError, match=r"no tensor of its own in the float network.*bits\.method = \"greedy\""):
        estimated(widths, nn.Identity(), [])


def test_a_target_out_of_reach_is_told_before_anything_is_measured():
    with pytest.raises(WidthError, match=r"With 3 bits everywhere .* above the target of 0\.1"):
        widths_of(modules(), target=0.1)


@pytest.fixture
def recipe_file(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "ResNet", lambda depth, classes: floating(8, classes))
    place = write_jpegs(tmp_path / "a.npz", smooth(12, side=8)[0], labels_of(12))
    path = tmp_path / "classes.toml"
    path.write_text(
        RECIPE.format(depth=20, side=8, train=place, test=place)
        + """
[quantization]
way = "lsq"
weights = "int4"
calibration = 1
[bits]
method = "greedy"
group = "layer"
highest = 5
target = 0.4
batches = 1
draws = 1
"""
    )
    return path


class KilledError(Exception):
    pass


@pytest.mark.parametrize("method", ["greedy", "hessian"])
def test_a_killed_run_goes_on_with_the_widths_that_it_chose(recipe_file, tmp_path, monkeypatch, method):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    here = loop.environment()
    monkeypatch.setattr(loop, "environment", lambda: here)
    small = load_toml(recipe_file, Recipe, [f"bits.method={method}"])
    whole = carry_out(small, tmp_path / "whole", lambda done: None, resume=True)

    def kill(done):
        if done.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        carry_out(small, tmp_path / "torn", kill, resume=True)
    monkeypatch.setattr(outcome, "choose_bits", lambda *given: pytest.fail("the widths were chosen again"))
    resumed = carry_out(small, tmp_path / "torn", lambda done: None, resume=True)
    found = [site.format for site in sites(resumed.network.layers())]
    assert found == [site.format for site in sites(whole.network.layers())]
    assert any(fmt.bits != 5 for fmt in found)
    for name, value in whole.weights().items():
        assert np.array_equal(value, resumed.weights()[name]), name
    said = (tmp_path / "whole" / loop.WIDTHS).read_text().splitlines()
    assert len(said) == 2 and said[0].startswith("step,cost,weights 0,weights 2,")
    assert said[1].startswith("0,") and float(said[1].split(",")[1]) <= 0.4
    assert (tmp_path / "torn" / loop.WIDTHS).read_text().splitlines() == said


def test_without_training_the_widths_are_chosen_all_the_same(recipe_file, tmp_path):
    found = carry_out(
        load_toml(recipe_file, Recipe, ["schedule.steps=0"]), tmp_path / "run", lambda done: None, resume=True
    )
    assert any(site.format.bits < 5 for site in sites(found.network.layers()))


@pytest.mark.parametrize("method", ["greedy", "hessian"])
def test_a_missing_target_is_told_when_the_recipe_is_read(recipe_file, method):
    text = recipe_file.read_text().replace("target = 0.4\n", "")
    recipe_file.write_text(text)
    with pytest.raises(ConfigError, match=rf"`bits.method` {method} lowers widths down to a `bits.target`, which is m"):
        load_toml(recipe_file, Recipe, [f"bits.method={method}"])


@pytest.fixture
def ships_file(tmp_path):
    images, masks = labelled.write_tiles(tmp_path)
    path = tmp_path / "ships.toml"
    bits = '[bits]\nmethod = "greedy"\nlowest = 4\nhighest = 6\ngroup = "network"\ntarget = 0.7\nbatches = 1\n'
    text = labelled.RECIPE.format(images=images, masks=masks) + labelled.QUANTIZATION + bits
    path.write_text(text.replace("calibration = 2", "calibration = 1"))
    return path


def test_a_network_for_the_integer_graph_is_narrowed_by_measured_losses(ships_file, tmp_path):
    found = carry_out(
        load_toml(ships_file, Recipe, ["schedule.steps=0"]), tmp_path / "run", lambda done: None, resume=True
    )
    layers = found.network.layers()
    assert bit_operations(layers) <= 0.7 * bit_operations(layers, lambda site: Integer(6))
    assert {each.weights.bits for each in found.graph.widths} == {layers[0].weights.format.bits}


@pytest.mark.parametrize(("method", "said"), [("hessian", "no tensor of its own"), ("fracbits", "cannot be mixed")])
def test_a_network_for_the_integer_graph_is_refused_by_what_does_not_know_it(ships_file, tmp_path, method, said):
    changed = load_toml(ships_file, Recipe, ["schedule.steps=1", f"bits.method={method}"])
    with pytest.raises(WidthError, match=said):
        carry_out(changed, tmp_path / "run", lambda done: None, resume=True)
    assert not (tmp_path / "run" / loop.CHECKPOINT).exists()
