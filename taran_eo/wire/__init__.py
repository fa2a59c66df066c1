"""The way down and back: files, CFDP, space packets, transfer frames, channel coding, a lossy channel, and each undone.

Frames may be TM or AOS; whatever a channel makes of them, what is valid comes out and what is wrong is told by name.
"""

from taran_eo.wire.channel import Burst, Channel, transmit
from taran_eo.wire.coding import Decoded, decode, encode
from taran_eo.wire.finding import Finding
from taran_eo.wire.frames import Demultiplexer, frames, idle_frame
from taran_eo.wire.framing import Framing
from taran_eo.wire.packets import Packet, packet, parse

__all__ = [
    "Burst",
    "Channel",
    "Decoded",
    "Demultiplexer",
    "Finding",
    "Framing",
    "Packet",
    "decode",
    "encode",
    "frames",
    "idle_frame",
    "packet",
    "parse",
    "transmit",
]
