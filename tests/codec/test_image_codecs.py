"""The image codecs: what goes in comes out or lies within its bound, and whatever else comes in is refused."""

import dataclasses
import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.io import MemoryFile

from taran_eo.codec import confined, j2k_markers, jpeg_xl, leb128
from taran_eo.codec.image import IMAGE_CODECS, codec_named, compress, expand
from taran_eo.codec.image_shape import ImageShape
from taran_eo.codec.jpeg_2000 import Jpeg2000
from taran_eo.codec.jpeg_ls import JpegLs
from taran_eo.errors import ConfigError, CorruptDataError, FormatError, MissingExtraError

FIXTURES = Path(__file__).parent / "fixtures"
LOSSLESS = [codec for codec in IMAGE_CODECS if codec.lossless]
ONE_EACH = list({codec.number: codec for codec in reversed(IMAGE_CODECS)}.values())
named = {"ids": lambda codec: codec.name}


def sealed(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


def number(value):
    return leb128.encode(np.array([value]))


def envelope(codec, shape, body, green=0):
    numbers = b"".join(map(number, (shape.bands, shape.rows, shape.cols, green)))
    return sealed(b"IM\x01" + bytes([codec.number, shape.bits]) + numbers + body)


def body_of(data):
    position = 5
    for _ in range(4):
        _, position = leb128.read_one(data, position)
    return data[position:-4]


def smooth(bands=3, rows=40, cols=40, bits=8, seed=0):
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:rows, :cols]
    peak = 2**bits - 1
    waves = [np.sin(right / 7 + band / 3) + np.cos(down / 9) + 2 for band in range(bands)]
    noise = rng.integers(0, peak // 30 + 1, (bands, rows, cols))
    return np.clip(np.stack(waves) / 4.2 * peak + noise, 0, peak).astype(np.uint8 if bits == 8 else np.uint16)


@st.composite
def images(draw):
    bits = draw(st.integers(8, 16))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 24), st.integers(1, 24)))
    dtype = np.uint8 if bits == 8 else np.uint16
    if draw(st.booleans()):
        return smooth(*shape, bits, seed=draw(st.integers(0, 99))), bits
    return draw(hnp.arrays(dtype, shape, elements=st.integers(0, 2**bits - 1))), bits


# Laws


@pytest.mark.parametrize("codec", LOSSLESS, **named)
@settings(max_examples=40)
@given(image=images())
def test_expand_undoes_compress(codec, image):
    pixels, bits = image
    expanded = expand(compress(pixels, codec, bits=bits))
    assert expanded.dtype == pixels.dtype
    np.testing.assert_array_equal(expanded, pixels)
    np.testing.assert_array_equal(expand(compress(pixels, codec)), pixels)


@settings(max_examples=60)
@given(image=images(), near=st.integers(1, 9))
def test_near_lossless_keeps_its_bound(image, near):
    pixels, bits = image
    expanded = expand(compress(pixels, JpegLs(near=near), bits=bits))
    assert expanded.dtype == pixels.dtype
    assert expanded.max() < 2**bits
    assert np.abs(expanded.astype(int) - pixels).max() <= near


