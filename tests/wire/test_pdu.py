"""Protocol data units of CFDP: there and back, as spacepackets has them, and whatever else is refused."""

import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spacepackets.cfdp import CrcFlag, PduConfig, TransmissionMode
from spacepackets.cfdp.defs import ChecksumType, ConditionCode
from spacepackets.cfdp.pdu import EofPdu, FileDataPdu, KeepAlivePdu, PromptPdu
from spacepackets.cfdp.pdu.file_data import FileDataParams
from spacepackets.cfdp.pdu.prompt import ResponseRequired
from spacepackets.util import ByteFieldGenerator

from taran_eo.errors import CorruptDataError
from taran_eo.wire.cfdp import checksum
from taran_eo.wire.pdu import Ack, EndOfFile, FileData, Finished, Metadata, Nak, Route, pack, parse

CONDITIONS = st.sampled_from([code for code in ConditionCode if code >= 0])
SIZES = st.integers(0, 2**32 - 1)


@st.composite
def routes(draw):
    entity_bytes, number_bytes = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from([1, 2, 4, 8]))
    entity, number = st.integers(0, 256**entity_bytes - 1), st.integers(0, 256**number_bytes - 1)
    flags = draw(st.booleans()), draw(st.booleans())
    return Route(draw(entity), draw(entity), draw(number), *flags, entity_bytes, number_bytes)


RANGES = st.tuples(SIZES, SIZES).map(lambda pair: (min(pair), max(pair)))
NAMES = st.text(min_size=1, max_size=60)  # at most 240 bytes
PDUS = st.one_of(
    st.builds(Metadata, routes(), NAMES, SIZES, st.sampled_from(ChecksumType)),
    st.builds(FileData, routes(), SIZES, st.binary(min_size=1, max_size=100)),
    st.builds(EndOfFile, routes(), CONDITIONS, SIZES, SIZES),
    st.builds(Finished, routes(), CONDITIONS, st.booleans()),
    st.builds(Ack, routes(), st.sampled_from(["end-of-file", "finished"]), CONDITIONS),
    st.builds(Nak, routes(), RANGES, st.lists(RANGES, max_size=20).map(tuple)),
)
ROUTE = Route(1, 2, 3, acknowledged=True, crc=False, entity_bytes=1, number_bytes=4)


def config(route):
    field = ByteFieldGenerator.from_int
    return PduConfig(
        field(route.entity_bytes, route.source),
        field(route.entity_bytes, route.destination),
        field(route.number_bytes, route.number),
        TransmissionMode.ACKNOWLEDGED if route.acknowledged else TransmissionMode.UNACKNOWLEDGED,
        crc_flag=CrcFlag.WITH_CRC if route.crc else CrcFlag.NO_CRC,
    )


@given(pdu=PDUS)
@example(EndOfFile(ROUTE, ConditionCode.CANCEL_REQUEST_RECEIVED, 1, 2))
def test_parse_undoes_pack(pdu):
    assert parse(pack(pdu)) == pdu


@given(route=routes(), offset=SIZES, data=st.binary(min_size=1, max_size=100))
def test_file_data_is_that_of_spacepackets(route, offset, data):
    packed = pack(FileData(route, offset, data))
    assert packed == bytes(FileDataPdu(config(route), FileDataParams(data, offset)).pack())
    twin = FileDataPdu.unpack(packed)
    assert (twin.offset, twin.file_data, twin.transaction_seq_num.value) == (offset, data, route.number)


def test_the_end_of_file_of_spacepackets_does_not_come_back_and_ours_does():
    """The defect that `parse` writes around; when this fails, the way around can go."""
    packed = pack(EndOfFile(ROUTE, ConditionCode.NAK_LIMIT_REACHED, 5, 6))
    assert EofPdu.unpack(packed).condition_code != ConditionCode.NAK_LIMIT_REACHED
    assert parse(packed).condition is ConditionCode.NAK_LIMIT_REACHED


def test_the_bytes_are_those_of_the_standard():
    """By hand from 727.0-B-5, section 5."""
    header = bytes([1]) + (3).to_bytes(4, "big") + bytes([2])
    data = bytes([0x30, 0, 6, 0x03]) + header + (7).to_bytes(4, "big") + b"ab"
    assert pack(FileData(ROUTE, 7, b"ab")) == data
    end = bytes([0x20, 0, 10, 0x03]) + header + bytes([4, 0x00]) + bytes(range(8))
    assert pack(EndOfFile(ROUTE, ConditionCode.NO_ERROR, 0x00010203, 0x04050607)) == end
    nak = bytes([0x28, 0, 17, 0x03]) + header + bytes([8]) + bytes(4) + bytes([0, 0, 0, 9]) + bytes(8)
    assert pack(Nak(ROUTE, (0, 9), ((0, 0),))) == nak
    metadata = bytes([0x20, 0, 10, 0x03]) + header + bytes([7, 3, 0, 0, 1, 0, 1]) + b"f" + bytes([1]) + b"f"
    assert pack(Metadata(ROUTE, "f", 256, ChecksumType.CRC_32)) == metadata
    assert pack(Ack(ROUTE, "finished", ConditionCode.NO_ERROR))[-3:] == bytes([6, 0x51, 0x01])
    assert pack(Finished(ROUTE, ConditionCode.NO_ERROR, complete=True))[-2:] == bytes([5, 0x02])
    # A file that is too large: incomplete, refused by the filestore; the fault is with the receiver, entity 2.
    rejected = Finished(ROUTE, ConditionCode.FILESTORE_REJECTION, complete=False)
    assert pack(rejected)[-5:] == bytes([5, 0x45, 6, 1, 2])


