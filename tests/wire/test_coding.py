"""Channel coding: frames into a stream and out of it again, whatever happened to the stream between."""

import tracemalloc

import numpy as np
import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo.errors import FormatError
from taran_eo.wire import Channel, Decoded, Demultiplexer, Finding, Framing, decode, encode, frames, packet, transmit
from taran_eo.wire.coding import MARKER_TOLERANCE, RANDOM
from taran_eo.wire.reed_solomon import FROM_DUAL, TO_DUAL

FRAMINGS = (
    Framing(spacecraft=9),
    Framing(spacecraft=9, kind="aos", interleaving=8),
    Framing(spacecraft=9, interleaving=1, frame_bytes=40),
    Framing(spacecraft=9, interleaving=4, frame_bytes=80, fecf=False),
    Framing(spacecraft=9, interleaving=2, frame_bytes=60, randomize=False),
    Framing(spacecraft=9, interleaving=0, frame_bytes=50),
    Framing(spacecraft=9, interleaving=0, frame_bytes=60, randomize=False),
)
ALL = pytest.mark.parametrize(
    "framing",
    FRAMINGS,
    ids=lambda f: f"{f.kind}-{f.interleaving}x{f.frame_bytes}-{'noise' if f.randomize else 'plain'}",
)


def made(framing, count, seed=0):
    """So many frames of random packets."""
    rng = np.random.default_rng(seed)
    sent = [packet(1, n, rng.bytes(framing.data_bytes - 6)) for n in range(count)]
    return list(frames(sent, framing))


def units_of(framing, sent):
    stream = encode(sent, framing)
    return [stream[i : i + framing.cadu_bytes] for i in range(0, len(stream), framing.cadu_bytes)]


def decoded(stream, framing):
    items = list(decode(stream, framing))
    return [i for i in items if isinstance(i, Decoded)], [i for i in items if isinstance(i, Finding)]


def assert_all_is_accounted_for(stream, framing):
    """Each byte once, in order; but where bytes are missing, a frame may be had that overlaps with the next one."""
    at = 0
    for item in decode(stream, framing):
        assert at - 16 * framing.interleaving <= item.where <= at
        is_garbage = isinstance(item, Finding) and item.kind == "garbage"
        assert item.where == at or not is_garbage
        at = item.where + (item.amount if is_garbage else framing.cadu_bytes)
    assert at == len(stream)


def test_the_random_sequence_is_the_published_one():
    # CCSDS 131.0-B prints the first 40 bits; the rest as it is in the sources of gr-satellites and SatDump.
    assert RANDOM[:32].tobytes().hex() == "ff480ec09a0d70bc8e2c93ada7b746ce5a977dcc32a2bf3e0a10f18894cdeab1"
    bits = np.unpackbits(RANDOM)
    np.testing.assert_array_equal(bits[:-255], bits[255:])
    assert bits[:255].sum() == 128  # as in any sequence of maximal length


def test_a_unit_is_marker_frame_and_check_symbols():
    """Without randomizer, against another library: the codewords take turns, symbol by symbol."""
    framing = Framing(spacecraft=9, randomize=False)
    (frame,) = made(framing, 1)
    unit = encode([frame], framing)
    assert unit[:4] == bytes.fromhex("1acffc1d")
    assert unit[4:1119] == frame
    checks = np.frombuffer(unit[1119:], dtype=np.uint8)
    peer = reedsolo.RSCodec(32, fcr=112, prim=0x187, generator=0xAD)
    symbols = np.frombuffer(frame, dtype=np.uint8)
    for turn in range(5):
        theirs = np.frombuffer(bytes(peer.encode(FROM_DUAL[symbols[turn::5]].tobytes())), dtype=np.uint8)
        np.testing.assert_array_equal(checks[turn::5], TO_DUAL[theirs[-32:]])


@ALL
def test_the_randomizer_begins_again_behind_each_marker(framing):
    plain = Framing(**{**framing.model_dump(), "randomize": False, "fecf": True})
    noisy = Framing(**{**plain.model_dump(), "randomize": True})
    sent = made(plain, 3)
    for a, b in zip(units_of(plain, sent), units_of(noisy, sent), strict=True):
        added = np.frombuffer(a, dtype=np.uint8) ^ np.frombuffer(b, dtype=np.uint8)
        assert not added[:4].any()
        np.testing.assert_array_equal(added[4:], np.resize(RANDOM, added.size - 4))