@pytest.mark.parametrize("codec", LOSSLESS, **named)
@pytest.mark.parametrize(
    ("bits", "shape"), [(8, (3, 64, 64)), (8, (1, 300, 300)), (16, (1, 300, 300)), (12, (4, 90, 7))]
)
def test_noise_that_nothing_can_compress_comes_back_too(codec, bits, shape):
    noise = np.random.default_rng(0).integers(0, 1 << bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(expand(compress(noise, codec, bits=bits)), noise)


def test_near_lossless_sends_no_differences_that_could_wrap():
    pixels = smooth()
    pixels[2] = pixels[0] = pixels[1]  # a lossless codec takes the green from both
    assert compress(pixels, JpegLs())[8] == 0b101
    assert compress(pixels, JpegLs(near=2))[8] == 0
    assert compress(pixels, Jpeg2000(psnr_db=40.0))[8] == 0


@pytest.mark.parametrize("psnr_db", [35.0, 40.0, 50.0])
@pytest.mark.parametrize(("bands", "bits"), [(1, 8), (3, 8), (4, 12), (3, 16)])
def test_lossy_jpeg_2000_reaches_the_quality_that_it_states(psnr_db, bands, bits):
    pixels = smooth(bands, 120, 130, bits)
    expanded = expand(compress(pixels, Jpeg2000(psnr_db=psnr_db), bits=bits))
    assert expanded.dtype == pixels.dtype
    error = (expanded.astype(float) - pixels) / (2**bits - 1)
    assert -10 * np.log10(np.square(error).mean()) > psnr_db - 3.5


@pytest.mark.parametrize("codec", IMAGE_CODECS, **named)
def test_the_same_image_gives_the_same_bytes(codec):
    assert compress(smooth(bits=12), codec) == compress(smooth(bits=12), codec)


@pytest.mark.parametrize("codec", IMAGE_CODECS, **named)
def test_a_chip_has_a_small_envelope(codec):
    data = compress(smooth(), codec)
    assert len(data) - len(body_of(data)) == 13


def test_green_helps_bands_that_are_alike():
    pixels = smooth(1, 64, 64).repeat(3, axis=0)
    assert len(compress(pixels, JpegLs())) < 0.5 * len(compress(pixels, JpegLs(), green=False))


# Twins: decoders of other hands


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("codec", "bits"), [(Jpeg2000(), 8), (Jpeg2000(), 12), (Jpeg2000(psnr_db=45.0), 8)])
def test_gdal_reads_our_jpeg_2000(codec, bits):
    pixels = smooth(3, 50, 41, bits)
    data = compress(pixels, codec, bits=bits, green=False)
    with MemoryFile(body_of(data), ext=".j2k") as file, file.open(driver="JP2OpenJPEG") as dataset:
        theirs = dataset.read()
    np.testing.assert_array_equal(theirs.reshape(-1), expand(data).reshape(-1))


@pytest.mark.parametrize("codec", [Jpeg2000(), codec_named("htj2k")], **named)
def test_pillow_reads_our_jpeg_2000(codec):
    image = pytest.importorskip("PIL.Image")
    pixels = smooth(2, 33, 29)
    data = compress(pixels, codec, green=False)
    with image.open(io.BytesIO(body_of(data))) as opened:
        np.testing.assert_array_equal(np.asarray(opened).reshape(pixels.shape), pixels)


def test_ccsds_121_of_constant_samples_is_the_published_zero_block():
    """CCSDS 121.0-B-3, zero-block option: a reference sample, then one code for all blocks to the segment's end."""
    data = body_of(compress(np.full((1, 8, 64), 170, np.uint8), codec_named("ccsds-121"), bits=8))
    # The identifier of low entropy for 8 bits, 000, and 0 for zero blocks; the reference 170; "remainder of segment".
    assert "".join(f"{byte:08b}" for byte in data).startswith("0000" + "10101010" + "00001")


# Refusals


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [
        (np.zeros((4, 4), np.uint8), None),
        (np.zeros((1, 0, 4), np.uint8), None),
        (np.zeros((17, 4, 4), np.uint8), None),
        (np.zeros((1, 4, 4), np.int16), None),
        (np.zeros((1, 4, 4), np.uint8), 9),
        (np.zeros((1, 4, 4), np.uint16), 8),
        (np.zeros((1, 4, 4), np.uint16), 17),
        (np.full((1, 4, 4), 4096, np.uint16), 12),
    ],
)
def test_what_is_no_image_is_not_compressed(pixels, bits):
    with pytest.raises(FormatError):
        compress(pixels, JpegLs(), bits=bits)


def test_what_a_standard_cannot_hold_is_refused_by_its_name():
    with pytest.raises(FormatError, match="65535 of JPEG-LS"):
        compress(np.zeros((2, 40_000, 1), np.uint8), JpegLs())


