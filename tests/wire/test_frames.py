"""Transfer frames: packets in, packets out, whatever is lost between; and each fault by its name."""

import binascii

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.ccsds.tm_frame import TmTransferFrame

from taran_eo.config import parse as parse_settings
from taran_eo.errors import ConfigError, CorruptDataError
from taran_eo.wire import Demultiplexer, Finding, Framing, frames, idle_frame, packet
from taran_eo.wire.multiplexing import frame_is_sound
from taran_eo.wire.packets import idle_packet

SMALL = Framing(spacecraft=77, virtual_channel=3, interleaving=0, frame_bytes=40)
SMALL_AOS = Framing(spacecraft=77, virtual_channel=3, interleaving=0, frame_bytes=42, kind="aos")
BOTH = pytest.mark.parametrize("framing", [SMALL, SMALL_AOS], ids=["tm", "aos"])

SIZES = st.lists(st.integers(1, 120), max_size=40)


def packets_of(sizes):
    """Packets that differ: each byte of data tells the packet and the place."""
    return [packet(5, n, bytes((n * 31 + i) & 0xFF for i in range(size))) for n, size in enumerate(sizes)]


def received(framing, arriving):
    """Packets and findings from frames."""
    demultiplexer = Demultiplexer(framing)
    items = [item for frame in arriving for item in demultiplexer.feed(frame)]
    items += demultiplexer.end()
    return [i for i in items if isinstance(i, bytes)], [i for i in items if isinstance(i, Finding)]


def sealed(frame):
    """A frame with its last two bytes made right."""
    return frame[:-2] + binascii.crc_hqx(frame[:-2], 0xFFFF).to_bytes(2, "big")


