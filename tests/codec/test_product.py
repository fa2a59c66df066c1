"""The product ladder: levels, parts and bundles, there and back, whole or in what is left of them."""

import dataclasses
import hashlib
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from taran_eo.codec import (
    LEVELS,
    Header,
    Origin,
    RunLength,
    Sighting,
    assemble,
    bundles,
    compress_mask,
    frame,
    gather,
    leb128,
    legacy,
    pack,
    pages,
    parts,
    scan,
    unpack,
    windows,
)
from taran_eo.codec import header as header_module
from taran_eo.codec.bundle import BUNDLE_BYTES
from taran_eo.codec.header import key_of
from taran_eo.codec.part import KEY_BYTES, MOST_PART_BYTES, ORIGIN, PART_BYTES, Part, pack_part, unpack_part
from taran_eo.codec.product import STEPS
from taran_eo.codec.ship_list import PAGE_SHIPS, PER_PIXEL, read_page
from taran_eo.errors import CorruptDataError, FormatError

FIXTURES = Path(__file__).parent / "fixtures"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIGHTINGS = st.builds(
    Sighting,
    row=st.integers(0, 1 << 32),
    col=st.integers(0, 1 << 32),
    length=st.integers(0, 1 << 20),
    width=st.integers(0, 1 << 20),
    heading=st.integers(0, 255),
    score=st.integers(0, 127),
    pixels=st.integers(1, 1 << 34),
)

ORIGIN_EXAMPLE = Origin(
    model="thin_unet32_e2m3", model_digest="00ff" * 16, threshold=0.5, software="taran-eo 0.1.0", gate="0123abcd" * 2
)
EYE = np.eye(32, dtype=np.uint8)
HEADER = Header(
    origin=ORIGIN_EXAMPLE.key.hex(),
    scene="harbour/a",
    rows=40,
    cols=70,
    bands=3,
    crs="EPSG:32631",
    transform=(1.5, 0.0, 500000.0, 0.0, -1.5, 4649776.0),
    gsd_m=1.5,
    stretch=None,
    ships=1,
    ship_pixels=32,
    nodata_pixels=0,
    tile=32,
    layout=(0, 1, 1, 1, 0, 4),
    levels={},
)
SHIP = Sighting(row=60, col=192, length=180, width=6, heading=64, score=115, pixels=32)
EXAMPLE = assemble(ORIGIN_EXAMPLE, HEADER, {"ships": pages([SHIP]), "mask": [RunLength().compress(EYE)]})


