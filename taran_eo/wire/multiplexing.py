"""Packets into transfer frames and out again: TM (CCSDS 132.0-B) and AOS (CCSDS 732.0-B), one virtual channel.

Packets follow each other without a gap from frame to frame. In each frame a first header pointer says where the first
packet begins that begins there: whoever lost a frame takes up the next packet behind it.
"""

from binascii import crc_hqx
from collections import deque
from collections.abc import Iterable, Iterator

from taran_eo.errors import CorruptDataError
from taran_eo.wire.finding import Finding, FindingKind
from taran_eo.wire.framing import ERROR_CONTROL_BYTES, HEADER_BYTES, Framing
from taran_eo.wire.packets import PACKET_HEADER_BYTES, SHORTEST_PACKET_BYTES, idle_packet, is_idle, packet_bytes

NO_START = 0x7FF
"""The first header pointer of a frame in which no packet begins (CCSDS 132.0-B and 732.0-B)."""

ONLY_IDLE = 0x7FE
"""The first header pointer of a frame without any packets."""

AOS_VERSION = 1
"""Transfer frame version number of AOS; that of TM is 0."""

AOS_IDLE_CHANNEL = 63
"""The virtual channel of AOS frames that hold nothing (CCSDS 732.0-B)."""

AOS_UNUSED = 0xB0
"""Bits of the signalling field of AOS that we leave 0: the replay flag, and the two behind the one for the use of the
count's cycle, spare until 732.0-B-3. The cycle itself would do no harm."""

TM_STATUS = 0b00011 << 11
"""The data field status of a TM frame of packets: no secondary header, packets in order, segment length 11."""

REMEMBERED = 16
"""How many of the last frames a receiver keeps, to know one that it gets a second time."""

_ERROR_CONTROL_SEED = 0xFFFF
"""The preset of the CRC, x^16 + x^12 + x^5 + 1 (CCSDS 132.0-B, frame error control field)."""


def frames(packets: Iterable[bytes], framing: Framing, *, first_count: int = 0) -> Iterator[bytes]:
    """The frames that carry `packets`, the last one filled up with an idle packet.

    Where fewer bytes are left than an idle packet takes, it goes on through one frame more.

    Args:
        packets: Whole packets, as `packet` makes them.
        framing: How.
        first_count: The running number of the first frame; the wire carries it modulo `framing.counts`. With one
            virtual channel, the master channel of TM counts alike.

    Raises:
        CorruptDataError: A packet whose header contradicts its length: it would take others with it.
    """
    zone = framing.data_bytes
    pending = bytearray()
    first: int | None = None  # where in `pending` the first packet begins that begins there
    count = first_count
    for packet in packets:
        _check(packet)
        if first is None:
            first = len(pending)
        pending += packet
        whole = len(pending) - len(pending) % zone
        for start in range(0, whole, zone):
            yield _frame(framing, count, NO_START if first is None else first, pending[start : start + zone])
            first = None
            count += 1
        del pending[:whole]
    if not pending:
        return
    left = zone - len(pending)
    if first is None:
        first = len(pending)
    pending += idle_packet(left if left >= SHORTEST_PACKET_BYTES else left + zone)
    for start in range(0, len(pending), zone):
        yield _frame(framing, count, NO_START if first is None else first, pending[start : start + zone])
        first = None
        count += 1


def idle_frame(framing: Framing, count: int) -> bytes:
    """A frame without packets, for when there is nothing to send; it counts like any other."""
    return _frame(framing, count, ONLY_IDLE, bytes(framing.data_bytes))


def frame_is_sound(frame: bytes) -> bool:
    """Whether a frame agrees with the frame error control field at its end."""
    return crc_hqx(frame, _ERROR_CONTROL_SEED) == 0


def _check(packet: bytes) -> None:
    claim = packet_bytes(packet) if len(packet) >= SHORTEST_PACKET_BYTES else None
    if claim != len(packet):
        raise CorruptDataError(
            f"A packet of {len(packet)} bytes claims {'no length' if claim is None else claim} in its header",
            remedy="Make packets with taran_eo.wire.packet",
            size_bytes=len(packet),
        )


def _address(framing: Framing) -> bytes:
    """The first two bytes of each frame: version, spacecraft, virtual channel; and in TM no operational control."""
    if framing.kind == "tm":
        return (framing.spacecraft << 4 | framing.virtual_channel << 1).to_bytes(2, "big")
    return (AOS_VERSION << 14 | framing.spacecraft << 6 | framing.virtual_channel).to_bytes(2, "big")


def _frame(framing: Framing, count: int, first: int, data: bytes | bytearray) -> bytes:
    count %= framing.counts
    if framing.kind == "tm":
        header = bytes((count, count)) + (TM_STATUS | first).to_bytes(2, "big")
    else:
        # No replay, no use of the cycle of the count; then the header of the packet zone.
        header = count.to_bytes(3, "big") + b"\x00" + first.to_bytes(2, "big")
    frame = _address(framing) + header + data
    return frame + crc_hqx(frame, _ERROR_CONTROL_SEED).to_bytes(2, "big") if framing.fecf else frame


