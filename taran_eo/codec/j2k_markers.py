"""The markers of a JPEG 2000 codestream: written lean, read strictly.

A decoder allocates what the header asks for, and the standard lets a header ask for a lot: tiles, layers, precincts,
32 levels, overrides in each tile. Our encoders write one tile in one part with one header each, so nothing else is
read, and what the header says of the size is what the envelope says.

Source:
    ITU-T T.800 (ISO/IEC 15444-1), annex A: SIZ in A.5.1, COD in A.6.1, QCD in A.6.4, SOT in A.4.2; and for the CAP
    marker and code-block style of HTJ2K, ITU-T T.814 (ISO/IEC 15444-15), annex A.
"""

import struct

from taran_eo.codec.image_shape import corrupt

LONGEST = (1 << 31) - 1
"""Rows or columns that OpenJPEG counts, fewer than the 32 bits of the standard."""

_SOC, _END = b"\xff\x4f", b"\xff\xd9"
_SIZ, _CAP, _COD, _QCD, _COM, _SOT, _SOD = 0xFF51, 0xFF50, 0xFF52, 0xFF5C, 0xFF64, 0xFF90, 0xFF93
_HIGH_THROUGHPUT = 0x4000  # Rsiz: capabilities in a CAP segment
_PART_15 = b"\x00\x02\x00\x00"  # Pcap: part 15 only
_COMPONENTS_AT = 40  # Csiz, where SIZ follows SOC, as it must
_MOST_LEVELS = 5
"""Of the wavelet; our encoders choose 5, or fewer for small images."""
_BLOCKS = b"\x04\x04"  # code blocks of 64 x 64


def without_comments(stream: bytes) -> bytes:
    """The same codestream without the comments in which a library names itself: 27 to 41 bytes."""
    kept, place = stream[:2], 2
    while (marker := _number(stream, place)) != _SOT:
        stop = place + 2 + _number(stream, place + 2)
        if marker != _COM:
            kept += stream[place:stop]
        place = stop
    return kept + stream[place:]


def components(body: bytes) -> int | None:
    """What the header says of the number of components; None where it is too short."""
    return _number(body, _COMPONENTS_AT) if len(body) > _COMPONENTS_AT + 1 else None


def check(body: bytes, plane: tuple[int, int], components: int, bits: int, *, high_throughput: bool) -> None:
    """Refuse what our encoders would not write for such an image.

    Args:
        body: The codestream.
        plane: Rows and columns.
        components: 1, or 3 with the colour transform.
        bits: Bits of a sample in the codestream.
        high_throughput: Whether it is HTJ2K.

    Raises:
        CorruptDataError: It claims another image, or is built in another way.
    """
    rows, cols = plane
    size = struct.pack(
        ">H8IH", _HIGH_THROUGHPUT if high_throughput else 0, cols, rows, 0, 0, cols, rows, 0, 0, components
    )
    segments, place = _segments(body)
    if segments.get(_SIZ) != size + struct.pack("3B", bits - 1, 1, 1) * components:
        raise corrupt(f"A JPEG 2000 codestream is not one of {components} x {rows} x {cols} samples of {bits} bits")
    expected = {_SIZ, _COD, _QCD} | ({_CAP} if high_throughput else set())
    if set(segments) != expected or (high_throughput and not segments[_CAP].startswith(_PART_15)):
        raise corrupt("A JPEG 2000 codestream has other header segments than ours")
    _check_coding(segments[_COD], segments[_QCD], components, high_throughput=high_throughput)
    # Isot, Psot, TPsot, TNsot: tile 0, from here to the end marker, part 0 of 1.
    part = struct.pack(">HHHIBBH", _SOT, 10, 0, len(body) - place - len(_END), 0, 1, _SOD)
    if not body.startswith(part, place) or not body.endswith(_END):
        raise corrupt("A JPEG 2000 codestream is not one tile in one part")


def _check_coding(coding: bytes, steps: bytes, components: int, *, high_throughput: bool) -> None:
    """Refuse coding and quantization segments that our encoders would not write."""
    if len(coding) < 10 or len(steps) < 1 or coding[5] > _MOST_LEVELS:
        raise corrupt("A JPEG 2000 codestream has a coding segment that makes no sense")
    levels = coding[5]
    transformed = int(components == 3)
    if high_throughput:  # RPCL, one layer, reversible
        options = {b"\x00\x02\x00\x01\x00" + bytes([levels]) + _BLOCKS + b"\x40\x01"}
    else:  # reversible in LRCP order, or irreversible in RPCL order with precincts of 256 x 256
        head = bytes([0, 1, transformed, levels]) + _BLOCKS
        options = {b"\x00\x00" + head + b"\x00\x01", b"\x01\x02" + head + b"\x00\x00" + b"\x88" * (levels + 1)}
    bands = 3 * levels + 1
    width = 1 if coding[9] else 2  # T.800, table A.28: exponents, or steps of two bytes
    if coding not in options or len(steps) != 1 + width * bands or steps[0] & 0x1F != (0 if coding[9] else 2):
        raise corrupt("A JPEG 2000 codestream is coded in another way than ours")


def _segments(body: bytes) -> tuple[dict[int, bytes], int]:
    """The segments of the main header by marker, and where the tile part begins.

    Raises:
        CorruptDataError: No such header, or a segment twice.
    """
    if not body.startswith(_SOC):
        raise corrupt(f"A JPEG 2000 codestream begins with {body[:2].hex()}")
    segments: dict[int, bytes] = {}
    place = 2
    while (marker := _number(body, place)) != _SOT:
        length = _number(body, place + 2)
        if marker in segments or length < 2:
            raise corrupt(f"A JPEG 2000 codestream has a faulty segment {marker:04x}")
        segments[marker] = body[place + 4 : place + 2 + length]
        place += 2 + length
    return segments, place


def _number(body: bytes, place: int) -> int:
    """Two bytes.

    Raises:
        CorruptDataError: The codestream ends before.
    """
    if len(body) < place + 2:
        raise corrupt("A JPEG 2000 codestream ends within its header")
    return int.from_bytes(body[place : place + 2], "big")
