"""Scales from statistics, clips and steps that learn: by brute force, and by the formulas of their papers."""

import math

import pytest
import torch

from taran_eo.formats import Integer, parse_format
from taran_eo.nn import rounding
from taran_eo.nn.lsq import LsqStep
from taran_eo.nn.pact import PactClip, SawbWeights
from taran_eo.nn.rounding import fake_quantize
from taran_eo.nn.sawb import least_error_scale, statistical_scale

FORMATS = ("int2", "int3", "int4", "int6", "e2m1", "e2m3", "e3m2", "e1m2")


def square_error(values, fmt, scale):
    return float((fake_quantize(values, fmt, scale) - values).square().mean())


@pytest.mark.parametrize("name", FORMATS)
def test_two_statistics_tell_the_scale_of_weights(name):
    """Within a tenth of the least error on shapes between those of the table, and at any size."""
    fmt, rng = parse_format(name), torch.Generator().manual_seed(0)
    normal = torch.randn(60_000, generator=rng)
    uneven = normal * (0.2 + 2 * torch.rand(60_000, generator=rng))  # as channels of unlike size make it
    for values in (normal, uneven, torch.rand(60_000, generator=rng) - 0.5):
        for size in (1.0, 1e-3, 300.0):
            found = square_error(size * values, fmt, statistical_scale(size * values, fmt))
            best = square_error(size * values, fmt, least_error_scale(size * values, fmt))
            assert found <= 1.15 * best, (name, size)


@pytest.mark.parametrize("name", FORMATS)
def test_the_scale_of_least_error_is_that_of_a_finer_search(name):
    fmt, values = parse_format(name), torch.randn(4000, generator=torch.Generator().manual_seed(1))
    fine = torch.linspace(0.02, 1.0, 600) * values.abs().max() / fmt.largest
    assert square_error(values, fmt, least_error_scale(values, fmt)) <= 1.1 * min(
        square_error(values, fmt, scale) for scale in fine
    )


@pytest.mark.parametrize("name", ["uint2", "uint4", "uint8", "ue2m2", "ue3m3"])
def test_the_clip_of_pact_learns_from_what_is_clipped(name):
    fmt, clip = parse_format(name), PactClip()
    with torch.no_grad():
        clip.clip.fill_(2.5)
    values = torch.linspace(-1, 5, 301, requires_grad=True)
    gradient = torch.randn(301, generator=torch.Generator().manual_seed(2))
    rounded = clip(values, fmt)
    rounded.backward(gradient)
    assert rounded.max() == 2.5
    assert torch.allclose(clip.clip.grad, gradient[values > 2.5].sum(), rtol=1e-4)
    assert torch.equal(values.grad, torch.where((values > 0) & (values <= 2.5), gradient, 0.0))


@pytest.mark.parametrize("name", ["int3", "uint4", "e2m1"])
def test_the_step_of_lsq_learns_as_its_paper_says(name):
    fmt, step = parse_format(name), LsqStep()
    with torch.no_grad():
        step.step.fill_(0.3)
    values = torch.linspace(-3, 3, 401, requires_grad=True)
    step(values, fmt).sum().backward()
    ratio = values.detach() / 0.3
    inside = (ratio >= fmt.lowest) & (ratio <= fmt.largest)
    slope = torch.where(inside, fake_quantize(ratio, fmt) - ratio, ratio.clamp(fmt.lowest, fmt.largest))
    assert torch.allclose(step.step.grad, slope.sum() / math.sqrt(401 * fmt.largest), rtol=1e-3, atol=1e-4)


def test_a_step_follows_its_format():
    values, step = torch.randn(20_000, generator=torch.Generator().manual_seed(3)), LsqStep()
    step.begin(values, parse_format("int8"))
    step.switch(parse_format("int8"), parse_format("int3"))
    best = float(least_error_scale(values, parse_format("int3")))
    assert 0.8 * best < step.step.item() < 1.25 * best


def test_weights_that_are_all_zero_stay_zero():
    assert not SawbWeights()(torch.zeros(5), Integer(4)).any()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # what the compiler imports
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["int2", "int8", "uint4", "int4n"])
def test_integers_are_rounded_by_their_own_kernel_to_the_same_bits(name, kind):
    fmt, scale = parse_format(name), torch.tensor(0.137)
    values = torch.cat([torch.linspace(-40, 40, 20_001), 0.137 * (torch.arange(-300, 300) + 0.5)]).to(kind)
    grid = rounding._grid(fmt, 0)
    one, other = (kernel(values, scale, grid) for kernel in (rounding._round_uniform, rounding._round_scaled))
    assert torch.equal(one, other)
    compiled = torch.compile(rounding._round_uniform, dynamic=True)
    with torch.no_grad():
        assert torch.equal(compiled(values, scale, grid), one)
