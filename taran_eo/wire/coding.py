"""Synchronization and channel coding (CCSDS 131.0-B): frames into a stream of bytes, and found and mended again.

On the way down a frame gets its Reed-Solomon check symbols, then both are randomized, then a marker that is not
randomized goes before them. On the way back the stream may begin anywhere, and bytes of it may be missing, wrong or too
many, but it is in step with the bytes: whoever finds the bits finds the bytes as well.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from taran_eo.errors import FormatError
from taran_eo.wire.finding import Finding
from taran_eo.wire.framing import MARKER, Framing
from taran_eo.wire.multiplexing import frame_is_sound
from taran_eo.wire.reed_solomon import MOST_ERRORS, check_symbols, correct

MARKER_TOLERANCE = 3
"""Wrong bits that a marker may have to be looked behind; random bytes have one such in 770,000."""

_BATCH = 512
"""Frames that are coded together."""

_SEARCHED = 1 << 20
"""Bytes that are searched for markers together."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame out of the stream.

    Attributes:
        frame: Its bytes, corrected.
        where: Position of its marker in the stream, in bytes.
        corrected: Symbols that were wrong, those of the check symbols included.
        marker_errors: Bits that were wrong in the marker.
    """

    frame: bytes
    where: int
    corrected: int
    marker_errors: int


def _sequence() -> NDArray[np.uint8]:
    bits = [1] * 8
    while len(bits) < 8 * 255:
        bits.append(bits[-1] ^ bits[-3] ^ bits[-5] ^ bits[-8])
    return np.packbits(np.array(bits, dtype=np.uint8))


RANDOM = _sequence()
"""The randomizer's sequence, uint8[255], which begins again behind its end: x^8 + x^7 + x^5 + x^3 + 1 from all ones on.

Source: CCSDS 131.0-B, pseudo-randomizer; the one that all its issues have. The longer one of 131071 bits, which issue 5
adds, is not spoken here. The period is 255 bits, so that of whole bytes is 255 bytes.
"""


def encode(frames: Sequence[bytes], framing: Framing) -> bytes:
    """The stream of channel access data units that carries `frames`.

    Raises:
        FormatError: A frame of another length.
    """
    for frame in frames:
        if len(frame) != framing.frame_bytes:
            raise FormatError(
                f"A frame has {len(frame)} bytes, and frames of {framing.frame_bytes} are sent",
                remedy="Make frames with the framing that they are sent with",
                frame_bytes=len(frame),
            )
    noise = _noise(framing)
    units = np.empty((len(frames), framing.cadu_bytes), dtype=np.uint8)
    units[:, : len(MARKER)] = np.frombuffer(MARKER, dtype=np.uint8)
    for start in range(0, len(frames), _BATCH):
        batch = frames[start : start + _BATCH]
        data = np.frombuffer(b"".join(batch), dtype=np.uint8).reshape(len(batch), -1)
        checks = _merged(check_symbols(_split(data, framing)), len(batch)) if framing.interleaving else data[:, :0]
        units[start : start + _BATCH, len(MARKER) :] = np.hstack([data, checks]) ^ noise
    return units.tobytes()


def decode(stream: bytes, framing: Framing) -> Iterator[Decoded | Finding]:
    """The frames in a stream of bytes, and what is wrong with it, in the order of the stream.

    A frame is looked for behind whatever resembles a marker, and, where frames were found before or after, in step with
    them, even if its marker does not resemble one any more. It is believed when the Reed-Solomon code and its error
    control field say so, as far as it has them. So a marker that is in the data by chance does no harm, and a damaged
    frame none to its neighbours. Without Reed-Solomon a frame that nothing confirms still comes out if it is where one
    is expected: a `Demultiplexer` judges it.

    Two frames may overlap a little: where the last bytes of the first are missing, and the code made up for them.

    Args:
        stream: What was received.
        framing: How it was sent.
    """
    received = np.frombuffer(stream, dtype=np.uint8)
    position = 0  # behind the last frame that was found
    unsound: list[int] = []  # marks since then with no sound frame behind them
    for found, sound in _looked_up(received, _marks(received, framing), framing):
        if not sound:
            unsound.append(found.where)
        elif found.where >= position - _mendable(framing):
            yield from _between(received, position, found.where, unsound, framing)
            yield found
            position = found.where + framing.cadu_bytes
            unsound = []
    yield from _between(received, position, received.size, unsound, framing)


def _between(
    received: NDArray[np.uint8], begin: int, end: int, marked: Iterable[int], framing: Framing
) -> Iterator[Decoded | Finding]:
    """What is in a stretch of the stream; `marked` are the places of markers there, behind which no frame is sound."""
    size_bytes, cadu_bytes = end - begin, framing.cadu_bytes
    if size_bytes < cadu_bytes:
        yield from _garbage(begin, end)
        return
    unsound = {where for where in marked if begin <= where <= end - cadu_bytes}
    in_step = {*range(begin, end - cadu_bytes + 1, cadu_bytes), *range(end - cadu_bytes, begin - 1, -cadu_bytes)}
    # Where whole frames fit between two that were found, frames it were, whatever became of their markers.
    fits = size_bytes % cadu_bytes == 0 and size_bytes < received.size
    found: dict[int, Decoded] = {}
    for frame, sound in _looked_up(received, sorted(in_step - unsound), framing):
        if sound:
            found[frame.where] = frame
        elif fits:
            unsound.add(frame.where)
    starts = _apart(found, cadu_bytes - _mendable(framing))

    def is_free(where: int) -> bool:
        after = bisect_right(starts, where - cadu_bytes)
        return after == len(starts) or starts[after] >= where + cadu_bytes

    lost = _apart((where for where in sorted(unsound) if is_free(where)), cadu_bytes)
    if not framing.interleaving:
        found |= {frame.where: frame for frame, _ in _looked_up(received, lost, framing)}
    position = begin
    for where in sorted(starts + lost):
        yield from _garbage(position, where)
        position = where + cadu_bytes
        if where in found:
            yield found[where]
        else:
            what = f"The frame at byte {where} has more errors than can be corrected"
            yield Finding("uncorrectable", what, where)
    yield from _garbage(position, end)


def _mendable(framing: Framing) -> int:
    """How many bytes at the end of a frame may belong to the next one, so that both can be had."""
    return MOST_ERRORS * framing.interleaving


def _apart(places: Iterable[int], distance_bytes: int) -> list[int]:
    """Of places in the order of the stream, those that are so far behind the one before."""
    kept: list[int] = []
    for place in places:
        if not kept or place >= kept[-1] + distance_bytes:
            kept.append(place)
    return kept


def _garbage(begin: int, end: int) -> Iterator[Finding]:
    if begin < end:
        yield Finding(
            "garbage", f"{end - begin} bytes from byte {begin} on belong to no whole frame", begin, end - begin
        )


def _noise(framing: Framing) -> NDArray[np.uint8]:
    """What is added to a frame and its check symbols."""
    size_bytes = framing.frame_bytes + framing.check_bytes
    return np.resize(RANDOM, size_bytes) if framing.randomize else np.zeros(size_bytes, dtype=np.uint8)


def _split(blocks: NDArray[np.uint8], framing: Framing) -> NDArray[np.uint8]:
    """Blocks uint8[blocks, symbols] as their interleaved codewords, uint8[blocks * interleaving, symbols of each]."""
    depth = framing.interleaving
    return blocks.reshape(len(blocks), -1, depth).transpose(0, 2, 1).reshape(len(blocks) * depth, -1)


def _merged(codewords: NDArray[np.uint8], blocks: int) -> NDArray[np.uint8]:
    """What `_split` split."""
    return codewords.reshape(blocks, -1, codewords.shape[1]).transpose(0, 2, 1).reshape(blocks, -1)


def _marker_errors(received: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How many bits differ from a marker that begins at each byte, uint8[bytes - 3]."""
    behind = received.size - len(MARKER) + 1
    return sum(
        (np.bitwise_count(received[place : place + behind] ^ np.uint8(symbol)) for place, symbol in enumerate(MARKER)),
        start=np.zeros(behind, dtype=np.uint8),
    )