@st.composite
def products(draw):
    rows, cols, tile = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(8, 32))
    header = dataclasses.replace(
        HEADER,
        scene=draw(TEXT),
        rows=rows,
        cols=cols,
        tile=tile,
        crs=draw(st.none() | TEXT),
        transform=draw(st.none() | st.tuples(*[st.floats(-1e9, 1e9)] * 6)),
        gsd_m=draw(st.none() | st.floats(1e-3, 1e3)),
        stretch=draw(st.none() | st.dictionaries(TEXT, FINITE, max_size=2)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = [draw(st.sampled_from([(0,), (255,), (1,), (0, 1), (0, 1, 255)])) for _ in windows(header)]
    labels = [
        rng.choice(np.array(each, np.uint8), (w.rows, w.cols)) for each, w in zip(values, windows(header), strict=True)
    ]
    layout, blocks = compress_mask(labels)
    items = {"ships": pages(draw(st.lists(SIGHTINGS, max_size=3))), "mask": blocks}
    pixels = draw(st.sampled_from([None, "chips", "regions", "scene"]))
    if pixels is not None:
        items[pixels] = draw(st.lists(st.binary(min_size=1, max_size=2 * PART_BYTES), max_size=5))
    return assemble(ORIGIN_EXAMPLE, dataclasses.replace(header, layout=layout), items), labels


@given(made=products())
@settings(max_examples=60)
def test_unpack_undoes_pack(made):
    product, labels = made
    again = unpack(pack(product))
    assert (again.header, again.origin) == (product.header, product.origin)
    assert {step: dict(items) for step, items in again.items.items() if items} == {
        step: items for step, items in product.items.items() if items
    }
    for (window, expanded), expected in zip(again.mask_blocks(), labels, strict=True):
        assert expanded.shape == (window.rows, window.cols)
        np.testing.assert_array_equal(expanded, expected)


@given(made=products(), lost=st.sets(st.integers(0, 20)), cut=st.integers(0, 50), rng=st.randoms())
@settings(max_examples=60)
def test_what_is_left_of_a_product_is_found_and_the_rest_is_named(made, lost, cut, rng):
    """Parts lost, cut, repeated, out of order and amid garbage: what is whole comes out, what is not is named."""
    product, _ = made
    packed = [pack_part(part) for part in parts(product)]
    kept = [data for number, data in enumerate(packed) if number not in lost]
    shuffled = kept + kept[:2]
    rng.shuffle(shuffled)
    noise = [rng.randbytes(rng.randrange(20)) for _ in shuffled]
    data = b"".join(a + b for a, b in zip(noise, shuffled, strict=True)) + packed[-1][: min(cut, len(packed[-1]) - 1)]
    gathered = gather(scan(data))
    assert gathered.faults == ()
    header_came, origin_came = 1 not in lost, 0 not in lost
    assert len(gathered.products) == header_came
    items_came = any(number not in lost for number in range(2, len(packed)))
    assert len(gathered.orphans) == (not header_came and items_came)
    if not header_came:
        return
    (found,) = gathered.products
    assert (found.origin is not None) == origin_came
    named = sum(len(product.items[step]) - len(found.items.get(step, {})) for step in product.items)
    told = [line for line in found.missing() if line != "which model made it"]
    assert sum(int(line.split()[0]) for line in told) == named
    for step, items in found.items.items():
        assert all(product.items[step][number] == item for number, item in items.items())


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_and_a_cut_are_found(place, bit):
    data = bytearray(pack(EXAMPLE))
    place %= len(data)
    cut = bytes(data[:place])
    data[place] ^= 1 << bit
    for bad in (bytes(data), cut, bytes(data) + b"\0"):
        with pytest.raises(CorruptDataError):
            unpack(bad)


@given(body=st.binary(max_size=80), kind=st.integers(0, 15))
def test_any_bytes_unpack_or_are_refused(body, kind):
    """Checksums mended, as an attacker would."""
    head = b"TP" + bytes([0x30 + kind])
    for data in (body, b"TEOP\x01" + body, head + body, head + leb128.encode(np.array([len(body)])) + body):
        sealed = data + zlib.crc32(data).to_bytes(4, "little")
        with pytest.raises(CorruptDataError):
            unpack(sealed)
        gather(scan(sealed))


@given(item=st.binary(max_size=60))
def test_headers_and_pages_open_or_are_refused(item):
    for kind in (0, ORIGIN):
        gathered = gather([Part(kind, b"\0" * KEY_BYTES, 0, (item,))])
        assert (len(gathered.products), len(gathered.faults)) == (0, 1)
    try:
        ships = read_page(item)
    except CorruptDataError:
        return
    assert 0 < len(ships) <= PAGE_SHIPS


@given(ships=st.lists(SIGHTINGS, max_size=2 * PAGE_SHIPS + 3))
@settings(max_examples=40)
def test_the_ship_list_comes_back(ships):
    assert [ship for page in pages(ships) for ship in read_page(page)] == ships


@given(
    centre=st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)),
    length=st.floats(2, 400),
    shape=st.floats(0.05, 0.9),
    angle=st.floats(0, math.pi),
    first=st.integers(0, 3),
)
def test_a_ship_comes_back_within_half_a_step(centre, length, shape, angle, first):
    along = np.array([-math.cos(angle), math.sin(angle)]) * length / 2
    across = np.array([math.sin(angle), math.cos(angle)]) * length * shape / 2
    box = np.array([centre - along - across, centre + along - across, centre + along + across, centre - along + across])
    ship = Sighting.of(np.roll(box, first, axis=0).tolist(), 0.5, 7)
    half = 0.5 / PER_PIXEL + 1e-9
    assert abs(ship.row / PER_PIXEL - centre[0]) <= half
    assert abs(ship.col / PER_PIXEL - centre[1]) <= half
    assert abs(ship.length / PER_PIXEL - length) <= half
    assert abs(ship.width / PER_PIXEL - length * shape) <= half
    turned = (ship.heading / 256 * math.pi - angle) % math.pi
    assert min(turned, math.pi - turned) <= math.pi / 512 + 1e-9
    # The corners are those of the box, up to which comes first.
    distances = np.linalg.norm(ship.corners()[:, None] - box[None], axis=2).min(axis=1)
    assert distances.max() <= 4 * half + length * math.pi / 1024