@ALL
def test_decode_undoes_encode(framing):
    sent = made(framing, 600)  # more than are coded together
    found, findings = decoded(encode(sent, framing), framing)
    assert findings == []
    assert [d.frame for d in found] == sent
    assert [d.where for d in found] == [n * framing.cadu_bytes for n in range(len(sent))]
    assert {(d.corrected, d.marker_errors) for d in found} == {(0, 0)}
    assert list(decode(b"", framing)) == []
    assert encode([], framing) == b""


INJURIES = st.sampled_from(
    ["none", "none", "none", "insert", "cut", "drop", "marker", "half marker", "few", "many", "all", "short"]
)


@ALL
@given(injuries=st.lists(INJURIES, min_size=1, max_size=12), seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_injury_costs_a_valid_frame(framing, injuries, seed):
    rng = np.random.default_rng(seed)
    sent = made(framing, len(injuries), seed=1)
    depth, cadu_bytes = framing.interleaving, framing.cadu_bytes
    stream, due, corrected = b"", [], []
    for number, (unit, injury) in enumerate(zip(units_of(framing, sent), injuries, strict=False)):
        hurt = np.frombuffer(unit, dtype=np.uint8).copy()
        if injury == "insert":
            stream += rng.bytes(rng.integers(1, 2 * cadu_bytes))
        elif injury == "half marker":
            hurt[:4] ^= np.array([0x01, 0x80, 0x10, 0], dtype=np.uint8)
        elif injury == "few":
            # 16 in each codeword are as many as can be mended.
            for turn in range(depth):
                places = 4 + turn + depth * rng.choice((cadu_bytes - 4) // depth, 16, replace=False)
                hurt[places] ^= rng.integers(1, 256, 16, dtype=np.uint8)
        elif injury == "marker":
            hurt[:4] ^= 0xFF
        elif injury == "many":
            hurt[4:] ^= rng.integers(1, 256, cadu_bytes - 4, dtype=np.uint8)
        elif injury == "all":
            hurt = rng.integers(0, 256, cadu_bytes, dtype=np.uint8)
        elif injury in {"cut", "short"}:
            place = int(rng.integers(4, cadu_bytes)) if injury == "cut" else 0
            hurt = np.delete(hurt, slice(place, place + int(rng.integers(1, 9))))
        elif injury == "drop":
            continue
        stream += hurt.tobytes()
        if injury in {"none", "insert", "half marker", "few"}:
            due.append(sent[number])
            corrected.append(16 * depth if injury == "few" else 0)
    found, findings = decoded(stream, framing)
    good = [d for d in found if d.frame in due]
    assert [d.frame for d in good] == due
    assert [d.corrected for d in good] == corrected
    # What comes out beyond that lost its marker only, or, without Reed-Solomon, is left to the demultiplexer.
    if depth:
        assert all(d.frame in sent for d in found)
    assert_all_is_accounted_for(stream, framing)
    assert {f.kind for f in findings} <= {"garbage", "uncorrectable"}


@ALL
def test_a_frame_in_step_is_found_without_its_marker(framing):
    units = units_of(framing, sent := made(framing, 9))
    for broken in (0, 3, 4, 8):
        units[broken] = bytes(4) + units[broken][4:]
    found, findings = decoded(b"".join(units), framing)
    assert findings == []
    assert [d.frame for d in found] == sent[: len(units)]
    assert [d.marker_errors for d in found][3] == 0x1ACFFC1D.bit_count()


@ALL
def test_a_stream_may_begin_and_end_anywhere(framing):
    stream = encode(sent := made(framing, 4), framing)
    for cut in (1, 3, 4, 5, framing.cadu_bytes - 1):
        found, (before,) = decoded(stream[cut:], framing)
        assert [d.frame for d in found] == sent[1:]
        assert (before.kind, before.where, before.amount) == ("garbage", 0, framing.cadu_bytes - cut)
        found, (after,) = decoded(stream[:-cut], framing)
        assert [d.frame for d in found] == sent[:-1]
        assert after.amount == framing.cadu_bytes - cut
        assert "belong to no whole frame" in after.what


def test_markers_in_the_data_do_no_harm():
    framing = Framing(spacecraft=9, randomize=False)
    sent = list(frames([packet(1, n, bytes.fromhex("1acffc1d") * 900) for n in range(4)], framing))
    units = units_of(framing, sent)
    assert b"".join(units).count(bytes.fromhex("1acffc1d")) > 3000
    units[5] = units[5][:700]
    units[9] = units[9][:300] + bytes(600) + units[9][900:]
    found, findings = decoded(b"".join(units), framing)
    assert [d.frame for d in found] == [f for n, f in enumerate(sent) if n not in {5, 9}]
    assert sum(f.amount for f in findings if f.kind == "garbage") >= 700


def test_a_stream_of_markers_alone_takes_little_memory():
    """Behind each of them a frame may be, and what is there is not kept."""
    framing = Framing(spacecraft=9, interleaving=0, frame_bytes=2048)
    stream = bytes.fromhex("1acffc1d") * 10_000
    tracemalloc.start()
    assert sum(isinstance(item, Decoded) for item in decode(stream, framing)) <= len(stream) / framing.cadu_bytes
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 8e6


def test_a_frame_that_is_beyond_repair_is_told_with_its_place():
    framing = FRAMINGS[0]
    units = units_of(framing, sent := made(framing, 5))
    units[2] = units[2][:100] + bytes(700) + units[2][800:]
    found, (finding,) = decoded(b"".join(units), framing)
    assert [d.frame for d in found] == sent[:2] + sent[3:]
    assert (finding.kind, finding.where) == ("uncorrectable", 2 * 1279)
    assert "more errors than can be corrected" in finding.what


def test_without_reed_solomon_the_demultiplexer_names_what_is_damaged():
    framing = FRAMINGS[5]
    units = units_of(framing, sent := made(framing, 5))
    units[2] = units[2][:20] + b"\0\0\0" + units[2][23:]
    found, findings = decoded(b"".join(units), framing)
    assert len(found) == len(sent)
    assert findings == []
    demultiplexer = Demultiplexer(framing)
    told = [i for d in found for i in demultiplexer.feed(d.frame) if isinstance(i, Finding)]
    assert [f.kind for f in told] == ["damaged", "gap"]


@ALL
@given(pieces=st.lists(st.binary(max_size=30) | st.sampled_from([b"\x1a\xcf\xfc\x1d", bytes(90), b"\xff" * 70])))
@settings(max_examples=30)
def test_any_bytes_are_accounted_for(framing, pieces):
    stream = b"".join(pieces) * 5
    assert_all_is_accounted_for(stream, framing)


def test_noise_is_garbage():
    (finding,) = decode(np.random.default_rng(8).bytes(200_000), FRAMINGS[0])
    assert (finding.kind, finding.amount) == ("garbage", 200_000)


def test_a_marker_beyond_tolerance_is_not_looked_behind():
    """Which is no loss in step, but keeps the search among random bytes short."""
    framing = FRAMINGS[0]
    (unit,) = units_of(framing, made(framing, 1))
    for wrong in range(MARKER_TOLERANCE + 2):
        marker = (0x1ACFFC1D ^ (1 << wrong) - 1).to_bytes(4, "big")
        found, _ = decoded(b"ab" + marker + unit[4:] + b"c", framing)
        assert len(found) == (wrong <= MARKER_TOLERANCE)


@pytest.mark.parametrize("framing", FRAMINGS[:2], ids=["tm", "aos"])
def test_all_the_way_down_through_a_bad_channel(framing):
    rng = np.random.default_rng(5)
    sent = [packet(1, n, rng.bytes(int(rng.integers(1, 4000)))) for n in range(120)]
    stream = encode(list(frames(sent, framing)), framing)
    channel = Channel(frame_loss=0.02, bit_error_rate=0.002)
    arrived = transmit(stream, framing.cadu_bytes, channel, np.random.default_rng(6))
    demultiplexer = Demultiplexer(framing)
    got, told, corrected = [], [], 0
    for item in decode(arrived, framing):
        told += [item] if isinstance(item, Finding) else []
        if isinstance(item, Decoded):
            corrected += item.corrected
            for inner in demultiplexer.feed(item.frame):
                (got if isinstance(inner, bytes) else told).append(inner)
    lost = (len(stream) - len(arrived)) // framing.cadu_bytes
    assert corrected > 500
    assert lost > 0
    assert [f.kind for f in told] == ["gap"] * len(told)
    assert sum(f.amount for f in told) == lost
    assert len(got) > 90
    assert set(got) <= set(sent)


def test_a_frame_of_another_length_is_refused():
    with pytest.raises(FormatError, match="10 bytes, and frames of 1115 are sent"):
        encode([bytes(1115), bytes(10)], FRAMINGS[0])