class Demultiplexer:
    """Takes the packets out of frames as they arrive, and tells what is wrong with them.

    Whatever is lost, each packet that lies wholly in undamaged frames that follow each other comes out. The counts
    of TM repeat after 256 frames: a loss of just as many is not seen by the count, but mostly by where packets begin;
    and an identical frame that comes back 240 or more frames later passes for a duplicate. Packets of fill are left
    out.
    """

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._channels = {framing.virtual_channel} | ({AOS_IDLE_CHANNEL} if framing.kind == "aos" else set())
        self._recent: deque[bytes] = deque(maxlen=REMEMBERED)
        self._fed = 0
        self._expected: int | None = None
        self._in_step = False  # whether the next frame's data continue `_pending`
        self._pending = bytearray()

    def feed(self, frame: bytes) -> list[bytes | Finding]:
        """The packets that this frame completes, in order, and what is wrong."""
        self._fed += 1
        if refusal := self._refusal(frame):
            return [refusal]
        tm = self._framing.kind == "tm"
        header = int.from_bytes(frame[:8], "big")
        if not tm and frame[1] & 0x3F == AOS_IDLE_CHANNEL:
            return []
        count = header >> 32 & 0xFF if tm else header >> 24 & 0xFFFFFF
        out: list[bytes | Finding] = []
        if self._expected is not None and count != self._expected:
            missing = (count - self._expected) % self._framing.counts
            back = self._framing.counts - missing
            if back <= REMEMBERED and frame in self._recent:
                return [self._finding("duplicate", f"The frame with the count {count} came once more")]
            if back <= (REMEMBERED if tm else self._framing.counts // 2):
                # A long gap in a short count looks the same: what the frame holds is used either way.
                what = f"The frame with the count {count} came {back} late"
                out.append(self._finding("late", f"{what}, or {missing} frames are missing before it"))
            else:
                what = f"{missing} frames are missing before the one with the count {count}"
                out.append(self._finding("gap", what, missing))
            self._out_of_step()
        self._recent.append(frame)
        self._expected = (count + 1) % self._framing.counts
        end = self._framing.frame_bytes - ERROR_CONTROL_BYTES * self._framing.fecf
        data = frame[end - self._framing.data_bytes : end]
        out += self._packets(header >> 16 & 0x7FF if tm else header & 0x7FF, data)
        return out

    def end(self) -> list[Finding]:
        """What is wrong when no frame follows any more."""
        cut = len(self._pending)
        self._out_of_step()
        return [self._finding("packet", f"The last packet is cut off after {cut} bytes")] if cut else []

    def _refusal(self, frame: bytes) -> Finding | None:
        """Why a frame is none of ours, or None."""
        framing = self._framing
        if len(frame) != framing.frame_bytes:
            return self._finding("truncated", f"A frame has {len(frame)} bytes instead of {framing.frame_bytes}")
        if framing.fecf and not frame_is_sound(frame):
            return self._finding("damaged", "A frame does not match its error control field")
        address = int.from_bytes(frame[:2], "big")
        if framing.kind == "tm":
            version, spacecraft, channel = address >> 14, address >> 4 & 0x3FF, address >> 1 & 7
            plain = not address & 1 and (frame[4] << 8) & 0xF800 == TM_STATUS
            ours = version == 0
        else:
            version, spacecraft, channel = address >> 14, address >> 6 & 0xFF, address & 0x3F
            plain = not (frame[5] & AOS_UNUSED or frame[HEADER_BYTES] & 0xF8) or channel == AOS_IDLE_CHANNEL
            ours = version == AOS_VERSION
        if not ours or spacecraft != framing.spacecraft or channel not in self._channels:
            what = f"A frame of version {version} comes from spacecraft {spacecraft}, virtual channel {channel}"
            return self._finding("foreign", what)
        if not plain:
            return self._finding("layout", "A frame has other fields than those of a frame of packets")
        return None

    def _finding(self, kind: FindingKind, what: str, amount: int = 1) -> Finding:
        return Finding(kind, what, self._fed - 1, amount)

    def _out_of_step(self) -> None:
        self._in_step = False
        self._pending.clear()

    def _packets(self, first: int, data: bytes) -> Iterator[bytes | Finding]:
        """The packets that the data of the next frame complete."""
        if first == ONLY_IDLE:
            return
        if first >= len(data) and first != NO_START:
            self._out_of_step()
            yield self._finding("damaged", f"A frame says that a packet begins at byte {first} of its {len(data)}")
            return
        if self._in_step:
            yield from self._continued(first, data)
        if first == NO_START:
            return
        self._in_step = True
        while first < len(data):
            header = data[first : first + PACKET_HEADER_BYTES]
            if len(header) < PACKET_HEADER_BYTES:
                self._pending += header
                return
            size_bytes = packet_bytes(header)
            if size_bytes is None:
                self._out_of_step()
                yield self._finding("packet", f"At byte {first} of a frame's data no packet begins")
                return
            packet = data[first : first + size_bytes]
            if len(packet) < size_bytes:
                self._pending += packet
            elif not is_idle(packet):
                yield packet
            first += size_bytes

    def _continued(self, first: int, data: bytes) -> Iterator[bytes | Finding]:
        """The pending packet, if `data`, in which the next one begins at `first`, end it where its length says."""
        before = len(self._pending)
        self._pending += data if first == NO_START else data[:first]
        found = len(self._pending)
        claim = packet_bytes(self._pending) if found >= PACKET_HEADER_BYTES else None
        if before and claim == found:
            packet = bytes(self._pending)
            self._pending.clear()
            if not is_idle(packet):
                yield packet
        elif before and claim is not None and claim > found and first == NO_START:
            return
        elif found:
            self._out_of_step()
            yield self._finding("packet", "A packet does not end where its length says, and is left out")
