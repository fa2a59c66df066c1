"""The way down and back: files, CFDP, space packets, transfer frames, channel coding, a lossy channel, and each undone.

Frames may be TM or AOS; whatever a channel makes of them, what is valid comes out and what is wrong is told by name.
"""

from taran_eo.wire.cfdp import Cfdp, File, Received
from taran_eo.wire.channel import Burst, Channel, transmit
from taran_eo.wire.coding import Decoded, decode, encode
from taran_eo.wire.finding import Finding
from taran_eo.wire.framing import Framing
from taran_eo.wire.multiplexing import Demultiplexer, frames, idle_frame
from taran_eo.wire.packets import Packet, packet, parse
from taran_eo.wire.settings import Wire
from taran_eo.wire.transfer import Reception, Transfer, exchange, receive, send
from taran_eo.wire.way import Account, Counts

__all__ = [
    "Account",
    "Burst",
    "Cfdp",
    "Channel",
    "Counts",
    "Decoded",
    "Demultiplexer",
    "File",
    "Finding",
    "Framing",
    "Packet",
    "Received",
    "Reception",
    "Transfer",
    "Wire",
    "decode",
    "encode",
    "exchange",
    "frames",
    "idle_frame",
    "packet",
    "parse",
    "receive",
    "send",
    "transmit",
]
