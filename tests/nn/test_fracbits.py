"""Real widths: whole ones are formats, their slope is that of the loss, and a run that is killed ends the same."""

import csv
import itertools
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from taran_eo.config import load_toml
from taran_eo.errors import ConfigError, WidthError
from taran_eo.formats import Integer, MiniFloat, parse_format, spend_sign
from taran_eo.nn.fracbits import FracBits
from taran_eo.nn.learned_bits import Learning
from taran_eo.nn.quantized import calibrate, quantize
from taran_eo.nn.quantized_modules import Between
from taran_eo.nn.scales import Quantization
from taran_eo.nn.sites import sites
from taran_eo.nn.thin_unet import ThinUNetShape
from taran_eo.train import Recipe, carry_out, loop, recipe
from tests.nn.small import batch, floating, modules
from tests.nn.test_quantized import trained_like
from tests.train.classified import RECIPE, labels_of, smooth, write_jpegs

KINDS = [("int4", "pact"), ("int4", "lsq"), ("e2m2", "pact"), ("e2m2", "lsq")]


def learning(**changes):
    return Learning(method="fracbits", **{"lowest": 3, "group": "layer", **changes})


def begun(network, how, followers=()):
    return FracBits(network.layers(), how, fixed=network.fixed(), followers=[each.layers() for each in followers])


def logits_of(network):
    with torch.no_grad():
        return network(batch()[0])


def bits_of(network):
    return [site.format.bits for site in sites(network.layers())]


def of_bits(fmt, bits):
    """The integer of another width, or the minifloat, with the same exponent if one mantissa bit is left."""
    if isinstance(fmt, Integer):
        return Integer(bits, signed=fmt.signed)
    exponent = min(fmt.exponent_bits, bits - fmt.signed - 1)
    return MiniFloat(exponent, bits - fmt.signed - exponent, signed=fmt.signed)


@pytest.mark.parametrize(("weights", "way"), KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_with_a_share_of_none_or_all_a_mix_is_its_format_to_the_bit(weights, way, bits):
    network = modules(weights, way)
    for site in sites(network.layers()):
        values = site.held() - 0.01
        above, below = of_bits(site.format, bits), of_bits(site.format, bits - 1)
        mixes = []
        for share in (0.0, 1.0):
            site.between = Between(below, above, torch.tensor(share))
            mixes.append(site.rounded(values).detach())
        site.between = None
        for fmt, mix in zip((below, above), mixes, strict=True):
            undo = site.attempt(fmt)
            assert torch.equal(site.rounded(values), mix), (site.name, fmt)
            undo()


@pytest.mark.parametrize(("weights", "way"), KINDS)
def test_a_network_of_whole_widths_says_what_it_says_without_mixing(weights, way):
    network = modules(weights, way)
    bits = begun(network, learning())
    for group in bits.groups:
        bits.take(group, group.bits)
    before = logits_of(network)
    for width in (3, 8):  # and at the ends of the range
        bits.before(0, 100)
        assert all(site.between is not None for site in bits.sites)
        assert torch.equal(logits_of(network), before)
        for group in bits.groups:
            group.widths[0].value = float(width)
            bits.take(group, [width])
            for place in group.places:
                bits.sites[place].between = None
        before = logits_of(network)


@pytest.mark.parametrize(
    ("weights", "way", "value"), [("int4", "pact", 4.0), ("int4", "lsq", 4.4), ("e2m2", "pact", 5.7)]
)
def test_the_slope_of_a_width_is_the_difference_of_the_loss_and_of_the_cost(weights, way, value):
    """Square errors of a linear layer are parabolas of both its widths, so that the difference is exact."""
    network, how = modules(weights, way), learning(pressure=0.3)
    truth = torch.randn(8, 3, generator=torch.Generator().manual_seed(5))
    bits = begun(network, how)

    def total(number, shift=0.0):
        """The loss with one of the widths moved, within the two whole ones that it lies between."""
        penalty = bits.before(0, 100)
        if shift:
            for place in bits.groups[number].places:
                mixed = bits.sites[place].between
                bits.sites[place].between = Between(mixed.below, mixed.above, mixed.share + shift)
            moved = [real + shift * (place == number) for place, real in enumerate(bits.reals)]
            penalty = how.pressure * bits._cost(moved) / bits.whole
        return (network(batch()[0]) - truth).square().mean() + penalty

    names = [f"{group.kind} {group.name}" for group in bits.groups]
    for name in ("weights 5", "activations 3"):  # nothing is rounded behind these two
        number = names.index(name)
        bits.groups[number].widths[0].value = value
        total(number).backward()
        slope = bits.reals[number].grad.item()
        difference = (total(number, 0.25) - total(number, -0.25)).item() / 0.5
        assert slope == pytest.approx(difference, rel=2e-3, abs=1e-6), name
        assert slope != 0


def test_a_cost_of_real_widths_lies_on_the_line_between_whole_ones():
    bits = begun(modules(), learning())
    at = [bits._cost([torch.tensor(value)] * len(bits.groups)).item() for value in (4.0, 8.0)]
    assert at == [bits.cost_at(lambda width: 4), bits.whole]
    one = [torch.tensor(4.0)] * len(bits.groups)
    ends = [bits._cost([torch.tensor(value), *one[1:]]).item() for value in (4.0, 4.25, 5.0)]
    assert ends[1] == pytest.approx(0.75 * ends[0] + 0.25 * ends[2])


def trained(network, how, steps, followers=(), look=lambda bits, step: None):
    pixels, truth = batch()
    bits = begun(network, how, followers)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2)
    for step in range(steps):
        penalty = bits.before(step, steps)
        loss = nn.functional.cross_entropy(network(pixels), truth)
        optimizer.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        bits.after(step, steps, lambda share: pytest.fail("nobody asks for another loss"))
        optimizer.step()
        look(bits, step)
    return bits