def spans(packets, zone):
    """The first and the last frame of each packet: the slow twin of the multiplexer."""
    ends = np.cumsum([len(p) for p in packets])
    return [(int(end - len(p)) // zone, int(end - 1) // zone) for p, end in zip(packets, ends, strict=True)]


@given(
    sizes=SIZES,
    kind=st.sampled_from(["tm", "aos"]),
    frame_bytes=st.integers(17, 90),
    reed_solomon=st.booleans(),
    first_count=st.integers(0, 1 << 25),
)
def test_packets_go_there_and_back(sizes, kind, frame_bytes, reed_solomon, first_count):
    framing = Framing(
        spacecraft=200,
        kind=kind,
        virtual_channel=7,
        frame_bytes=frame_bytes,
        interleaving=1 if reed_solomon else 0,
        fecf=not reed_solomon,
    )
    sent = packets_of(sizes)
    made = list(frames(iter(sent), framing, first_count=first_count))
    assert all(len(frame) == frame_bytes for frame in made)
    # One frame more than the packets fill at most, where the fill did not fit into the last.
    bytes_sent = sum(map(len, sent))
    assert -(-bytes_sent // framing.data_bytes) <= len(made) <= -(-bytes_sent // framing.data_bytes) + 1
    assert received(framing, made) == (sent, [])


def test_the_largest_packets_go_there_and_back():
    sent = [packet(1, n, bytes([n]) * 65536) for n in range(3)]
    assert received(Framing(spacecraft=1), frames(sent, Framing(spacecraft=1))) == (sent, [])


@given(sizes=SIZES.filter(bool))
def test_another_library_reads_our_telemetry_frames(sizes):
    sent = packets_of(sizes)
    starts = np.cumsum([0] + [len(p) for p in sent]).tolist()  # of the packets and of the fill
    made = list(frames(sent, SMALL, first_count=250))
    for number, raw in enumerate(made):
        theirs = TmTransferFrame.unpack(raw, 40, True)
        header = theirs.primary_header
        assert header.master_channel_id.transfer_frame_version == 0
        assert header.master_channel_id.spacecraft_id == 77
        assert header.vc_id == 3
        assert header.ocf_flag is False
        assert header.master_ch_frame_count == header.vc_frame_count == (250 + number) % 256
        status = header.frame_datafield_status
        assert (status.secondary_header_flag, status.sync_flag, status.packet_order_flag) == (False, False, False)
        assert status.segment_len_id == 0b11
        here = [start - 32 * number for start in starts if 32 * number <= start < 32 * (number + 1)]
        assert status.first_header_pointer == (here[0] if here else 0x7FF)
    stream = b"".join(TmTransferFrame.unpack(raw, 40, True).data_field for raw in made)
    assert stream.startswith(b"".join(sent))


def test_an_aos_frame_is_that_of_the_standard():
    """CCSDS 732.0-B: version 01, spacecraft, channel; count of 24 bits; signalling; then the pointer of the M_PDU."""
    frame, _ = frames([packet(1, 0, bytes(20))], SMALL_AOS, first_count=0x123456)
    address = "01" + f"{77:08b}" + f"{3:06b}"
    assert frame[:8] == int(address, 2).to_bytes(2, "big") + bytes.fromhex("123456 00 0000")
    assert frame[8:34] == packet(1, 0, bytes(20))
    assert frame[34:40] == bytes.fromhex("07ffc000001f")  # fill of 38 bytes, which ends with the second frame


def test_the_error_control_is_the_published_one():
    # The catalogued check value of CRC-16 with this polynomial and preset, over these nine characters.
    assert binascii.crc_hqx(b"123456789", 0xFFFF) == 0x29B1
    assert frame_is_sound(b"123456789\x29\xb1")
    assert not frame_is_sound(b"123456789\x29\xb0")
    (frame,) = frames([packet(1, 0, bytes(26))], SMALL)
    assert frame_is_sound(frame)


@BOTH
@given(sizes=SIZES, kept=st.lists(st.booleans(), min_size=200, max_size=200), first_count=st.integers(0, 300))
def test_whatever_is_lost_whole_packets_in_what_is_left_come_out(framing, sizes, kept, first_count):
    sent = packets_of(sizes)
    made = list(frames(sent, framing, first_count=first_count))
    left = [frame for frame, keep in zip(made, kept, strict=False) if keep]
    got, findings = received(framing, left)
    due = [p for p, (a, b) in zip(sent, spans(sent, framing.data_bytes), strict=True) if all(kept[a : b + 1])]
    # A packet of which every frame is left comes out, another never does.
    assert got == due
    keeping = np.flatnonzero(kept[: len(made)])
    missing = np.diff(keeping) - 1
    assert [f.amount for f in findings if f.kind == "gap"] == missing[missing > 0].tolist()
    assert {f.kind for f in findings} <= {"gap", "packet"}


FAULTS = st.sampled_from(["none", "none", "lose", "repeat", "damage", "cut", "foreign", "noise", "layout"])


@BOTH
@given(sizes=SIZES, faults=st.lists(FAULTS, min_size=200, max_size=200), seed=st.integers(0, 1000))
def test_each_fault_is_named_and_takes_nothing_valid_with_it(framing, sizes, faults, seed):
    rng = np.random.default_rng(seed)
    sent = packets_of(sizes)
    made = list(frames(sent, framing))
    other = Framing(**{**framing.model_dump(), "spacecraft": 78})
    arriving, expected = [], []
    for number, (frame, fault) in enumerate(zip(made, faults, strict=False)):
        if fault == "damage":
            bit = int(rng.integers(8 * len(frame)))
            broken = int.from_bytes(frame, "big") ^ 1 << bit
            arriving.append(broken.to_bytes(len(frame), "big"))
            expected.append("damaged")
        elif fault == "cut":
            arriving.append(frame[: rng.integers(len(frame))])
            expected.append("truncated")
        elif fault == "layout":
            # A secondary header in TM; in AOS a bit that is spare.
            marked = bytearray(frame)
            marked[4 if framing.kind == "tm" else 6] |= 0x80
            arriving.append(sealed(bytes(marked)))
            expected.append("layout")
        elif fault != "lose":
            arriving.append(frame)
        if fault == "repeat":
            arriving.append(frame)
            expected.append("duplicate")
        if fault == "foreign":
            arriving.append(idle_frame(other, number))
            expected.append("foreign")
        if fault == "noise":
            arriving.append(rng.bytes(framing.frame_bytes - 1))
            expected.append("truncated")
    got, findings = received(framing, arriving)
    intact = [fault not in {"lose", "damage", "cut", "layout"} for fault in faults]
    assert got == [p for p, (a, b) in zip(sent, spans(sent, framing.data_bytes), strict=True) if all(intact[a : b + 1])]
    assert [f.kind for f in findings if f.kind not in {"gap", "packet"}] == expected
    assert all(0 <= f.where < max(len(arriving), 1) for f in findings)


@BOTH
def test_frames_of_another_channel_or_version_are_foreign(framing):
    (frame,) = frames([packet(1, 0, bytes(26))], framing)
    for byte, bits in ((0, 0x80), (0, 0x40), (0, 0x01), (1, 0x02)):
        other = bytearray(frame)
        other[byte] ^= bits
        _, (finding,) = received(framing, [sealed(bytes(other))])
        assert finding.kind == "foreign"
        assert "spacecraft" in finding.what


@pytest.mark.parametrize(("bits", "kinds"), [(0x80, ["layout"]), (0x20, ["layout"]), (0x10, ["layout"]), (0x47, [])])
def test_an_aos_frame_that_is_a_replay_is_told_and_one_with_a_cycle_read(bits, kinds):
    """CCSDS 732.0-B, signalling field: replay, use of the cycle, two spare bits, the cycle of the count."""
    (frame,) = frames([packet(1, 0, bytes(26))], SMALL_AOS)
    got, findings = received(SMALL_AOS, [sealed(frame[:5] + bytes([bits]) + frame[6:])])
    assert [finding.kind for finding in findings] == kinds
    assert len(got) == (not kinds)


def test_a_frame_that_comes_late_is_named_and_used():
    sent = packets_of([20] * 8)
    aligned = Framing(spacecraft=1, interleaving=0, frame_bytes=26 + 8)  # a packet a frame
    made = list(frames(sent, aligned))
    made[3], made[4] = made[4], made[3]
    got, findings = received(aligned, made)
    assert sorted(got) == sorted(sent)
    assert [f.kind for f in findings] == ["gap", "late", "gap"]


@pytest.mark.parametrize("lost", [1, 100, 127, 128, 200, 239, 240, 254, 255, 256, 257, 512])
def test_a_long_outage_costs_only_what_was_in_it(lost):
    """The counts of TM repeat after 256 frames, and nothing may be taken for what it is not."""
    sent = packets_of([50, 3, 77] * 300)
    made = list(frames(sent, SMALL))
    got, findings = received(SMALL, made[:100] + made[100 + lost :])
    due = [p for p, (a, b) in zip(sent, spans(sent, 32), strict=True) if b < 100 or a >= 100 + lost]
    assert got == due
    kinds = [f.kind for f in findings]
    assert kinds == (["packet"] if lost % 256 == 0 else ["late" if 240 <= lost < 256 else "gap"])


@BOTH
def test_idle_frames_go_between_without_a_trace(framing):
    sent = packets_of([90, 50, 20])
    made = list(frames(sent, framing, first_count=5))
    more = list(frames(sent, framing, first_count=6 + len(made)))
    assert received(framing, [*made, idle_frame(framing, 5 + len(made)), *more]) == (sent + sent, [])
    if framing.kind == "aos":
        nothing = Framing(**{**framing.model_dump(), "virtual_channel": 62}).model_copy(update={"virtual_channel": 63})
        assert received(framing, [*made, idle_frame(nothing, 900)]) == (sent, [])


def test_a_last_packet_that_is_cut_off_is_told():
    made = list(frames(packets_of([20, 200]), SMALL))
    got, (finding,) = received(SMALL, made[:3])
    assert got == packets_of([20])
    assert finding.kind == "packet"
    assert "cut off after 70 bytes" in finding.what


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda frame: frame[:4] + b"\x18\x20" + frame[6:], "damaged"),  # a packet begins behind the end
        (lambda frame: frame[:6] + b"\xff" + frame[7:], "packet"),  # a packet of version 7
        (lambda frame: frame[:4] + b"\x1f\xff" + frame[6:], "packet"),  # nothing begins, though the last one ended
        (lambda frame: frame[:4] + b"\x18\x01" + frame[6:], "packet"),  # it begins one byte late
    ],
)
def test_a_frame_that_contradicts_itself_is_told_and_the_next_one_used(change, kind):
    aligned = Framing(spacecraft=1, interleaving=0, frame_bytes=26 + 8)
    sent = packets_of([20] * 4)
    made = list(frames(sent, aligned))
    made[1] = sealed(change(made[1]))
    got, findings = received(aligned, made)
    assert [p for p in got if p in sent] == [sent[0], *sent[2:]]
    assert findings[0].kind == kind
    assert findings[0].where == 1


