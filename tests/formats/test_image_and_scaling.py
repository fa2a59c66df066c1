"""Exact integer images, the widths that follow from them, and scales."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.errors import FormatError
from taran_eo.formats import (
    Integer,
    MiniFloat,
    Scaling,
    accumulator_bits,
    decode,
    dequantize,
    exact_terms,
    from_image,
    integer_image,
    parse_format,
    product_bits,
    quantize,
    to_image,
    values,
)


@pytest.mark.parametrize(
    ("name", "largest"),
    # hardware notes of the project, section 3: each ran as a standard integer convolution.
    [
        ("e2m1", 12),
        ("e1m2", 7),
        ("e2m2", 28),
        ("e2m3", 60),
        ("ue2m4", 124),
        ("e3m1", 192),
        ("e3m2", 448),
        ("e3m3", 960),
    ],
)
def test_known_images(name, largest):
    image = integer_image(parse_format(name))
    assert image.high == largest
    assert image.lane == {True: np.uint8, False: np.int8}[name[0] == "u"] if largest < 128 else image.lane == np.int16


@pytest.mark.parametrize("name", ["e2m3", "e3m2", "ue2m4", "ue3m3", "e4m3", "int8", "uint6", "uint8q3"])
def test_an_image_is_exact_and_invertible(name):
    fmt = parse_format(name)
    codes = np.arange(2**fmt.bits)
    image = to_image(codes, fmt)
    assert np.array_equal(np.ldexp(image.astype(float), integer_image(fmt).step_exponent), decode(codes, fmt))
    assert np.array_equal(decode(from_image(image, fmt), fmt), values(fmt))


@pytest.mark.parametrize("name", ["e10m5", "e11m2i", "e8m7i", "e5m10i"])
def test_wide_formats_have_an_image_too(name):
    fmt = parse_format(name)
    image = integer_image(fmt)
    assert Fraction(fmt.largest) == image.high * Fraction(2) ** image.step_exponent
    assert accumulator_bits(fmt, fmt, terms=1) > 2 * (image.bits - 1)


def test_an_integer_between_the_values_has_no_code():
    with pytest.raises(FormatError):
        from_image([17], MiniFloat(2, 3))  # 16, 18, 20 ... in this binade


def test_widths_known_from_measurement():
    e3m2, e2m3 = MiniFloat(3, 2), MiniFloat(2, 3)
    assert exact_terms(e3m2, e3m2, 2**31 - 1) == 10_699
    assert exact_terms(e2m3, e2m3, 2**31 - 1) == 596_523
    assert (exact_terms(e3m2, e3m2, 2**24), exact_terms(e2m3, e2m3, 2**24)) == (83, 4_660)
    assert product_bits(Integer(8), Integer(8, signed=False)) == 16


@given(
    st.sampled_from(["e2m1", "e2m3", "e3m2", "int8", "int6n"]),
    st.sampled_from(["ue2m4", "ue3m3", "uint8", "e2m3"]),
    st.integers(1, 2000),
)
def test_accumulator_bits_are_enough_and_not_one_too_many(weights, activations, terms):
    w, a = parse_format(weights), parse_format(activations)
    first, second = integer_image(w), integer_image(a)
    sums = [terms * p * q for p in (first.low, first.high) for q in (second.low, second.high)]
    bits = accumulator_bits(w, a, terms)
    assert -(2 ** (bits - 1)) <= min(sums) and max(sums) < 2 ** (bits - 1)
    assert min(sums) < -(2 ** (bits - 2)) or max(sums) >= 2 ** (bits - 2)


@given(st.floats(1e-30, 1e30), st.sampled_from(["e2m3", "ue2m4", "int8n", "uint6"]))
def test_the_covering_power_of_two_is_the_smallest_that_covers(largest, name):
    fmt = parse_format(name)
    (scale,) = Scaling.covering(largest, fmt).scales
    assert scale * fmt.largest >= largest > scale / 2 * fmt.largest


def test_channels_are_scaled_on_their_axis():
    reals = np.array([[1.0, 2.0], [30.0, 60.0]])
    scaling = Scaling.covering(np.abs(reals).max(axis=1), MiniFloat(2, 3), axis=0)
    assert scaling.exponents == (-1, 3)
    codes = quantize(reals, MiniFloat(2, 3), scaling)
    assert np.array_equal(dequantize(codes, MiniFloat(2, 3), scaling), [[1.0, 2.0], [30.0, 60.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scaling((0.0,)),
        lambda: Scaling((1.0, 2.0)),
        lambda: Scaling((0.3,)).exponents,
        lambda: Scaling.covering([np.nan, 2.0], MiniFloat(2, 3), axis=0),
    ],
)
def test_impossible_scales_are_refused(make):
    with pytest.raises(FormatError):
        make()
