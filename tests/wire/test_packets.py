"""Space packets: there and back, read by another library, and refused where they are none."""

import ccsdspy
import numpy as np
import pytest
from ccsdspy.utils import read_primary_headers
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.errors import CorruptDataError, FormatError
from taran_eo.wire import Packet, packet, parse
from taran_eo.wire.packets import LONGEST_PACKET_BYTES, idle_packet, is_idle


@given(apid=st.integers(0, 2046), count=st.integers(0, 1 << 20), data=st.binary(min_size=1, max_size=300))
def test_parse_undoes_packet(apid, count, data):
    raw = packet(apid, count, data)
    assert parse(raw) == Packet(apid, count % 16384, data)
    assert not is_idle(raw)


def test_the_bytes_are_those_of_the_standard():
    """CCSDS 133.0-B-2, 4.1.3: version 0, telemetry, application; unsegmented, count; length less one."""
    assert packet(0x2AA, 0x1234, b"abc").hex() == "02aad2340002616263"
    assert packet(0, 16384, bytes(65536))[:6].hex() == "0000c000ffff"
    assert idle_packet(7).hex() == "07ffc000000000"


def test_another_library_reads_our_packets(tmp_path):
    rng = np.random.default_rng(3)
    sent = [rng.integers(0, 256, size, dtype=np.uint8) for size in (1, 7, 300, 4000, 2)]
    path = tmp_path / "packets.bin"
    path.write_bytes(b"".join(packet(0x155, 16382 + n, data.tobytes()) for n, data in enumerate(sent)))
    headers = read_primary_headers(str(path))
    np.testing.assert_array_equal(headers["CCSDS_APID"], [0x155] * 5)
    np.testing.assert_array_equal(headers["CCSDS_SEQUENCE_COUNT"], [16382, 16383, 0, 1, 2])
    np.testing.assert_array_equal(headers["CCSDS_PACKET_LENGTH"], [data.size - 1 for data in sent])
    field = ccsdspy.PacketArray(name="data", data_type="uint", bit_length=8, array_shape="expand")
    read = ccsdspy.VariableLength([field]).load(str(path))["data"]
    for got, data in zip(read, sent, strict=True):
        np.testing.assert_array_equal(got, data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: packet(2047, 0, b"a"), "application 2047. Use one from 0 to 2046"),
        (lambda: packet(-1, 0, b"a"), "application -1"),
        (lambda: packet(1, 0, b""), "0 bytes of data. Give 1 to 65536 bytes"),
        (lambda: packet(1, 0, bytes(65537)), "65537 bytes of data"),
        (lambda: idle_packet(6), "0 bytes of data"),
        (lambda: idle_packet(LONGEST_PACKET_BYTES + 1), "65537 bytes of data"),
    ],
)
def test_what_no_packet_can_hold_is_refused(make, said):
    with pytest.raises(FormatError, match=said):
        make()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "0 bytes are no space packet"),
        ("02aac0000002", "6 bytes are no space packet"),
        ("22aac000000061", "7 bytes are no space packet"),
        ("02aac000000161", "7 bytes claim to be a packet of 8"),
        ("02aac00000006162", "8 bytes claim to be a packet of 7"),
        ("12aac000000061", "application 682 is a telecommand"),
        ("0aaac000000061", "secondary header"),
        ("02aa4000000061", "a segment"),
    ],
)
def test_what_is_no_packet_of_ours_is_refused(raw, said):
    with pytest.raises(CorruptDataError, match=said):
        parse(bytes.fromhex(raw))


@given(raw=st.binary(max_size=40) | st.binary(min_size=1, max_size=30).map(lambda end: b"\0\1\xc0\0\0" + end))
def test_any_bytes_parse_or_are_refused(raw):
    try:
        found = parse(raw)
    except CorruptDataError:
        return
    assert found.apid == 2047 or packet(found.apid, found.count, found.data) == raw
