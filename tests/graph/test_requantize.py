"""The one rounding, against exact fractions: bias, scale, round, saturate, all at once."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.formats import integer_image, parse_format, to_image
from taran_eo.formats.oracle import encode_one
from taran_eo.graph import Requantize, requantize

FORMATS = ["ue2m4", "ue3m3", "e2m3", "e3m2", "ue2m2", "e4m3", "uint8", "uint6", "int8n", "int6"]


def truth(accumulator, multiplier, shift, fmt):
    """The same by the oracle: the exact quotient, as a binary64 that holds it, to the nearest value."""
    quotient = Fraction(int(accumulator) * int(multiplier), 1 << int(shift))
    real = float(quotient) * 2.0 ** integer_image(fmt).step_exponent
    assert Fraction(real) == quotient * Fraction(2) ** integer_image(fmt).step_exponent
    return int(to_image(encode_one(real, fmt), fmt))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_every_accumulator_that_matters(name, shift):
    # All values, midpoints and their integer neighbours, and a good deal beyond the end.
    fmt = parse_format(name)
    end = min(integer_image(fmt).high, 2000) + 5 << shift
    accumulators = np.arange(-end, end + 1)
    how = Requantize(np.array([1], np.int32), np.array([shift], np.int32))
    assert requantize(accumulators[None], how, fmt)[0].tolist() == [truth(a, 1, shift, fmt) for a in accumulators]


@given(
    st.sampled_from(FORMATS),
    st.lists(st.integers(-(2**29), 2**29), min_size=1, max_size=20),
    st.integers(1, 2**24 - 1),
    st.integers(0, 56),
)
def test_any_accumulator_with_any_scale(name, accumulators, multiplier, shift):
    fmt = parse_format(name)
    how = Requantize(np.array([multiplier], np.int32), np.array([shift], np.int32))
    result = requantize(np.array([accumulators], dtype=np.int64), how, fmt)[0]
    assert result.tolist() == [truth(a, multiplier, shift, fmt) for a in accumulators]


def test_channels_have_their_own_scales():
    how = Requantize(np.array([1, 3], np.int32), np.array([1, 2], np.int32))
    fmt = parse_format("uint8")
    assert requantize(np.array([[[7, -8]], [[7, 8]]]), how, fmt).tolist() == [[[4, 0]], [[5, 6]]]