def test_a_ship_takes_about_ten_bytes():
    rng = np.random.default_rng(3)
    rows, cols = np.sort(rng.integers(0, 4096, 50)), rng.integers(0, 4096, 50)
    ships = [
        Sighting(row=int(4 * row), col=int(4 * col), length=160, width=40, heading=90, score=120, pixels=300)
        for row, col in zip(rows, cols, strict=True)
    ]
    assert len(b"".join(pages(ships))) / 50 < 12


def test_a_block_of_another_size_is_found():
    items = {"ships": [], "mask": [RunLength().compress(np.ones((32, 31), np.uint8))]}
    wrong = assemble(ORIGIN_EXAMPLE, HEADER, items)
    with pytest.raises(CorruptDataError, match="row 0, column 32"):
        list(wrong.mask_blocks())
    told = []
    blocks = dict(wrong.mask_blocks(lambda what, _: told.append(what)))
    assert [window for window, labels in blocks.items() if labels is None] == list(windows(HEADER))[1:2]
    assert told == ["the mask at row 0, column 32"]


def test_a_block_that_is_missing_is_no_sea():
    partial = dataclasses.replace(EXAMPLE, items={"ships": EXAMPLE.items["ships"]})
    assert partial.missing() == ("1 of 1 items of level mask: 0",)
    assert [labels is None for _, labels in partial.mask_blocks()] == [False, True, False, False, False, False]


@pytest.mark.parametrize("layout", [(), (1,), (0, 5), (0, 6), (3, 6), (0, 5, 2, 2), (0, 4, 1, 2)])
def test_a_layout_that_is_none_is_refused(layout):
    """Six blocks, one of them with an item."""
    wrong = assemble(ORIGIN_EXAMPLE, dataclasses.replace(HEADER, layout=layout), {"ships": [], "mask": [b"x"]})
    with pytest.raises(CorruptDataError, match="layout"):
        list(wrong.mask_blocks())


def test_what_claims_too_much_is_refused_before_it_is_made():
    with pytest.raises(ValidationError, match="blocks of 8 pixels"):
        dataclasses.replace(HEADER, rows=2**20, cols=2**20, tile=8, layout=(0, 2**34))
    with pytest.raises(ValidationError):
        dataclasses.replace(HEADER, levels={"mask": (1 << 40, "0" * 8)})
    long = b"TP\x30" + leb128.encode(np.array([1 << 34]))
    with pytest.raises(CorruptDataError, match="cut off"):
        unpack_part(long + b"\0" * KEY_BYTES + b"\0" * 40)


def test_a_header_that_makes_no_sense_is_not_made():
    for wrong in (
        {"rows": 0},
        {"gsd_m": float("nan")},
        {"gsd_m": 0.0},
        {"tile": 1 << 20},
        {"transform": (1e300,) * 6},
        {"levels": {"movies": (1, "0" * 8)}},
        {"levels": {"mask": (1, "nothex!!")}},
    ):
        with pytest.raises(ValidationError):
            dataclasses.replace(HEADER, **wrong)


def test_beginnings_of_parts_without_end_are_given_up():
    """Each claims half of all bytes: looked at one by one they would cost minutes a megabyte."""
    head = b"TP\x30" + leb128.encode(np.array([1 << 19]))
    with pytest.raises(CorruptDataError, match="full of beginnings"):
        list(scan(head * (1 << 17)))
    # What comes before is found; a few of them among valid parts hide nothing.
    found = list(parts(EXAMPLE))
    packed = b"".join(map(pack_part, found))
    assert list(scan(head * 3 + packed + head * 3)) == found


def test_two_scenes_that_differ_in_pixels_only_are_two():
    """As frames of a camera that begins to count again: all else of their headers is the same."""
    items = {"ships": pages([SHIP]), "mask": [RunLength().compress(EYE)]}
    scenes = [assemble(ORIGIN_EXAMPLE, HEADER, items | {"scene": [pixels]}) for pixels in (b"a", b"b")]
    gathered = gather(part for scene in scenes for part in parts(scene))
    assert gathered.products == tuple(scenes)
    assert gathered.faults == ()


def test_what_contradicts_itself_is_told_and_the_first_is_kept():
    key = EXAMPLE.header.key
    other = Part(2, key, 0, (b"junk",))
    beyond = Part(3, key, 7, (b"chip of nothing",))
    gathered = gather([*parts(EXAMPLE), other, beyond])
    assert gathered.products == (EXAMPLE,)
    assert ["not the same" in fault.what or "none of the 0" in fault.what for fault in gathered.faults] == [True, True]
    # The other way round, the digest of the level tells.
    (product,) = gather([other, *parts(EXAMPLE)]).products
    assert product.missing() == ("level mask: what is there is not what was sent",)