def test_a_codec_is_found_by_its_name():
    assert [codec_named(codec.name) for codec in IMAGE_CODECS] == list(IMAGE_CODECS)
    with pytest.raises(ConfigError, match="Did you mean jpeg-ls"):
        codec_named("jpegls")


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(FormatError, match="127 of 8 bits"):
        compress(np.zeros((1, 4, 4), np.uint8), JpegLs(near=128))
    for near in (-1, 256):
        with pytest.raises(ConfigError, match=str(near)):
            JpegLs(near=near)
    with pytest.raises(ConfigError, match="400"):
        Jpeg2000(psnr_db=400.0)


@pytest.mark.parametrize("codec", [codec for codec in ONE_EACH if codec.name != "zstd"], **named)
def test_a_missing_extra_is_named(codec, monkeypatch):
    data = compress(smooth(), codec)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for attempt in (lambda: compress(smooth(), codec), lambda: expand(data)):
        with pytest.raises(MissingExtraError, match=r"taran-eo\[codecs\]"):
            attempt()


# Malformed bytes


@pytest.mark.parametrize("codec", ONE_EACH, **named)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_and_a_cut_are_found(codec, place, bit):
    data = bytearray(compress(smooth(1, 9, 9), codec))
    place %= len(data)
    cut = bytes(data[:place])
    data[place] ^= 1 << bit
    for bad in (bytes(data), cut):
        with pytest.raises(CorruptDataError):
            expand(bad)


@given(body=st.binary(max_size=80), codec=st.integers(0, 8), bits=st.integers(7, 17))
def test_any_bytes_expand_or_are_refused(body, codec, bits):
    """With a right checksum too, as an adversary would send them."""
    head = b"IM\x01" + bytes([codec, bits])
    for data in (body, sealed(b"IM\x01" + body), sealed(head + body), sealed(head + b"\x01\x08\x08\x00" + body)):
        try:
            pixels = expand(data, max_samples=4096)
        except CorruptDataError:
            continue
        assert pixels.size <= 4096
        assert pixels.max() < 2**bits


CODESTREAMS = {
    (codec.name, bits): compress(smooth(2, 17, 23, bits), codec, bits=bits)[:-4]
    for codec in IMAGE_CODECS
    for bits in (8, 12)
}