@BOTH
@given(
    contents=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0x7FE, 0x7FF, *range(40)]), st.binary(min_size=32, max_size=32)),
        max_size=20,
    )
)
def test_any_frames_with_a_right_checksum_give_packets_or_findings(framing, contents):
    demultiplexer = Demultiplexer(framing)
    count = 0
    for step, first, data in contents:
        frame = bytearray(idle_frame(framing, count := count + step))
        place = 4 if framing.kind == "tm" else 6
        frame[place : place + 2] = ((0x1800 if framing.kind == "tm" else 0) | first).to_bytes(2, "big")
        frame[-34:-2] = data
        for item in demultiplexer.feed(sealed(bytes(frame))):
            assert isinstance(item, Finding) or len(item) == 7 + int.from_bytes(item[4:6], "big")


@BOTH
@given(raw=st.binary(max_size=50))
def test_any_bytes_are_a_finding(framing, raw):
    (finding,) = Demultiplexer(framing).feed(raw)
    assert finding.kind in {"truncated", "damaged", "foreign"}


def test_packets_that_would_derail_others_are_refused():
    for bad, said in ((b"", "0 bytes claims no length"), (packet(1, 0, b"abc") + b"d", "10 bytes claims 9 ")):
        with pytest.raises(CorruptDataError, match=said):
            list(frames([bad], SMALL))