def test_a_header_that_is_spelled_otherwise_is_refused():
    text = HEADER.text + b" "
    item = leb128.encode(np.array([len(text)])) + frame.close(text, dictionary=header_module._DICTIONARY)
    gathered = gather([Part(0, key_of(text), 0, (item,))])
    assert gathered.products == ()
    assert "spelled" in gathered.faults[0].what


def test_a_bad_page_costs_its_own_ships_only():
    ships = [dataclasses.replace(SHIP, col=number) for number in range(2 * PAGE_SHIPS + 1)]
    good = pages(ships)
    product = assemble(ORIGIN_EXAMPLE, HEADER, {"ships": [good[0], b"\1\2", good[2]], "mask": []})
    with pytest.raises(CorruptDataError):
        product.ships()
    told = []
    assert product.ships(lambda what, _: told.append(what)) == (*ships[:PAGE_SHIPS], *ships[2 * PAGE_SHIPS :])
    assert told == ["page 2 of the ship list"]


def test_items_that_no_part_can_hold_are_refused():
    for item in (b"", bytes(MOST_PART_BYTES)):
        with pytest.raises(FormatError):
            pack_part(Part(3, HEADER.key, 0, (item,)))


def test_a_header_is_believed_under_its_own_key_only():
    other = dataclasses.replace(HEADER, scene="harbour/b")
    for part in parts(EXAMPLE):
        if part.kind == 0:
            gathered = gather([dataclasses.replace(part, key=other.key)])
            assert gathered.products == ()
            assert "another key" in gathered.faults[0].what


def test_empty_sea_and_nodata_cost_next_to_nothing():
    """The mask of a scene of 20,000 x 20,000 pixels without ships, and with data nowhere."""
    small = assemble(ORIGIN_EXAMPLE, dataclasses.replace(HEADER, layout=(0, 6)), {"ships": [], "mask": []})
    whole = dataclasses.replace(HEADER, rows=20_000, cols=20_000, tile=768)
    for kind, value in ((0, 0), (2, 255)):
        layout, items = compress_mask(np.full((8, 8), value, np.uint8) for _ in range(27**2))
        assert (layout, items) == ((kind, 27**2), [])
        large = assemble(ORIGIN_EXAMPLE, dataclasses.replace(whole, layout=layout), {"ships": [], "mask": items})
        assert len(pack(large)) - len(pack(small)) <= 16


