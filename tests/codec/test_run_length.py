"""The mask codec: what goes in comes out, and whatever else comes in is refused."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taran_eo.codec import RunLength, frame, leb128
from taran_eo.errors import CorruptDataError, FormatError

FIXTURES = Path(__file__).parent / "fixtures"
CODEC = RunLength()


def sealed(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


def number(value):
    return leb128.encode(np.array([value]))


# Runs of every length, not only the noise that independent pixels would be.
MASKS = st.builds(
    lambda shape, runs: np.resize(np.repeat([r[0] for r in runs], [r[1] for r in runs]), shape).astype(np.uint8),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.tuples(st.sampled_from([0, 1, 255]), st.integers(1, 300)), min_size=1, max_size=40),
)


@given(labels=MASKS)
def test_expand_undoes_compress(labels):
    expanded = CODEC.expand(CODEC.compress(labels))
    assert expanded.dtype == np.uint8
    np.testing.assert_array_equal(expanded, labels)


@given(labels=MASKS, place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_and_a_cut_are_found(labels, place, bit):
    data = bytearray(CODEC.compress(labels))
    place %= len(data)
    cut = bytes(data[:place])
    data[place] ^= 1 << bit
    for bad in (bytes(data), cut):
        with pytest.raises(CorruptDataError):
            CODEC.expand(bad)


@given(body=st.binary(max_size=60))
def test_any_bytes_expand_or_are_refused(body):
    """With a right checksum too, as an adversary would send them."""
    for data in (body, sealed(b"RL\x01" + body), sealed(b"RL\x01\x08\x08" + body)):
        try:
            labels = CODEC.expand(data, max_pixels=4096)
        except CorruptDataError:
            continue
        assert set(np.unique(labels)) <= {0, 1, 255}


def test_bombs_are_refused_before_memory_is_taken():
    large = sealed(b"RL\x01" + number(60_000) + number(60_000) + b"\x00" + number(0))
    with pytest.raises(CorruptDataError, match="60000 x 60000"):
        CODEC.expand(large)
    assert CODEC.expand(sealed(b"RL\x01" + number(9) + number(9) + b"\x00" + number(0))).shape == (9, 9)
    # A frame that grows to far more than it says.
    grown = sealed(b"RL\x01" + number(9) + number(9) + b"\x04" + number(3) + frame.close(bytes(10_000_000)))
    with pytest.raises(CorruptDataError, match="more"):
        CODEC.expand(grown)


@pytest.mark.parametrize("labels", [np.full((2, 2), 7, np.uint8), np.zeros((0, 3), np.uint8), np.zeros(3, np.uint8)])
def test_what_is_no_mask_is_not_compressed(labels):
    with pytest.raises(FormatError):
        CODEC.compress(labels)


@given(values=hnp.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 2**35 - 1)))
def test_leb128_goes_there_and_back(values):
    data = leb128.encode(values)
    np.testing.assert_array_equal(leb128.decode(data), values)
    if len(values):
        assert leb128.read_one(data, 0)[0] == values[0]


def test_leb128_is_the_standard_one():
    assert leb128.encode(np.array([2, 127, 128, 12857])) == bytes([2, 0x7F, 0x80, 1, 0xB9, 0x64])  # DWARF 4, figure 22


def test_a_tile_with_ships_is_as_small_as_promised():
    rng = np.random.default_rng(5)
    rows, cols = np.mgrid[:768, :768]
    sizes = []
    for ships in range(10):
        labels = np.zeros((768, 768), np.uint8)
        for row, col, angle, half in zip(
            rng.uniform(50, 700, ships),
            rng.uniform(50, 700, ships),
            rng.uniform(0, np.pi, ships),
            rng.uniform(6, 20, ships),
            strict=True,
        ):
            along = (rows - row) * np.cos(angle) + (cols - col) * np.sin(angle)
            across = (cols - col) * np.cos(angle) - (rows - row) * np.sin(angle)
            labels[(abs(along) < half) & (abs(across) < half / 4)] = 1
        data = CODEC.compress(labels)
        np.testing.assert_array_equal(CODEC.expand(data), labels)
        sizes.append(len(data))
    assert sizes[0] <= 14
    assert max(sizes) <= 700
    assert np.mean(sizes) <= 400


def test_the_frozen_mask_still_expands():
    """Written by version 1; whatever becomes of this package, old downlinks stay readable."""
    labels = CODEC.expand((FIXTURES / "mask_v1.runlength").read_bytes())
    expected = np.zeros((32, 48), np.uint8)
    expected[:, :5] = 255
    expected[10:14, 20:40] = 1
    expected[20, 4:9] = 1
    np.testing.assert_array_equal(labels, expected)
