"""Synchronization and channel coding (CCSDS 131.0-B): frames into a stream of bytes, and found and mended again.

On the way down a frame gets its Reed-Solomon check symbols, then both are randomized, then a marker that is not
randomized goes before them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taran_eo.wire.finding import Finding
from taran_eo.wire.framing import Framing


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


def encode(frames: Sequence[bytes], framing: Framing) -> bytes:
    """The stream of channel access data units that carries `frames`."""
    raise NotImplementedError


def decode(stream: bytes, framing: Framing) -> Iterator[Decoded | Finding]:
    """The frames in a stream of bytes, and what is wrong with it, in the order of the stream."""
    raise NotImplementedError
