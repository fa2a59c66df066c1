"""The green difference: reversible to the last bit, chosen where it helps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taran_eo.codec.green import GREEN, add_green, subtract_green, worth_differencing

SHAPES = st.tuples(st.integers(2, 16), st.integers(1, 9), st.integers(1, 9))


@st.composite
def images(draw):
    bits = draw(st.integers(8, 16))
    dtype = np.uint8 if bits == 8 else np.uint16
    return draw(hnp.arrays(dtype, draw(SHAPES), elements=st.integers(0, 2**bits - 1))), bits


@given(image=images(), chosen=st.integers(0, 2**16 - 1))
def test_green_comes_back_to_the_last_bit(image, chosen):
    pixels, bits = image
    chosen &= (1 << len(pixels)) - 1 & ~(1 << GREEN)
    before = pixels.copy()
    sent = subtract_green(pixels, chosen, bits)
    assert sent.dtype == pixels.dtype
    assert sent.max() < 2**bits
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(add_green(sent, chosen, bits), pixels)


def test_the_difference_is_what_it_says():
    pixels = np.array([10, 200, 30], np.uint8).reshape(3, 1, 1)
    sent = subtract_green(pixels, 0b101, 8).ravel()
    assert sent.tolist() == [(10 - 200 + 128) % 256, 200, (30 - 200 + 128) % 256]


@given(image=images())
def test_a_choice_never_includes_green_itself(image):
    pixels, bits = image
    chosen = worth_differencing(pixels, bits)
    assert not chosen & 1 << GREEN
    assert not chosen >> len(pixels)


def test_bands_that_are_alike_lose_their_green_and_others_keep_it():
    rng = np.random.default_rng(1)
    green, other = rng.integers(0, 4000, (60, 50)), np.arange(3000).reshape(60, 50)
    alike = green + rng.integers(0, 40, (2, 60, 50))
    pixels = np.stack([alike[0], green, alike[1], other]).astype(np.uint16)
    assert worth_differencing(pixels, 12) == 0b0101


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 1)])
def test_nothing_is_chosen_where_there_is_nothing_to_look_at(shape):
    assert worth_differencing(np.zeros(shape, np.uint8), 8) == 0