def test_fill_made_by_others_is_left_out():
    sent = packets_of([5, 6])
    assert received(SMALL, frames([sent[0], idle_packet(70), sent[1]], SMALL)) == (sent, [])


def test_sizes_follow_from_the_settings():
    usual = Framing(spacecraft=1)
    assert (usual.frame_bytes, usual.data_bytes, usual.check_bytes, usual.cadu_bytes) == (1115, 1107, 160, 1279)
    assert usual.overhead == pytest.approx(1279 / 1107 - 1)
    assert Framing(spacecraft=1, interleaving=8).frame_bytes == 1784
    assert Framing(spacecraft=1, interleaving=0).cadu_bytes == 1119
    assert Framing(spacecraft=1, kind="aos", fecf=False).data_bytes == 1107


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "spacecraft is missing"),
        ({"spacecraft": 1024}, "spacecraft = 1024"),
        ({"spacecraft": 256, "kind": "aos"}, "0 to 255"),
        ({"spacecraft": 1, "virtual_channel": 8}, "0 to 7"),
        ({"spacecraft": 1, "virtual_channel": 63, "kind": "aos"}, "virtual_channel = 63"),
        ({"spacecraft": 1, "interleaving": 6}, "interleaving = 6"),
        ({"spacecraft": 1, "interleaving": 5, "frame_bytes": 1116}, "multiples of 5 up to 1115"),
        ({"spacecraft": 1, "interleaving": 5, "frame_bytes": 1114}, "multiples of 5 up to 1115"),
        ({"spacecraft": 1, "interleaving": 0, "frame_bytes": 2049}, "frame_bytes = 2049"),
        ({"spacecraft": 1, "interleaving": 0, "frame_bytes": 14}, "leaves 6 bytes for packets"),
        ({"spacecraft": 1, "interleaving": 0, "fecf": False}, "interleaving = 0 .* recognize a frame"),
        ({"spacecraft": 1, "randomize": False, "fecf": False}, "randomize = False .* recognize a frame"),
        ({"spacecraft": 1, "kind": "tc"}, "kind = 'tc'"),
        ({"spacecraft": 1, "frame_byte": 5}, "frame_byte = 5 is not a known key. Did you mean frame_bytes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        parse_settings(settings, Framing, source="framing.toml")


def test_a_fault_in_one_key_is_the_only_fault_that_is_told():
    with pytest.raises(ConfigError) as missing:
        parse_settings({"interleaving": 2}, Framing, source="the test")
    assert missing.value.what == "the test: spacecraft is missing"
    with pytest.raises(ConfigError) as wrong:
        parse_settings({"spacecraft": 1, "interleaving": 7}, Framing, source="the test")
    assert wrong.value.keys == ("interleaving",)
    assert parse_settings({"spacecraft": 1, "interleaving": 2}, Framing, source="the test").frame_bytes == 446
