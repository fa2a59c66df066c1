"""What is wrong on the way back: told by name, never raised, so that nothing valid behind it is lost."""

from dataclasses import dataclass
from typing import Literal

FindingKind = Literal[
    "garbage",
    "uncorrectable",
    "truncated",
    "damaged",
    "foreign",
    "layout",
    "gap",
    "duplicate",
    "late",
    "packet",
]
"""In the order of the way back: `decode` tells the first two, a `Demultiplexer` the others; what reads packets and the
ends of CFDP also tell some of the last.

- garbage: bytes that belong to no frame;
- uncorrectable: a block with more wrong symbols than the code corrects;
- truncated: a frame of another length;
- damaged: a frame whose error control field or header contradicts its bytes;
- foreign: a frame of another spacecraft or virtual channel; a packet of another application, a PDU for another entity;
- layout: a frame with fields that we do not send;
- gap: frames that are missing before this one;
- duplicate: a frame that was there before;
- late: a frame that came after its successors; a PDU of a transaction that nobody knows any more;
- packet: a packet or a PDU that was cut off, that is none, or that contradicts what was heard before.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One anomaly.

    Attributes:
        kind: Which, for programs.
        what: Which, in words, for people.
        where: From `decode`, the position in bytes in its stream; from a `Demultiplexer`, which of the frames fed
            to it, from 0; from what reads packets or PDUs, which of those.
        amount: How many it concerns: bytes of garbage, missing frames in a gap; else one.
    """

    kind: FindingKind
    what: str
    where: int
    amount: int = 1
