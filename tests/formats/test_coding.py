"""Rounding to a format is a monotone staircase: its values, its midpoints and their neighbours settle all inputs."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.errors import FormatError
from taran_eo.formats import CATALOGUE, Integer, MiniFloat, Rounding, decode, encode, parse_format, spend_sign, values
from taran_eo.formats.oracle import decode_one, encode_one

SPLITS = [(e, m) for e in range(1, 6) for m in range(6) if 1 < e + m <= 7]
SMALL = [
    *(MiniFloat(e, m, signed=signed) for (e, m), signed in itertools.product(SPLITS, (True, False))),
    *(MiniFloat(e, m, subnormals=False) for e, m in SPLITS),
    *(MiniFloat(e, m, bias=bias) for (e, m), bias in itertools.product([(2, 3), (4, 1)], (-3, 0, 11))),
    *(MiniFloat(e, m, specials="ocp") for e, m in SPLITS),
    *(MiniFloat(e, m, specials="ieee", signed=signed) for e, m in SPLITS if e > 1 for signed in (True, False)),
    *(Integer(bits) for bits in range(2, 9)),
    *(Integer(bits, signed=False, fraction_bits=3) for bits in range(1, 9)),
    Integer(6, narrow=True),
    Integer(8, fraction_bits=-2, narrow=True),
]
NAMES = [str(fmt) for fmt in SMALL]


def stairs(fmt):
    """Every value, midpoint and end of a format, with their neighbours in binary64 and in binary32."""
    finite = np.unique(values(fmt)[np.isfinite(values(fmt))])
    points = np.concatenate(
        [finite, finite[:-1] / 2 + finite[1:] / 2, [finite[0] * 1.5, finite[-1] * 1.5, 1e300, 1e-300]]
    )
    with np.errstate(over="ignore"):
        single = points.astype(np.float32)
        neighbours = [np.nextafter(single, np.float32(end)).astype(np.float64) for end in (-np.inf, np.inf)]
    neighbours += [np.nextafter(points, end) for end in (-np.inf, np.inf)]
    return np.concatenate([points, -points, *neighbours, [0.0, -0.0, np.inf, -np.inf]])


def same(first, second):
    return (first == second and math.copysign(1, first) == math.copysign(1, second)) or (
        first != first and second != second
    )


@pytest.mark.parametrize("fmt", SMALL, ids=NAMES)
def test_every_code_decodes_as_the_definition_says(fmt):
    for code, value in enumerate(decode(np.arange(2**fmt.bits), fmt).tolist()):
        assert same(value, float(decode_one(code, fmt)))


@pytest.mark.parametrize("fmt", SMALL, ids=NAMES)
def test_every_value_encodes_to_itself(fmt):
    finite = values(fmt)[np.isfinite(values(fmt))]
    if isinstance(fmt, Integer) and fmt.narrow:
        finite = finite[finite >= fmt.lowest]
    back = decode(encode(finite, fmt), fmt)
    assert np.array_equal(back, finite) and np.array_equal(np.signbit(back), np.signbit(finite))


@pytest.mark.parametrize("fmt", SMALL, ids=NAMES)
def test_every_stair_is_where_the_oracle_has_it(fmt):
    points = stairs(fmt)
    for rounding in (Rounding.NEAREST_EVEN, Rounding.TOWARD_ZERO):
        assert encode(points, fmt, rounding).tolist() == [encode_one(point, fmt, rounding) for point in points.tolist()]


def test_sixteen_bit_formats_on_a_sample_of_their_stairs():
    for name in ("float16", "bfloat16", "e6m9", "ue5m11"):
        fmt = parse_format(name)
        points = np.random.default_rng(0).choice(stairs(fmt), 2000)
        assert encode(points, fmt).tolist() == [encode_one(point, fmt) for point in points.tolist()]


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("e2m1", ml_dtypes.float4_e2m1fn),
        ("e2m3", ml_dtypes.float6_e2m3fn),
        ("e3m2", ml_dtypes.float6_e3m2fn),
        ("e4m3fn", ml_dtypes.float8_e4m3fn),
        ("e5m2i", ml_dtypes.float8_e5m2),
        ("e4m3i", ml_dtypes.float8_e4m3),
        ("e3m4i", ml_dtypes.float8_e3m4),
        ("float16", np.float16),
        ("bfloat16", ml_dtypes.bfloat16),
    ],
)
def test_ml_dtypes_agrees(name, theirs):
    fmt = parse_format(name)
    points = stairs(fmt)
    # Theirs overflows to infinity or NaN where ours saturates, so the comparison stays within the range.
    points = points[np.abs(points) <= fmt.largest]
    # Through binary32, from which theirs rounds once.
    points = points.astype(np.float32).astype(np.float64)
    expected = points.astype(np.float32).astype(theirs).astype(np.float64)
    assert np.array_equal(decode(encode(points, fmt), fmt), expected)
    assert np.array_equal(np.signbit(decode(encode(points, fmt), fmt)), np.signbit(expected))


def test_all_codes_of_the_sixteen_bit_formats():
    for name, theirs in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        codes = np.arange(2**16, dtype=np.uint16)
        with np.errstate(invalid="ignore"):  # signalling NaNs among the codes
            expected = codes.view(theirs).astype(np.float64)
        assert np.array_equal(values(parse_format(name)), expected, equal_nan=True)


def test_the_edges_behave_as_documented():
    fp6, fp8, ieee = MiniFloat(3, 2), MiniFloat(4, 3, specials="ocp"), MiniFloat(5, 2, specials="ieee")
    assert decode(encode([np.inf, -1e9], fp6), fp6).tolist() == [28.0, -28.0]
    assert decode(encode([np.inf, 1e9], fp8), fp8).tolist() == [448.0, 448.0]
    assert decode(encode([np.inf, 1e9], ieee), ieee).tolist() == [np.inf, 57344.0]
    assert np.isnan(decode(encode([np.nan, -np.nan], fp8), fp8)).all()
    assert decode(encode([-3.0, -0.0], MiniFloat(2, 4, signed=False)), MiniFloat(2, 4, signed=False)).tolist() == [0, 0]
    for fmt in (fp6, Integer(8)):
        with pytest.raises(FormatError, match="NaN"):
            encode([1.0, np.nan], fmt)


@given(
    st.sampled_from([MiniFloat(2, 3), MiniFloat(3, 2, signed=False), Integer(6, fraction_bits=2)]),
    st.integers(0, 2**32),
)
def test_stochastic_rounding_is_right_on_average(fmt, seed):
    rng = np.random.default_rng(seed)
    value = float(rng.uniform(0, fmt.largest))
    draws = decode(encode(np.full(4000, value), fmt, Rounding.STOCHASTIC, rng), fmt)
    below, above = draws.min(), draws.max()
    assert below <= value <= above or below == above
    # Six standard errors of a two-point distribution.
    assert abs(draws.mean() - value) <= 6 * max(above - below, 1e-3) / 2 / 4000**0.5 + (above == below) * fmt.largest


def test_stochastic_rounding_leaves_values_alone_and_needs_chance():
    fmt = MiniFloat(2, 3)
    finite = values(fmt)
    assert np.array_equal(decode(encode(finite, fmt, Rounding.STOCHASTIC, np.random.default_rng(0)), fmt), finite)
    with pytest.raises(FormatError, match="rng"):
        encode([1.0], fmt, Rounding.STOCHASTIC)


@pytest.mark.parametrize("bits", [24, 32, 53])
def test_wide_integers_need_no_table(bits):
    fmt = Integer(bits)
    points = np.array([0.0, -1.0, fmt.largest, fmt.lowest, fmt.largest * 2, 1e300, 12345.5, 12346.5])
    expected = [0.0, -1.0, fmt.largest, fmt.lowest, fmt.largest, fmt.largest, 12346.0, 12346.0]
    assert decode(encode(points, fmt), fmt).tolist() == expected


@pytest.mark.parametrize("fmt", [*SMALL, *(entry.format for entry in CATALOGUE)], ids=str)
def test_a_name_says_all_of_a_format(fmt):
    assert parse_format(str(fmt)) == fmt


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_a_name_of_the_catalogue_is_what_its_spelling_says(entry):
    assert str(entry.format) == {"float16": "e5m10i", "bfloat16": "e8m7i"}.get(entry.name, entry.name)


def test_the_catalogue_is_whole_and_has_nothing_twice():
    formats = [entry.format for entry in CATALOGUE]
    assert len({entry.name for entry in CATALOGUE}) == len(set(formats)) == len(CATALOGUE)
    assert {Integer(bits, signed) for bits in range(4, 9) for signed in (True, False)} <= set(formats)
    splits = {fmt for fmt in formats if isinstance(fmt, MiniFloat) and fmt.mantissa_bits and fmt.bits <= 6}
    assert {spend_sign(fmt) for fmt in splits} <= set(formats)


def test_a_given_customary_bias_is_the_same_format():
    assert MiniFloat(4, 3, bias=7) == MiniFloat(4, 3)
    assert MiniFloat(4, 3, bias=0) != MiniFloat(4, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MiniFloat(0, 3),
        lambda: MiniFloat(8, 8),
        lambda: MiniFloat(12, 2),
        lambda: MiniFloat(1, 2, specials="ieee"),
        lambda: MiniFloat(1, 0, specials="ocp"),
        lambda: Integer(1),
        lambda: Integer(54),
        lambda: Integer(4, signed=False, narrow=True),
        lambda: parse_format("e2x3"),
        lambda: values(Integer(17)),
        lambda: decode([64], MiniFloat(2, 3)),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(FormatError):
        make()