def test_bundles_hold_all_products_and_what_matters_most_comes_first():
    scenes = [
        assemble(
            ORIGIN_EXAMPLE,
            dataclasses.replace(HEADER, scene=f"scene {number}"),
            {"ships": pages([SHIP]), "mask": [RunLength().compress(EYE)], "chips": [bytes(BUNDLE_BYTES // 2)] * 2},
        )
        for number in range(3)
    ]
    once, twice = (list(bundles(lambda: iter(scenes), twice=flag)) for flag in (False, True))
    names = [bundle.name for bundle in once]
    assert names == [
        "00000-counts-ships.teo",
        "00001-mask.teo",
        *(f"{number:05d}-chips.teo" for number in range(2, 2 + 6)),
    ]
    assert [bundle.name for bundle in twice] == [*names, "00008-counts-ships.teo", "00009-mask.teo"]
    assert [bundle.data for bundle in twice[-2:]] == [bundle.data for bundle in twice[:2]]
    assert all(len(bundle.data) < 1.1 * BUNDLE_BYTES for bundle in twice)
    # What made them is told once, not once a scene.
    assert sum(part.kind == ORIGIN for part in scan(once[0].data)) == 1
    gathered = gather(part for bundle in twice for part in scan(bundle.data))
    assert [product.header for product in gathered.products] == [product.header for product in scenes]
    assert [product.missing() for product in gathered.products] == [()] * 3
    # Without the first two files and one of pixels, all is known but one piece of pixels.
    left = gather(part for bundle in (*twice[2:6], *twice[7:]) for part in scan(bundle.data))
    assert [product.missing() for product in left.products] == [(), (), ("1 of 2 items of level chips: 0",)]


def test_a_reader_that_knows_only_the_page_reads_a_product():
    """PRODUCT.md in thirty lines, without a line of the package but its dictionary."""

    def numbers(data):
        found, shift, value = [], 0, 0
        for byte in data:
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                found.append(value)
                shift = value = 0
        return found

    def number(data, place):
        size = next(i for i in range(5) if data[place + i] < 128) + 1
        return numbers(data[place : place + size])[0], place + size

    data, place, items = pack(EXAMPLE), 0, {}
    while place < len(data):
        assert data[place : place + 2] == b"TP" and data[place + 2] >> 4 == 3
        length, body = number(data, place + 3)
        end = body + length
        assert int.from_bytes(data[end : end + 4], "little") == zlib.crc32(data[place:end])
        key, (first, at), sizes = data[body : body + 6], number(data, body + 6), []
        while True:
            size, at = number(data, at)
            if size == 0:
                break
            sizes.append(size)
        for size in sizes:
            items[data[place + 2] & 15, first] = key, data[at : at + size]
            first, at = first + 1, at + size
        assert at == end
        place = end + 4
    texts = {}
    for kind in (15, 0):
        key, item = items[kind, 0]
        size, at = number(item, 0)
        dictionary = zstandard.ZstdCompressionDict(header_module._DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        opened = zstandard.ZstdDecompressor(dict_data=dictionary, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        text = opened.decompressobj().decompress(item[at:])
        assert len(text) == size and hashlib.sha256(text).digest()[:6] == key
        texts[kind] = json.loads(text)
    assert texts[0]["origin"] == items[15, 0][0].hex()
    for kind, level in ((1, "ships"), (2, "mask")):
        _, item = items[kind, 0]
        digest = hashlib.sha256(len(item).to_bytes(8, "little") + item).hexdigest()[:8]
        assert texts[0]["levels"][level] == [1, digest]
    row, col, *rest = numbers(items[1, 0][1])
    assert [(each >> 1) ^ -(each & 1) for each in (row, col)] + rest == list(dataclasses.astuple(SHIP))


def legacy_of(fields, blocks=b""):
    """A product of schema 2 with its checksum in order."""
    text = json.dumps(OLD | fields).encode()
    content = leb128.encode(np.array([len(text)])) + text + blocks
    size = leb128.encode(np.array([len(content)]))
    body = b"TEOP\x01" + size + frame.close(content, dictionary=legacy._DICTIONARY)
    return body + zlib.crc32(body).to_bytes(4, "little")


OLD = {"scene": "a", "rows": 8, "cols": 8, "tile": 8, "crs": None, "transform": None, "gsd_m": None, "stretch": None}
OLD |= {"model": "m", "model_digest": "0", "threshold": 0.5, "software": "s", "ships": []}


def test_what_no_early_version_wrote_is_refused():
    large = RunLength().compress(np.zeros((2048, 2048), np.uint8))
    one = leb128.encode(np.array([len(large)])) + large
    assert unpack(legacy_of({}, b"\0")).header.scene == "a"
    for fields, blocks in [
        ({}, one),  # a block of more pixels than its window
        ({"rows": 2**30, "cols": 2**30, "tile": 2**30}, one),
        ({"ships": [{"box": [[1e308, 0], [0, 1e308], [1, 1]], "pixels": 1}]}, b"\0"),
        ({"ships": [{"box": [[1, 1]], "pixels": 1}]}, b"\0"),
        ({"gsd_m": -1.0}, b"\0"),
    ]:
        with pytest.raises(CorruptDataError):
            unpack(legacy_of(fields, blocks))


def test_levels_and_steps_name_the_same_ladder():
    assert ("counts", *STEPS) == LEVELS
    assert list(EXAMPLE.header.levels) == ["ships", "mask"]


def test_the_frozen_products_still_unpack():
    """Schemas 1 and 2, and version 3; whatever becomes of this package, old downlinks stay readable."""
    for name, gate in (("product_v1.product", None), ("product_v2.product", "0123abcd" * 2)):
        old = unpack((FIXTURES / name).read_bytes())
        assert old.made_by() == dataclasses.replace(ORIGIN_EXAMPLE, gate=gate)
        assert (old.header.scene, old.header.rows, old.header.cols, old.header.ships) == ("harbour/a", 40, 70, 1)
        assert (old.header.transform, old.header.crs) == (HEADER.transform, HEADER.crs)
        assert old.ships() == (Sighting(row=8, col=12, length=11, width=11, heading=192, score=0, pixels=4),)
        masks = [labels for _, labels in old.mask_blocks()]
        np.testing.assert_array_equal(masks[1], EYE)
        assert not any(labels.any() for number, labels in enumerate(masks) if number != 1)
        assert unpack(pack(old)) == old
    assert unpack((FIXTURES / "product_v3.product").read_bytes()) == EXAMPLE