@pytest.mark.parametrize(
    ("weights", "way", "cost", "target"),
    [("int4", "pact", "bit_operations", 0.25), ("e2m2", "lsq", "weight_bytes", 0.45)],
)
def test_widths_come_down_to_the_target_and_stay_there(weights, way, cost, target):
    network = modules(weights, way)
    bits = trained(network, learning(target=target, cost=cost, pressure=3.0, until=0.5), steps=40)
    assert bits.done and bits.share <= target and bits.before(0, 100) is None
    assert len({tuple(line[2:]) for line in bits.trace if line[0] >= 20}) == 1
    assert bits.trace[-1][:2] == [20, bits.share]
    assert all(site.between is None for site in bits.sites)
    assert bits_of(network) == [
        int(bits.trace[-1][2 + number])
        for place in range(len(bits.sites))
        for number, group in enumerate(bits.groups)
        if place in group.places
    ]


def test_without_a_pressure_nothing_falls_before_the_deadline_and_without_a_target_nothing_at_it():
    network = modules("int8")
    bits = trained(network, learning(pressure=0.0, weight_rate=1e-6, activation_rate=1e-6), steps=8)
    assert bits.done and set(bits_of(network)) == {8}


def test_nothing_presses_below_the_target():
    bits = begun(modules("int4"), learning(target=0.5))
    assert bits.before(0, 100) is None
    for group in bits.groups:
        group.widths[0].value = 7.9
    assert bits.before(0, 100).item() == pytest.approx((7.9 / 8) ** 2, rel=0.1)


def test_a_width_moves_by_no_more_than_a_bit_a_step():
    values = []
    how = learning(pressure=100.0, weight_rate=50.0, activation_rate=50.0, every=1, until=1.0)
    bits = trained(modules("int8"), how, 5)
    values = [[8.0] * len(bits.groups), *(line[2:] for line in bits.trace)]
    for before, after in itertools.pairwise(values[:-1]):
        assert all(abs(one - other) <= 1 for one, other in zip(before, after, strict=True))
    assert values[-1] == [3.0] * len(bits.groups)


def test_at_the_deadline_the_widths_nearest_to_a_bit_fewer_fall_first_and_those_that_save_nothing_stay():
    """Weights alone cost: 3.6 would take 4 bits, 4.4 would take 5, and two bits too many are taken where they are."""
    network = modules("int4")
    bits = begun(network, learning(lowest=2, cost="weight_bytes", target=0.499))
    weights = [group for group in bits.groups if group.kind == "weights"]
    for group, value in zip(weights, (3.6, 4.4, 4.0), strict=True):
        group.widths[0].value = value
    for group in bits.groups[len(weights) :]:
        group.widths[0].value = 3.55  # saves nothing, and does not fall
    said = bits.freeze()
    assert [group.bits for group in weights] == [(3,), (4,), (4,)]
    assert {fmt.bits for name, fmt in said.items() if name.startswith("activations")} == {4}
    assert said["weights 0"] == network.layers()[0].weights.format == Integer(3)


