"""The CCSDS File Delivery Protocol, what both ends agree on: settings, files as sent and as received, checksums.

Source: CCSDS 727.0-B-5, CCSDS File Delivery Protocol.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from spacepackets.cfdp.defs import ChecksumType, ConditionCode

from taran_eo.config import Settings

CHECKSUMS = {"modular": ChecksumType.MODULAR, "crc-32": ChecksumType.CRC_32}
SEGMENT_OFFSET_BYTES = 4  # of a File Data PDU, in files of less than 4 GiB: 727.0-B-5, 5.3
CRC_BYTES = 2  # 727.0-B-5, 4.1


class Cfdp(Settings):
    """How files are delivered; the same value on both sides.

    Attributes:
        source: Entity number of the satellite.
        destination: Entity number of the ground.
        apid: Application process of the space packets, one PDU in each; the same one down and up.
        entity_bytes: Width of an entity number in each PDU.
        number_bytes: Width of a transaction number in each PDU.
        crc: Each PDU ends with a CRC-16. Two bytes a segment, so that what arrives of a partial file is right.
        checksum: What the whole file is verified with.
        segment_bytes: The largest segment of a file; without it, as much as ends with the frame, so that a lost
            frame costs one segment and not two.
        max_file_bytes: The largest file that is sent or believed.
        max_held_bytes: The most that a receiver takes of all files together.
        ack_s: An end of file or a Finished that is not acknowledged is repeated after so long, 1 ms to 115 days.
        nak_s: Missing parts that do not come are asked for again after so long.
        limit: So many repetitions without an answer, then the transaction fails by name.
    """

    source: int = Field(default=1, ge=0)
    destination: int = Field(default=2, ge=0)
    apid: int = Field(default=0x2AA, ge=0, le=2046)  # 2047 is that of idle packets: CCSDS 133.0-B-2, 4.1.3.3.4
    entity_bytes: Literal[1, 2, 4, 8] = 1
    number_bytes: Literal[1, 2, 4, 8] = 4
    crc: bool = True
    checksum: Literal["modular", "crc-32"] = "crc-32"
    segment_bytes: int | None = Field(default=None, ge=1, le=60_000)
    max_file_bytes: int = Field(default=1 << 27, ge=0, lt=1 << 32)
    max_held_bytes: int = Field(default=1 << 29, ge=0)
    ack_s: float = Field(default=10.0, ge=1e-3, le=1e7)
    nak_s: float = Field(default=10.0, ge=1e-3, le=1e7)
    limit: int = Field(default=8, ge=1, le=1000)

    @model_validator(mode="after")
    def _entities_are_two(self) -> "Cfdp":
        if self.source == self.destination:
            raise ValueError(f"source and destination are both {self.source}; they must differ")
        if max(self.source, self.destination) >= 256**self.entity_bytes:
            raise ValueError(
                f"source = {self.source} or destination = {self.destination} does not go into entity_bytes = "
                f"{self.entity_bytes}"
            )
        return self

    @property
    def inactivity_s(self) -> float:
        """A silence after which the other side is given up: longer than all the repetitions that it may try."""
        return (self.limit + 2) * max(self.ack_s, self.nak_s)

    @property
    def header_bytes(self) -> int:
        """Bytes of a File Data PDU before its segment and, with a CRC, behind it."""
        fixed = 4 + 2 * self.entity_bytes + self.number_bytes  # 727.0-B-5, 5.1
        return fixed + SEGMENT_OFFSET_BYTES + (CRC_BYTES if self.crc else 0)


@dataclass(frozen=True, slots=True)
class File:
    """A file to deliver: its name of at most 255 bytes of UTF-8, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """What arrived of one file.

    Attributes:
        transaction: Its number among those of the sending entity.
        name: As the sender told it, not to be trusted as a path; None if the Metadata PDU was lost.
        data: The bytes up to the last one that arrived, zeros in the gaps before it.
        gaps: The missing ranges, start and stop in bytes, in order; also the one behind `data`, where `size` is known.
        size: Bytes of the whole file; None if neither Metadata nor end of file arrived.
        complete: All bytes are there and their checksum is that of the sender.
        why: The named failure; empty if complete.
    """

    transaction: int
    name: str | None
    data: bytes
    gaps: tuple[tuple[int, int], ...]
    size: int | None
    complete: bool
    why: str


def checksum(data: bytes | bytearray, kind: ChecksumType) -> int | None:
    """The checksum of a file, or None for a kind that is not computed here.

    The modular one is the sum of its big-endian words of four bytes, the last one filled with zeros, modulo
    2^32; the other is the CRC-32 of IEEE 802.3.

    Source: CCSDS 727.0-B-5, 4.2, of which the example is the worked one; the SANA registry of checksum identifiers.

    Example:
        >>> hex(checksum(bytes(range(15)), ChecksumType.MODULAR))
        '0x181c2015'
    """
    if kind is ChecksumType.MODULAR:
        whole = len(data) & ~3
        words = int(np.frombuffer(data, dtype=">u4", count=whole // 4).sum(dtype=np.uint64))
        return (words + int.from_bytes(bytes(data[whole:]).ljust(4, b"\0"), "big")) & 0xFFFFFFFF
    if kind is ChecksumType.CRC_32:
        return zlib.crc32(data)
    return None


def named(condition: ConditionCode) -> str:
    """A condition in the words of the standard, such as "nak limit reached"."""
    return str(condition.name).lower().replace("_", " ")


def union(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of start and stop in order, those that touch or overlap as one, empty ones left out.

    Example:
        >>> union([(5, 9), (0, 2), (2, 3), (4, 4)])
        [(0, 3), (5, 9)]
    """
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if start == stop:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined
