"""Products: metadata, ships and mask blocks, there and back."""

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from taran_eo.codec import Product, RunLength, pack, unpack
from taran_eo.errors import CorruptDataError, FormatError

FIXTURES = Path(__file__).parent / "fixtures"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | TEXT

EXAMPLE = Product(
    scene="harbour/a",
    rows=40,
    cols=70,
    tile=32,
    crs="EPSG:32631",
    transform=(1.5, 0.0, 500000.0, 0.0, -1.5, 4649776.0),
    gsd_m=1.5,
    stretch=None,
    model="thin_unet32_e2m3",
    model_digest="00ff" * 16,
    threshold=0.5,
    software="taran-eo 0.1.0",
    ships=({"row": 3.25, "col": 4.0, "box": [[1.0, 2.0], [3.0, 4.0]], "length_m": None, "pixels": 4},),
    blocks=(b"", RunLength().compress(np.eye(32, dtype=np.uint8)), b"", b"", b"", b""),
)


@st.composite
def products(draw):
    rows, cols, tile = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(8, 32))
    bare = dataclasses.replace(EXAMPLE, rows=rows, cols=cols, tile=tile, blocks=())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    blocks = tuple(
        b""
        if rng.random() < 0.5
        else RunLength().compress(rng.choice(np.array([0, 1, 255], np.uint8), (w.rows, w.cols)))
        for w in bare.windows()
    )
    return dataclasses.replace(
        bare,
        scene=draw(TEXT),
        crs=draw(st.none() | TEXT),
        transform=draw(st.none() | st.tuples(*[FINITE] * 6)),
        gsd_m=draw(st.none() | FINITE),
        stretch=draw(st.none() | st.dictionaries(TEXT, FINITE, max_size=2)),
        threshold=draw(FINITE),
        gate=draw(st.none() | TEXT),
        ships=tuple(draw(st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=4))),
        blocks=blocks,
    )


@given(product=products())
@settings(max_examples=60)
def test_unpack_undoes_pack(product):
    assert unpack(pack(product)) == product


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_and_a_cut_are_found(place, bit):
    data = bytearray(pack(EXAMPLE))
    place %= len(data)
    cut = bytes(data[:place])
    data[place] ^= 1 << bit
    for bad in (bytes(data), cut, bytes(data) + b"\0"):
        with pytest.raises(CorruptDataError):
            unpack(bad)


@given(body=st.binary(max_size=80))
def test_any_bytes_unpack_or_are_refused(body):
    for head in (b"", b"TEOP\x01", b"TEOP\x01\x10"):
        data = head + body
        with pytest.raises(CorruptDataError):
            unpack(data + zlib.crc32(data).to_bytes(4, "little"))


def test_the_mask_comes_back_in_blocks():
    whole = np.zeros((EXAMPLE.rows, EXAMPLE.cols), np.uint8)
    whole[:32, 32:64] = np.eye(32)
    for window, labels in unpack(pack(EXAMPLE)).mask_blocks():
        np.testing.assert_array_equal(labels, whole[window.slices])


def test_a_block_of_another_size_is_found():
    blocks = (RunLength().compress(np.ones((32, 31), np.uint8)), *EXAMPLE.blocks[1:])
    with pytest.raises(CorruptDataError, match="row 0, column 0"):
        list(dataclasses.replace(EXAMPLE, blocks=blocks).mask_blocks())


def test_content_that_is_too_large_is_refused():
    with pytest.raises(CorruptDataError, match="accepted"):
        unpack(pack(EXAMPLE), max_bytes=10)


def test_a_product_that_makes_no_sense_is_not_made():
    with pytest.raises(FormatError, match="instead of 6"):
        pack(dataclasses.replace(EXAMPLE, blocks=()))
    with pytest.raises(ValidationError):
        dataclasses.replace(EXAMPLE, rows=0)
    with pytest.raises(ValidationError):
        dataclasses.replace(EXAMPLE, gsd_m=float("nan"))


def test_empty_sea_costs_next_to_nothing():
    """The mask of a scene of 20,000 x 20,000 pixels without ships."""
    small = dataclasses.replace(EXAMPLE, tile=20_000, rows=20_000, cols=20_000, blocks=(b"",))
    large = dataclasses.replace(small, tile=768, blocks=(b"",) * 27**2)
    assert len(pack(large)) - len(pack(small)) <= 12
    nodata = RunLength().compress(np.full((768, 768), 255, np.uint8))
    assert len(pack(dataclasses.replace(large, blocks=(nodata,) * 27**2))) - len(pack(small)) <= 64


def test_the_frozen_product_still_unpacks():
    """Written with the fields of schema 1 and 2; whatever becomes of this package, old downlinks stay readable."""
    first = unpack((FIXTURES / "product_v1.product").read_bytes())
    assert first == dataclasses.replace(EXAMPLE, schema_version=1)
    assert unpack((FIXTURES / "product_v2.product").read_bytes()) == dataclasses.replace(EXAMPLE, gate="0123abcd" * 2)
