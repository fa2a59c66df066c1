"""The protocol data units of CFDP: values to bytes and back.

The directives go through the codecs of spacepackets; segments of file data, of which there are thousands, are
packed and parsed here, and held to spacepackets by the tests. Whatever spacepackets raises ends at this border.

Source: CCSDS 727.0-B-5, section 5.
"""

import binascii
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeGuard, assert_never

from spacepackets.cfdp import CrcFlag, EntityIdTlv, PduConfig, TlvTypeMissmatchError, TransmissionMode
from spacepackets.cfdp.defs import ChecksumType, ConditionCode, DeliveryCode, FileStatus
from spacepackets.cfdp.pdu import AckPdu, DirectiveType, EofPdu, FinishedPdu, MetadataPdu, NakPdu, TransactionStatus
from spacepackets.cfdp.pdu.finished import FinishedParams
from spacepackets.cfdp.pdu.metadata import MetadataParams
from spacepackets.util import ByteFieldGenerator

from taran_eo.errors import CorruptDataError
from taran_eo.wire.cfdp import CRC_BYTES, SEGMENT_OFFSET_BYTES

_VERSION = 0b001  # of the PDUs of 727.0-B-5, table 5-1
_WIDTHS = (1, 2, 4, 8)
_REMEDY = "Let it be sent again; if it stays so, the sender speaks another protocol"


@dataclass(frozen=True, slots=True)
class Route:
    """What the header of every PDU of one transaction says.

    Attributes:
        source: Entity that sends the file.
        destination: Entity that receives it.
        number: Of the transaction; unique together with `source`.
        acknowledged: Class 2 of the protocol, or class 1.
        crc: PDUs end with a CRC-16.
        entity_bytes: Width of both entity numbers.
        number_bytes: Width of the transaction number.
    """

    source: int
    destination: int
    number: int
    acknowledged: bool
    crc: bool
    entity_bytes: int
    number_bytes: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """Begins a transaction: the name of the file, its size in bytes and how it is verified."""

    route: Route
    name: str
    size: int
    checksum_kind: ChecksumType