def _marks(received: NDArray[np.uint8], framing: Framing) -> Iterator[int]:
    """Where in the stream a marker seems to be that has room for a frame behind it."""
    room = received.size - framing.cadu_bytes + 1
    for start in range(0, room, _SEARCHED):
        searched = received[start : min(start + _SEARCHED, room) + len(MARKER) - 1]
        yield from (start + np.flatnonzero(_marker_errors(searched) <= MARKER_TOLERANCE)).tolist()


def _looked_up(received: NDArray[np.uint8], places: Iterable[int], framing: Framing) -> Iterator[tuple[Decoded, bool]]:
    """What is found at places that have room for a frame, corrected as far as that goes, and whether to believe it."""
    noise = _noise(framing)
    marker = np.frombuffer(MARKER, dtype=np.uint8)
    at = np.fromiter(places, dtype=np.int64)
    for start in range(0, at.size, _BATCH):
        batch = at[start : start + _BATCH]
        units = sliding_window_view(received, framing.cadu_bytes)[batch]
        marker_errors = np.bitwise_count(units[:, : len(MARKER)] ^ marker).sum(axis=1)
        blocks = units[:, len(MARKER) :] ^ noise
        corrected = np.zeros(batch.size, dtype=np.int64)
        valid: NDArray[np.bool_] = np.ones(batch.size, dtype=bool)
        if framing.interleaving:
            result = correct(_split(blocks, framing))
            blocks = _merged(result.codewords, batch.size)
            corrected = result.errors.reshape(batch.size, -1).sum(axis=1)
            valid = np.all(result.valid.reshape(batch.size, -1), axis=1)
        frames = blocks[:, : framing.frame_bytes]
        for index, (frame, where) in enumerate(zip(frames, batch.tolist(), strict=True)):
            decoded = Decoded(frame.tobytes(), where, int(corrected[index]), int(marker_errors[index]))
            yield decoded, bool(valid[index]) and (not framing.fecf or frame_is_sound(decoded.frame))
