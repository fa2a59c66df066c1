"""Parts: what travels of a product, each found, checked and understood by itself, whatever was lost around it.

Layout, version 3 of products (PRODUCT.md has all of it; numbers are LEB128 unless a width is given)::

    "TP" | 0x30 + kind | length of the rest without the CRC-32 | key (6 bytes) | first | length of each item, closed
    by 0 | items | CRC-32 of all before it (4 bytes, little endian)

Kinds 0 to 5 are the levels of the product ladder, 15 is what many scenes have in common. A key is the first six
bytes of the SHA-256 of the header that a part belongs to, so that parts of one scene find one another in whatever
order, from whatever pass or file they come. Items of a level are numbered, and none is empty; `first` is the number
of a part's first.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from taran_eo.codec import leb128
from taran_eo.errors import CorruptDataError, FormatError

KEY_BYTES = 6
PART_BYTES = 1024
"""About as much as one frame holds: items are put together up to here, so that a lost frame costs little else."""

ORIGIN = 15
"""The kind of a part that holds what many scenes have in common."""

MOST_PART_BYTES = 1 << 22
"""A part is larger only where one item is, and no item of ours comes near this."""

_MOST_WASTED = 16
"""So many times the bytes of a file may be looked at in vain; random bytes look like a part once in a million."""

_MAGIC = b"TP"
_VERSION = 0x30
_CRC_BYTES = 4
_REMEDY = "Fetch the product again; if it stays so, it was not written by this version of taran_eo"


@dataclass(frozen=True, slots=True)
class Part:
    """Some items of one level of one scene.

    Attributes:
        kind: The level, or `ORIGIN`.
        key: What the part belongs to: the first bytes of the digest of its header.
        first: Number of the first item among those of its level.
        items: The items.
    """

    kind: int
    key: bytes
    first: int
    items: tuple[bytes, ...]


def pack_part(part: Part) -> bytes:
    """The bytes of a part.

    Raises:
        FormatError: An item is empty, or larger than any part may be.
    """
    lengths = np.array([*map(len, part.items), 0])
    if not all(part.items) or lengths.sum() > MOST_PART_BYTES - PART_BYTES:
        raise FormatError(
            f"Items of {lengths[:-1].min()} to {lengths.max()} bytes do not go into a part",
            remedy=f"Give items of 1 to {MOST_PART_BYTES - PART_BYTES} bytes",
        )
    body = part.key + leb128.encode(np.array([part.first])) + leb128.encode(lengths) + b"".join(part.items)
    head = _MAGIC + bytes([_VERSION + part.kind]) + leb128.encode(np.array([len(body)]))
    return head + body + zlib.crc32(head + body).to_bytes(_CRC_BYTES, "little")


def in_parts(kind: int, key: bytes, items: Sequence[bytes]) -> Iterator[Part]:
    """The items of a level in parts of about `PART_BYTES`, or of one item each where items are larger."""
    first, held, size = 0, list[bytes](), 0
    for number, item in enumerate(items):
        if held and size + len(item) > PART_BYTES:
            yield Part(kind, key, first, tuple(held))
            first, held, size = number, [], 0
        held.append(item)
        size += len(item)
    if held:
        yield Part(kind, key, first, tuple(held))


def unpack_part(data: bytes, position: int = 0) -> tuple[Part, int]:
    """The part that begins at byte `position`, and the position behind it.

    Raises:
        CorruptDataError: There is no whole and undamaged part.
    """
    head = data[position : position + 3]
    if len(head) < 3 or head[:2] != _MAGIC or head[2] & 0xF0 != _VERSION:
        raise CorruptDataError(f"No part begins at byte {position} of {len(data)}", remedy=_REMEDY)
    length, start = leb128.read_one(data, position + 3)
    stop = start + length
    if length > MOST_PART_BYTES or stop + _CRC_BYTES > len(data):
        raise CorruptDataError(f"The part at byte {position} is cut off", remedy=_REMEDY)
    if zlib.crc32(memoryview(data)[position:stop]) != int.from_bytes(data[stop : stop + _CRC_BYTES], "little"):
        raise CorruptDataError(f"The part at byte {position} does not match its checksum", remedy=_REMEDY)
    body = data[start:stop]
    first, place = leb128.read_one(body, KEY_BYTES)
    lengths: list[int] = []
    while True:
        value, place = leb128.read_one(body, place)
        if value == 0:
            break
        lengths.append(value)
    return Part(head[2] & 0x0F, body[:KEY_BYTES], first, cut_up(body, place, lengths)), stop + _CRC_BYTES


def cut_up(data: bytes, position: int, lengths: Sequence[int]) -> tuple[bytes, ...]:
    """Items of those lengths, one behind the other from byte `position` to the end.

    Raises:
        CorruptDataError: They do not end where the data end.
    """
    if position + sum(lengths) != len(data):
        raise CorruptDataError(
            f"{len(lengths)} items take {sum(lengths)} bytes, but {len(data) - position} are there", remedy=_REMEDY
        )
    stops = accumulate(lengths, initial=position)
    return tuple(data[start:stop] for start, stop in pairwise(stops))


def scan(data: bytes) -> Iterator[Part]:
    """Every whole part in bytes of which some may be missing or damaged; what lies between parts is passed over.

    Raises:
        CorruptDataError: At the end, where so much looks like a part and is none that no damage explains it: whoever
            made that may want to keep the ground busy, and what lies behind it was not looked at.
    """
    position, wasted = data.find(_MAGIC), 0
    while position >= 0:
        try:
            part, position = unpack_part(data, position)
        except CorruptDataError:
            wasted += _claimed(data, position)
            if wasted > _MOST_WASTED * len(data) + MOST_PART_BYTES:
                raise CorruptDataError(
                    f"{len(data)} bytes are full of beginnings of parts that are none, up to byte {position}",
                    remedy="Look at where they came from",
                ) from None
            position = data.find(_MAGIC, position + 1)
            continue
        yield part
        position = data.find(_MAGIC, position)


def _claimed(data: bytes, position: int) -> int:
    """Bytes that were looked at for a part that is none."""
    try:
        length, start = leb128.read_one(data, position + 3)
    except CorruptDataError:
        return 1
    return length if length <= MOST_PART_BYTES and start + length <= len(data) else 1