@given(data=st.binary(max_size=60))
@example(b"\x20\x00\x01\x00\x00\x00\x00\x07")
def test_any_bytes_parse_or_are_refused(data):
    lengths = (len(data) - 7).to_bytes(2, "big", signed=True)
    for attempt in (data, data[:1] + lengths + b"\x00" + data[4:], b"\x20" + lengths + b"\x00" + data[4:]):
        try:
            pdu = parse(attempt)
        except CorruptDataError:
            continue
        assert parse(pack(pdu)) == pdu


@given(pdu=PDUS, place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(1, 20))
def test_damaged_ones_parse_or_are_refused(pdu, place, value, cut):
    """With a mended CRC too; those without one may come out as another PDU, but never as an accident."""
    data = bytearray(pack(pdu))
    cuts = bytes(data[:-cut]), bytes(data) + bytes(cut)
    data[place % len(data)] = value
    mended = data[:-2] + binascii.crc_hqx(data[:-2], 0xFFFF).to_bytes(2, "big")
    for damaged in (bytes(data), bytes(mended)):
        try:
            parse(damaged)
        except CorruptDataError:
            continue
    for damaged in cuts:
        with pytest.raises(CorruptDataError, match=r"as long as|no header"):
            parse(damaged)


@given(pdu=PDUS.filter(lambda pdu: pdu.route.crc), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_does_not_pass_the_crc(pdu, place, bit):
    data = bytearray(pack(pdu))
    place %= len(data)
    data[place] ^= 1 << bit
    if place == 0 and bit == 1:  # the flag that says that there is one
        return
    with pytest.raises(CorruptDataError):
        parse(bytes(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no header"),
        (b"\x00\x00\x01\x00\x01\x01\x02\x07", "no header"),  # version 1 of the protocol
        (b"\x20\x00\x02\x00\x01\x01\x02\x07", "as long as"),
        (b"\x20\x00\x01\x20" + bytes(7) + b"\x07", "as long as"),  # entity numbers of three bytes
        (b"\x21\x00\x01\x00\x01\x01\x02\x07", "64-bit"),
        (b"\x30\x00\x01\x08\x01\x01\x02\x07", "records"),
        (b"\x30\x00\x04\x00\x01\x01\x02" + bytes(4), "no file data"),
        (b"\x38\x00\x05\x00\x01\x01\x02" + bytes(5), "wrong way"),
        (b"\x20\x00\x00\x00\x01\x01\x02", "no directive"),
        (b"\x20\x00\x01\x00\x01\x01\x02\x99", "no directive"),
        (b"\x20\x00\x01\x00\x01\x01\x02\x0a", "NONE is not spoken"),
        (bytes(PromptPdu(config(ROUTE), ResponseRequired.NAK).pack()), "PROMPT"),
        (bytes(KeepAlivePdu(config(ROUTE), progress=1).pack()), "KEEP_ALIVE"),
        (pack(Nak(ROUTE, (0, 9), ((7, 5),))), "ends before"),
        (b"\x20" + pack(Nak(ROUTE, (0, 9), ()))[1:], "wrong way"),
    ],
)
def test_what_is_not_spoken_is_named(data, message):
    with pytest.raises(CorruptDataError, match=message):
        parse(data)


def test_a_metadata_without_a_file_is_refused():
    data = bytearray(pack(Metadata(ROUTE, "f", 1, ChecksumType.CRC_32)))
    nameless = bytes(data[:2]) + bytes([8]) + bytes(data[3:-4]) + bytes(2)
    with pytest.raises(CorruptDataError, match="names no file"):
        parse(nameless)
    data[-1] = 0xFF  # no UTF-8
    with pytest.raises(CorruptDataError, match="no directive"):
        parse(bytes(data))


@given(data=st.binary(max_size=50))
def test_the_modular_checksum_is_a_sum_of_words(data):
    padded = data + bytes(-len(data) % 4)
    words = [int.from_bytes(padded[place : place + 4], "big") for place in range(0, len(padded), 4)]
    assert checksum(data, ChecksumType.MODULAR) == sum(words) % 2**32


def test_checksums_are_the_published_ones():
    assert checksum(bytes(range(15)), ChecksumType.MODULAR) == 0x181C2015  # the worked example of CCSDS 727.0-B
    assert checksum(b"123456789", ChecksumType.CRC_32) == 0xCBF43926  # the check value of CRC-32/ISO-HDLC
    assert checksum(b"", ChecksumType.NULL_CHECKSUM) is None