@dataclass(frozen=True, slots=True)
class FileData:
    """A segment of the file, at least one byte, from `offset` on."""

    route: Route
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """All has been sent once; or, with another condition than NO_ERROR, the sender gives up."""

    route: Route
    condition: ConditionCode
    checksum: int
    size: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The receiver has the file, or gives up."""

    route: Route
    condition: ConditionCode
    complete: bool


@dataclass(frozen=True, slots=True)
class Ack:
    """An end of file or a Finished was heard."""

    route: Route
    of: Literal["end-of-file", "finished"]
    condition: ConditionCode


@dataclass(frozen=True, slots=True)
class Nak:
    """Ranges of the file, start and stop in bytes, that the receiver asks for; (0, 0) asks for the Metadata."""

    route: Route
    scope: tuple[int, int]
    missing: tuple[tuple[int, int], ...]


Pdu = Metadata | FileData | EndOfFile | Finished | Ack | Nak


def pack(pdu: Pdu) -> bytes:
    """The bytes of a PDU.

    Raises:
        ValueError: A number that does not go into its field, from spacepackets; settings forbid it.
    """
    match pdu:
        case FileData(route, offset, data):
            first, rest = _fixed(route)
            length = SEGMENT_OFFSET_BYTES + len(data) + (CRC_BYTES if route.crc else 0)
            body = b"".join(
                (first, length.to_bytes(2, "big"), rest, offset.to_bytes(SEGMENT_OFFSET_BYTES, "big"), data)
            )
            # The CRC of 727.0-B-5, 4.1 is that of transfer frames: x^16 + x^12 + x^5 + 1 from all ones.
            return body + binascii.crc_hqx(body, 0xFFFF).to_bytes(CRC_BYTES, "big") if route.crc else body
        case Metadata(route, name, size, checksum_kind):
            params = MetadataParams(False, checksum_kind, size, name, name)
            return bytes(MetadataPdu(_config(route), params).pack())
        case EndOfFile(route, condition, checksum, size):
            return bytes(
                EofPdu(_config(route), checksum, size, _fault(route, route.source, condition), condition).pack()
            )
        case Finished(route, condition, complete):
            delivery = DeliveryCode.DATA_COMPLETE if complete else DeliveryCode.DATA_INCOMPLETE
            rejected = condition is ConditionCode.FILESTORE_REJECTION
            status = FileStatus.DISCARDED_FILESTORE_REJECTION if rejected else FileStatus.FILE_RETAINED
            fault = _fault(route, route.destination, condition)
            params = FinishedParams(condition, delivery, status, fault_location=fault)
            return bytes(FinishedPdu(_config(route), params).pack())
        case Ack(route, of, condition):
            directive = DirectiveType.EOF_PDU if of == "end-of-file" else DirectiveType.FINISHED_PDU
            return bytes(AckPdu(_config(route), directive, condition, TransactionStatus.ACTIVE).pack())
        case Nak(route, scope, missing):
            return bytes(NakPdu(_config(route), *scope, list(missing)).pack())
        case _:
            assert_never(pdu)


def parse(data: bytes) -> Pdu:
    """The PDU that these bytes are; the inverse of `pack`.

    Args:
        data: One PDU, neither more nor less.

    Raises:
        CorruptDataError: Any other bytes; also PDUs that are lawful but not spoken here: 64-bit sizes, records,
            prompts and keep-alives.
    """
    if len(data) < 4 or data[0] >> 5 != _VERSION:
        raise _corrupt("has no header of version 2 of the protocol", data)
    entity_bytes, number_bytes = (data[3] >> 4 & 7) + 1, (data[3] & 7) + 1
    head = 4 + 2 * entity_bytes + number_bytes
    lawful = entity_bytes in _WIDTHS and number_bytes in _WIDTHS
    if not lawful or head + int.from_bytes(data[1:3], "big") != len(data):
        raise _corrupt("is not as long as its header says", data)
    if data[0] & 0x01 or data[3] & 0x88:
        raise _corrupt("has 64-bit sizes or records, which are not spoken here", data)
    route = _route(data[0] & 0x06, entity_bytes, number_bytes, data[4:head])
    if route.crc and binascii.crc_hqx(data, 0xFFFF) != 0:
        raise _corrupt("does not match its CRC", data)
    stop = len(data) - CRC_BYTES if route.crc else len(data)
    to_sender = bool(data[0] & 0x08)
    if data[0] & 0x10:
        start = head + SEGMENT_OFFSET_BYTES
        if start >= stop or to_sender:
            raise _corrupt("holds no file data, or goes the wrong way", data)
        return FileData(route, int.from_bytes(data[head:start], "big"), data[start:stop])
    try:
        pdu = _directive(route, data, head)
    except (ValueError, IndexError, struct.error, TlvTypeMissmatchError) as error:  # what spacepackets raises
        raise _corrupt(f"is no directive: {error}", data) from error
    if to_sender != goes_to_sender(pdu):
        raise _corrupt("goes the wrong way", data)
    return pdu


def _directive(route: Route, data: bytes, head: int) -> Pdu:
    """The directive after a header of `head` bytes; raises whatever spacepackets does."""
    match DirectiveType(data[head]):
        case DirectiveType.METADATA_PDU:
            metadata = MetadataPdu.unpack(data)
            name = metadata.dest_file_name
            if not name:
                raise ValueError("it names no file")
            return Metadata(route, name, metadata.file_size, metadata.checksum_type)
        case DirectiveType.EOF_PDU:
            end = EofPdu.unpack(data)
            # spacepackets 0.32 leaves the code in the upper half of its byte, where it is another one or none.
            condition = ConditionCode(data[head + 1] >> 4)
            return EndOfFile(route, condition, int.from_bytes(end.file_checksum, "big"), end.file_size)
        case DirectiveType.FINISHED_PDU:
            finished = FinishedPdu.unpack(data)
            complete = finished.delivery_code is DeliveryCode.DATA_COMPLETE
            return Finished(route, finished.condition_code, complete)
        case DirectiveType.ACK_PDU:
            ack = AckPdu.unpack(data)
            names: dict[int, Literal["end-of-file", "finished"]] = {
                DirectiveType.EOF_PDU: "end-of-file",
                DirectiveType.FINISHED_PDU: "finished",
            }
            name_of = names.get(ack.directive_code_of_acked_pdu)
            if name_of is None:
                raise ValueError(f"it acknowledges directive {int(ack.directive_code_of_acked_pdu)}")
            return Ack(route, name_of, ConditionCode(ack.condition_code_of_acked_pdu))
        case DirectiveType.NAK_PDU:
            nak = NakPdu.unpack(data)
            if any(start > stop for start, stop in nak.segment_requests):
                raise ValueError("it asks for a range that ends before it starts")
            return Nak(route, (nak.start_of_scope, nak.end_of_scope), tuple(nak.segment_requests))
        case other:
            raise ValueError(f"{other.name} is not spoken here")


def goes_to_sender(pdu: Pdu) -> TypeGuard[Finished | Nak | Ack]:
    """Whether it is the receiver that says this."""
    return isinstance(pdu, Finished | Nak) or (isinstance(pdu, Ack) and pdu.of == "end-of-file")


def _fault(route: Route, entity: int, condition: ConditionCode) -> EntityIdTlv | None:
    """That this entity gave up: 727.0-B-5, 5.2.2 and 5.2.3 want it beside every condition but NO_ERROR."""
    if condition in (ConditionCode.NO_ERROR, ConditionCode.UNSUPPORTED_CHECKSUM_TYPE):
        return None
    return EntityIdTlv(entity.to_bytes(route.entity_bytes, "big"))


def _config(route: Route) -> PduConfig:
    field = ByteFieldGenerator.from_int
    return PduConfig(
        source_entity_id=field(route.entity_bytes, route.source),
        dest_entity_id=field(route.entity_bytes, route.destination),
        transaction_seq_num=field(route.number_bytes, route.number),
        trans_mode=TransmissionMode.ACKNOWLEDGED if route.acknowledged else TransmissionMode.UNACKNOWLEDGED,
        crc_flag=CrcFlag.WITH_CRC if route.crc else CrcFlag.NO_CRC,
    )


@lru_cache(maxsize=64)
def _fixed(route: Route) -> tuple[bytes, bytes]:
    """The header of file data before and after the length."""
    first = _VERSION << 5 | 0x10 | (0 if route.acknowledged else 0x04) | (0x02 if route.crc else 0)
    widths = (route.entity_bytes - 1) << 4 | (route.number_bytes - 1)
    numbers = (
        route.source.to_bytes(route.entity_bytes, "big"),
        route.number.to_bytes(route.number_bytes, "big"),
        route.destination.to_bytes(route.entity_bytes, "big"),
    )
    return bytes([first]), bytes([widths]) + b"".join(numbers)


@lru_cache(maxsize=64)
def _route(flags: int, entity_bytes: int, number_bytes: int, numbers: bytes) -> Route:
    source = int.from_bytes(numbers[:entity_bytes], "big")
    number = int.from_bytes(numbers[entity_bytes : entity_bytes + number_bytes], "big")
    destination = int.from_bytes(numbers[entity_bytes + number_bytes :], "big")
    return Route(source, destination, number, not flags & 0x04, bool(flags & 0x02), entity_bytes, number_bytes)


def _corrupt(what: str, data: bytes) -> CorruptDataError:
    return CorruptDataError(f"A protocol data unit of {len(data)} bytes {what}", remedy=_REMEDY, pdu_bytes=len(data))