@pytest.mark.parametrize("key", CODESTREAMS, ids=str)
@settings(max_examples=50)
@given(
    changes=st.lists(st.tuples(st.integers(5, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.none() | st.integers(5, 10**6),
)
@pytest.mark.usefixtures("impatient")
def test_a_codestream_that_was_changed_by_someone_who_mends_the_checksum(key, changes, cut):
    data = bytearray(CODESTREAMS[key])
    for place, value in changes:
        data[5 + place % (len(data) - 5)] = value
    try:
        pixels = expand(sealed(bytes(data[: None if cut is None else cut % len(data)])), max_samples=1 << 16)
    except CorruptDataError:
        return
    assert pixels.size <= 1 << 16


@pytest.fixture
def impatient():
    """Whoever waits for a decoder that hangs waits for little here; Hypothesis finds many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confined, "_TIME_S", 0.1)
        yield


@pytest.mark.parametrize("codec", ONE_EACH, **named)
def test_a_claim_of_too_many_samples_is_refused_before_memory_is_taken(codec):
    claim = ImageShape(3, 60_000, 60_000, 8)
    with pytest.raises(CorruptDataError, match="3 x 60000 x 60000"):
        expand(envelope(codec, claim, b""))
    data = compress(smooth(), codec)
    with pytest.raises(CorruptDataError, match="1 to 4799"):
        expand(data, max_samples=4799)
    assert expand(data, max_samples=4800).size == 4800


@pytest.mark.parametrize("codec", [codec for codec in ONE_EACH if codec.name not in ("zstd", "ccsds-121")], **named)
@pytest.mark.parametrize("large", [(1, 3000, 3000, 8), (1, 40, 41, 8), (3, 40, 40, 8), (1, 40, 40, 12)])
def test_a_codestream_of_another_size_than_its_envelope_never_reaches_a_decoder(codec, large, monkeypatch):
    """A bomb: the envelope says 40 x 40, the codestream something else."""
    shape = ImageShape(*large)
    body = body_of(compress(np.zeros((shape.bands, shape.rows, shape.cols), shape.dtype), codec, bits=shape.bits))
    monkeypatch.setattr(confined, "decode", lambda *_, **__: pytest.fail("it reached the decoder"))
    with pytest.raises(CorruptDataError, match="not one of"):
        expand(envelope(codec, ImageShape(1, 40, 40, 8), body))


def test_a_zstd_frame_that_grows_is_cut_off():
    zstd = codec_named("zstd")
    body = body_of(compress(np.zeros((1, 4000, 4000), np.uint8), zstd))
    assert len(body) < 4000
    with pytest.raises(CorruptDataError, match="more"):
        expand(envelope(zstd, ImageShape(1, 40, 40, 8), body))


def test_headers_that_ask_a_decoder_for_more_are_refused():
    """Layers, levels, precincts, overrides in the tile, a second part: none of them is ours."""
    codec, shape = Jpeg2000(), ImageShape(1, 40, 40, 8)
    good = body_of(compress(smooth(1), codec))
    tile = good.index(b"\xff\x90")
    coding = good.index(b"\xff\x52")
    override = b"\xff\x53\x00\x09\x00\x01\x20\x00\x00\x00\x00"
    bad = {
        "layers": good[: coding + 6] + b"\xff\xff" + good[coding + 8 :],
        "levels": good[: coding + 9] + b"\x20" + good[coding + 10 :],
        "precincts": good[: coding + 4] + b"\x01" + good[coding + 5 :],
        "twice": good[:tile] + good[coding : coding + 14] + good[tile:],
        "unknown": good[:tile] + b"\xff\x5e\x00\x04\x00\x00" + good[tile:],
        "override": good[: tile + 12] + override + good[tile + 12 :],
        "parts": good[: tile + 11] + b"\x02" + good[tile + 12 :],
        "length": good[: tile + 6] + b"\x00\x00\x00\x00" + good[tile + 10 :],
        "endless": good[:-2],
    }
    expand(envelope(codec, shape, good))
    for name, body in bad.items():
        with pytest.raises(CorruptDataError, match="JPEG 2000"):
            j2k_markers.check(body, (40, 40), 1, 8, high_throughput=False)
            pytest.fail(name)


def test_a_jpeg_xl_header_is_followed_bit_by_bit():
    """Every bit before the first sample counts, apart from those that choose the size of groups."""
    shape = ImageShape(2, 37, 61, 12)
    body = body_of(compress(smooth(2, 37, 61, 12), codec_named("jpeg-xl"), bits=12))
    jpeg_xl._check(body, shape)
    refused = 0
    for place in range(8 * 14):
        changed = bytearray(body)
        changed[place // 8] ^= 1 << place % 8
        try:
            jpeg_xl._check(bytes(changed), shape)
        except CorruptDataError:
            refused += 1
    assert refused >= 80


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (16, 24), (40, 30), (300, 200), (256, 256), (1, 700), (640, 400)])
def test_every_jpeg_xl_header_of_ours_is_known(bits, shape):
    pixels = smooth(1, *shape, bits)
    np.testing.assert_array_equal(expand(compress(pixels, codec_named("jpeg-xl"), bits=bits)), pixels)


@given(image=images(), green=st.integers(0, 2**16 - 1))
def test_a_green_that_cannot_be_is_refused(image, green):
    pixels, bits = image
    assume(green >> len(pixels) or green & 0b10)
    shape = ImageShape(*pixels.shape, bits)
    with pytest.raises(CorruptDataError, match="makes no sense"):
        expand(envelope(codec_named("zstd"), shape, b"", green))


# The process around the decoders


@pytest.mark.usefixtures("impatient")
def test_a_decoder_that_hangs_is_ended_and_the_next_image_is_read():
    """CharLS 2.4.3 does not return from this scan."""
    pixels = smooth(1, 17, 90, 16)
    with pytest.raises(CorruptDataError, match="crashed or hung"):
        expand((FIXTURES / "image_hangs_charls.bin").read_bytes())
    np.testing.assert_array_equal(expand(compress(pixels, JpegLs())), pixels)


def test_a_decoder_may_neither_say_too_much_nor_take_all_memory():
    shape = ImageShape(1, 8, 8, 8)
    large = body_of(compress(np.zeros((1, 900, 900), np.uint8), JpegLs()))
    with pytest.raises(CorruptDataError, match="810000 bytes"):
        confined.decode("jpegls_decode", large, shape)
    with pytest.raises(CorruptDataError, match="instead of 64"):
        confined.decode("jpegls_decode", body_of(compress(np.zeros((1, 2, 2), np.uint8), JpegLs())), shape)
    with pytest.raises(CorruptDataError, match="cannot be expanded"):
        confined.decode("zlib_decode", b"", shape, out=1 << 34)
    np.testing.assert_array_equal(expand(compress(smooth(), JpegLs())), smooth())


def test_a_process_that_died_is_started_again():
    data = compress(smooth(), JpegLs())
    expand(data)
    confined._CELL._process.kill()
    confined._CELL._process.wait()
    np.testing.assert_array_equal(expand(data), smooth())


@pytest.mark.skipif(sys.platform == "win32", reason="no forks there")
def test_a_fork_has_a_process_of_its_own():
    expand(compress(smooth(), JpegLs()))
    mine = confined._CELL._process.pid
    child = os.fork()
    if child == 0:
        same = (expand(compress(smooth(), JpegLs())) == smooth()).all() and confined._CELL._process.pid != mine
        confined._CELL.close()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert confined._CELL._process.poll() is None
    np.testing.assert_array_equal(expand(compress(smooth(), JpegLs())), smooth())


def test_the_process_ends_with_its_owner():
    code = (
        "import numpy as np\n"
        "from taran_eo.codec import confined\n"
        "from taran_eo.codec.image import *\n"
        "expand(compress(np.zeros((1, 4, 4), np.uint8), codec_named('jpeg-ls')))\n"
        "print(confined._CELL._process.pid)\n"
    )
    said = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert not said.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.stdout), 0)


# Frozen files


def pattern(bits):
    """Whole numbers only, so that it is the same on every machine."""
    band, down, right = np.mgrid[:3, :12, :14]
    return ((down * down + 3 * right + 5 * band + (down * 7 + right * 5) % 4) << (bits - 8)).astype(
        f"u{1 + (bits > 8)}"
    )


@pytest.mark.parametrize("codec", IMAGE_CODECS, **named)
def test_the_frozen_image_still_expands(codec):
    """Written by version 1; whatever becomes of this package and its libraries, old downlinks stay readable."""
    bits = 8 if codec.name.startswith("jpeg-2000") else 12
    pixels = pattern(bits)
    expanded = expand((FIXTURES / f"image_v1.{codec.name}").read_bytes())
    assert expanded.dtype == pixels.dtype
    error = np.abs(expanded.astype(int) - pixels)
    if codec.lossless:
        assert error.max() == 0
    elif isinstance(codec, JpegLs):
        assert error.max() == codec.near
    else:
        assert 0 < error.max() < 12


def test_numbers_of_codecs_never_change():
    numbers = {codec.name: codec.number for codec in LOSSLESS}
    assert numbers == {"ccsds-121": 1, "jpeg-ls": 2, "jpeg-2000": 3, "htj2k": 4, "jpeg-xl": 5, "zstd": 6}
    assert all(dataclasses.is_dataclass(codec) for codec in IMAGE_CODECS)
