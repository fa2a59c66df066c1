"""Space packets (CCSDS 133.0-B): what frames carry; telemetry, unsegmented, without secondary header."""

from dataclasses import dataclass

from spacepackets.ccsds.spacepacket import PacketType, SequenceFlags, SpacePacketHeader

from taran_eo.errors import CorruptDataError, FormatError

PACKET_HEADER_BYTES = 6
"""The primary header (CCSDS 133.0-B-2, 4.1.3)."""

SHORTEST_PACKET_BYTES = PACKET_HEADER_BYTES + 1
LONGEST_PACKET_BYTES = PACKET_HEADER_BYTES + (1 << 16)
"""The length field holds the bytes of data less one in 16 bits (CCSDS 133.0-B-2, 4.1.3.5)."""

IDLE_APID = 0x7FF
"""The application of idle packets (CCSDS 133.0-B-2, 4.1.3.3.4)."""

PACKET_COUNTS = 1 << 14
"""After how many packets of an application its count begins again (CCSDS 133.0-B-2, 4.1.3.4.3)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One space packet.

    Attributes:
        apid: Which application made it, 0 to 2046; 2047 is fill.
        count: Its number within the application, 0 to 16383.
        data: 1 to 65536 bytes.
    """

    apid: int
    count: int
    data: bytes


def packet(apid: int, count: int, data: bytes) -> bytes:
    """The bytes of a telemetry packet.

    Args:
        apid: Which application made it, 0 to 2046.
        count: Its running number within the application; the wire carries it modulo 16384.
        data: 1 to 65536 bytes.

    Raises:
        FormatError: Another application, or data that no packet can hold.
    """
    if not 0 <= apid < IDLE_APID:
        raise FormatError(
            f"A packet cannot come from application {apid}", remedy=f"Use one from 0 to {IDLE_APID - 1}", apid=apid
        )
    return _packed(apid, count % PACKET_COUNTS, data)


def idle_packet(size_bytes: int) -> bytes:
    """A packet of fill of `size_bytes` in all, header included; readers skip it.

    Raises:
        FormatError: Fewer than 7 bytes or more than 65542.
    """
    return _packed(IDLE_APID, 0, bytes(max(size_bytes - PACKET_HEADER_BYTES, 0)))


def is_idle(raw: bytes) -> bool:
    """Whether a packet is fill."""
    return (raw[0] << 8 | raw[1]) & IDLE_APID == IDLE_APID


def _packed(apid: int, count: int, data: bytes) -> bytes:
    size_bytes = PACKET_HEADER_BYTES + len(data)
    if not SHORTEST_PACKET_BYTES <= size_bytes <= LONGEST_PACKET_BYTES:
        raise FormatError(
            f"A packet cannot hold {len(data)} bytes of data",
            remedy=f"Give 1 to {LONGEST_PACKET_BYTES - PACKET_HEADER_BYTES} bytes",
            data_bytes=len(data),
        )
    return bytes(SpacePacketHeader.tm(apid, count, len(data) - 1).pack()) + data


def packet_bytes(header: bytes | bytearray | memoryview) -> int | None:
    """The length in bytes that a packet claims in its header, or None where its version is not that of a packet."""
    if header[0] >> 5:
        return None
    return SHORTEST_PACKET_BYTES + (header[4] << 8 | header[5])


def parse(raw: bytes) -> Packet:
    """The packet that `packet` made these bytes of.

    Raises:
        CorruptDataError: They are no packet, or one of another length or form.
    """
    remedy = "Take packets from a Demultiplexer, one at a time"
    size_bytes = packet_bytes(raw) if len(raw) >= SHORTEST_PACKET_BYTES else None
    if size_bytes != len(raw):
        claim = "are no space packet" if size_bytes is None else f"claim to be a packet of {size_bytes}"
        raise CorruptDataError(f"{len(raw)} bytes {claim}", remedy=remedy, size_bytes=len(raw))
    header = SpacePacketHeader.unpack(raw)
    whole = header.seq_flags == SequenceFlags.UNSEGMENTED and header.packet_type == PacketType.TM
    if not whole or header.sec_header_flag:
        raise CorruptDataError(
            f"A packet of application {header.apid} is a telecommand, a segment, or has a secondary header",
            remedy="Check which applications send on this channel",
            apid=header.apid,
        )
    return Packet(header.apid, header.seq_count, raw[PACKET_HEADER_BYTES:])