def test_followers_carry_whole_widths_the_nearest_ones():
    network = modules()
    average = deepcopy(network)
    seen = set()

    def look(bits, step):
        assert [site.format for site in sites(average.layers())] == [site.format for site in bits.sites]
        assert all(site.between is None for site in sites(average.layers()))
        for group in bits.groups:
            (width,) = group.widths
            assert all(abs(bits.sites[place].format.bits - width.value) <= 0.5 for place in group.places)
            seen.add(width.value)

    trained(network, learning(every=1, until=0.9), 20, [average], look)
    assert any(value % 1 for value in seen)
    assert bits_of(network) == bits_of(average) != [4] * len(bits_of(network))


def test_sites_of_a_fixed_format_are_never_mixed():
    eight = parse_format("int8")
    network = modules(first_weights=eight, head_weights=eight, head_activations=spend_sign(eight))
    bits = trained(network, learning(until=1.0), 4)
    bits.before(0, 100)
    fixed = network.fixed()
    assert len(fixed) == 3 and all(site.between is None and site.format.bits == 8 for site in fixed)


def test_a_network_for_the_integer_graph_is_refused():
    fmt = parse_format("int4")
    network = quantize(trained_like(ThinUNetShape(width=4, depth=1)), Quantization(fmt, spend_sign(fmt)))
    calibrate(network, [torch.randint(0, 256, (2, 3, 32, 32)).float()])
    with pytest.raises(WidthError, match=r"cannot be mixed of two formats.*Take bits\.method = \"adaqat\""):
        begun(network, learning())


@pytest.fixture
def recipe_file(tmp_path):
    place = write_jpegs(tmp_path / "a.npz", smooth(12, side=8)[0], labels_of(12))
    path = tmp_path / "classes.toml"
    path.write_text(
        RECIPE.format(depth=20, side=8, train=place, test=place).replace("steps = 4", "steps = 8")
        + """
[quantization]
way = "lsq"
weights = "int4"
calibration = 1
[bits]
method = "fracbits"
group = 3
every = 1
until = 0.75
pressure = 20.0
rise = 1.0
target = 0.3
"""
    )
    return path


class KilledError(Exception):
    pass


@pytest.mark.parametrize("changes", [[], ["quantization.way=pact", "quantization.weights=e2m2", "bits.lowest=3"]])
def test_a_killed_run_ends_as_if_it_had_not_been(recipe_file, tmp_path, monkeypatch, changes):
    """Killed while widths are real, and again after they were frozen."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(recipe, "ResNet", lambda depth, classes: floating(8, classes))
    here = loop.environment()  # looked at once, as the checkout may be worked on while this runs
    monkeypatch.setattr(loop, "environment", lambda: here)
    small = load_toml(recipe_file, Recipe, changes)
    whole = carry_out(small, tmp_path / "whole", lambda done: None, resume=True)

    def kill_at(step):
        def kill(done):
            if done.step == step:
                raise KilledError

        return kill

    for step in (5, 7):
        with pytest.raises(KilledError):
            carry_out(small, tmp_path / "torn", kill_at(step), resume=True)
    resumed = carry_out(small, tmp_path / "torn", lambda done: None, resume=True)
    assert bits_of(whole.network) == bits_of(resumed.network) != [4] * len(bits_of(whole.network))
    assert (tmp_path / "torn" / loop.WIDTHS).read_text() == (tmp_path / "whole" / loop.WIDTHS).read_text()
    for name, value in whole.weights().items():
        assert np.array_equal(value, resumed.weights()[name]), name
    with (tmp_path / "torn" / loop.WIDTHS).open(newline="") as file:
        lines = list(csv.reader(file))
    assert [line[0] for line in lines] == ["step", "1", "2", "3", "4", "5", "6"]
    assert any(float(value) % 1 for value in lines[3][2:]) and not any(float(value) % 1 for value in lines[-1][2:])
    assert float(lines[-1][1]) <= 0.3


def test_a_split_that_is_learned_itself_is_refused(recipe_file):
    with pytest.raises(ConfigError, match=r"`bits\.split` is learned by `bits\.method` adaqat, and not by fracbits"):
        load_toml(recipe_file, Recipe, ["bits.split=relaxed"])
