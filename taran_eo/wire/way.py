"""One direction of the wire: PDUs into bytes on the air, bytes back into PDUs, and the account of them."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from taran_eo.errors import CorruptDataError
from taran_eo.wire.cfdp import Cfdp
from taran_eo.wire.channel import Channel, transmit
from taran_eo.wire.coding import Decoded, decode, encode
from taran_eo.wire.finding import Finding
from taran_eo.wire.framing import Framing
from taran_eo.wire.multiplexing import Demultiplexer, frames
from taran_eo.wire.packets import PACKET_HEADER_BYTES, packet, parse
from taran_eo.wire.pdu import FileData, Pdu, pack

BURST_FRAMES = 512
"""Frames that are coded together: a good deal for vectors, half a megabyte of memory."""

_BURSTS_A_TIMER = 4
"""No burst lasts longer than this part of a timer: what is heard of it is heard when it is over."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was seen of frames on the way back.

    Attributes:
        frames: Frames found in the stream.
        corrected_symbols: Wrong symbols that Reed-Solomon corrected.
        lost_frames: Frames missing between others; none can tell how many are missing before the first or after
            the last.
        foreign: Frames, packets and PDUs that were meant for others.
        duplicates: Frames that came more than once.
    """

    frames: int
    corrected_symbols: int
    lost_frames: int
    foreign: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Account:
    """Where the bytes of one direction went; together they are all that was on the air.

    Attributes:
        file_bytes: Data of files, sent for the first time.
        resent_bytes: Data of files, sent again.
        pdu_bytes: Headers and CRCs of file data, and whole directives.
        packet_bytes: Headers of space packets.
        fill_bytes: Idle packets that fill the last frame of each burst.
        frame_bytes: Headers and error control fields of frames.
        coding_bytes: Markers and check symbols.
    """

    file_bytes: int
    resent_bytes: int
    pdu_bytes: int
    packet_bytes: int
    fill_bytes: int
    frame_bytes: int
    coding_bytes: int

    @property
    def total_bytes(self) -> int:
        """All bytes on the air."""
        return self.uncoded_bytes + self.coding_bytes

    @property
    def uncoded_bytes(self) -> int:
        """All bytes of frames, before markers and check symbols."""
        protocol = self.pdu_bytes + self.packet_bytes + self.fill_bytes + self.frame_bytes
        return self.file_bytes + self.resent_bytes + protocol


def segment_bytes(position: int, framing: Framing, settings: Cfdp) -> int:
    """The longest segment of a file for a packet that begins at `position` bytes of all packets.

    It ends with its frame, or, where that would be less than its own headers, with the next one.
    """
    headers = PACKET_HEADER_BYTES + settings.header_bytes
    fits = framing.data_bytes - position % framing.data_bytes - headers
    while fits < headers:
        fits += framing.data_bytes
    return fits if settings.segment_bytes is None else min(fits, settings.segment_bytes)


class Listener:
    """The way back of one direction: bytes to PDUs, what is wrong told and counted."""

    def __init__(self, framing: Framing, settings: Cfdp) -> None:
        self.findings: list[Finding] = []
        self._framing = framing
        self._settings = settings
        self._demultiplexer = Demultiplexer(framing)
        self._frames = 0
        self._corrected = 0
        self._packets = 0

    def pdus(self, stream: bytes) -> Iterator[bytes]:
        """The bytes of each PDU in a stream."""
        for decoded in decode(stream, self._framing):
            if not isinstance(decoded, Decoded):
                self.findings.append(decoded)
                continue
            self._frames += 1
            self._corrected += decoded.corrected
            for raw in self._demultiplexer.feed(decoded.frame):
                if isinstance(raw, Finding):
                    self.findings.append(raw)
                elif (data := self._data(raw)) is not None:
                    yield data

    def note(self, finding: Finding | None) -> None:
        """Keep what someone further up finds."""
        if finding is not None:
            self.findings.append(finding)

    def end(self) -> None:
        """Nothing more will come."""
        self.findings += self._demultiplexer.end()

    def counts(self) -> Counts:
        """What was seen of frames so far."""
        kinds = [finding.kind for finding in self.findings]
        lost = sum(finding.amount for finding in self.findings if finding.kind == "gap")
        return Counts(self._frames, self._corrected, lost, kinds.count("foreign"), kinds.count("duplicate"))

    def _data(self, raw: bytes) -> bytes | None:
        where = self._packets
        self._packets += 1
        try:
            parsed = parse(raw)
        except CorruptDataError as error:
            self.findings.append(Finding("packet", error.what, where))
            return None
        if parsed.apid != self._settings.apid:
            self.findings.append(Finding("foreign", f"A packet comes from application {parsed.apid}", where))
            return None
        return parsed.data


class Way:
    """One direction in simulated time: a transmitter, a channel, and the listener at its end."""

    def __init__(
        self,
        framing: Framing,
        settings: Cfdp,
        channel: Channel,
        rate_bit_s: float,
        delay_s: float,
        rng: np.random.Generator,
    ) -> None:
        self.listener = Listener(framing, settings)
        self._framing = framing
        self._settings = settings
        self._channel = channel
        self._frame_s = 8 * framing.cadu_bytes / rate_bit_s
        self._delay_s = delay_s
        self._rng = rng
        timer_s = min(settings.ack_s, settings.nak_s)
        self._burst_frames = int(min(max(timer_s / _BURSTS_A_TIMER / self._frame_s, 1), BURST_FRAMES))
        self._free_s = 0.0
        self._flying: deque[tuple[float, bytes]] = deque()
        self._frames = 0
        self._packets = 0
        self._pdu_bytes = 0
        self._data_bytes = 0

    def arrivals(self, now_s: float) -> Iterator[bytes]:
        """The PDUs that have arrived by now."""
        while self._flying and self._flying[0][0] <= now_s:
            yield from self.listener.pdus(self._flying.popleft()[1])

    def offer(self, now_s: float, next_pdu: Callable[[float, int], Pdu | None]) -> None:
        """Send bursts of what `next_pdu` has, unless the transmitter is busy."""
        while self._free_s <= now_s and (packets := self._burst(now_s, next_pdu)):
            made = list(frames(packets, self._framing, first_count=self._frames))
            self._frames += len(made)
            self._free_s = now_s + len(made) * self._frame_s
            stream = transmit(encode(made, self._framing), self._framing.cadu_bytes, self._channel, self._rng)
            self._flying.append((self._free_s + self._delay_s, stream))

    def _burst(self, now_s: float, next_pdu: Callable[[float, int], Pdu | None]) -> list[bytes]:
        """Packets for the frames of one burst, or fewer if there is no more to say."""
        zone = self._framing.data_bytes
        packets: list[bytes] = []
        position = 0
        while position < self._burst_frames * zone:
            leaves_s = now_s + (position // zone + 1) * self._frame_s
            pdu = next_pdu(leaves_s, segment_bytes(position, self._framing, self._settings))
            if pdu is None:
                break
            data = pack(pdu)
            self._pdu_bytes += len(data)
            self._data_bytes += len(pdu.data) if isinstance(pdu, FileData) else 0
            packets.append(packet(self._settings.apid, self._packets, data))
            self._packets += 1
            position += len(packets[-1])
        return packets

    def next_s(self, now_s: float) -> float | None:
        """When something arrives or the transmitter is free again, or None."""
        times = [time_s for time_s, _ in islice(self._flying, 1)]
        if self._free_s > now_s:
            times.append(self._free_s)
        return min(times, default=None)

    def account(self, resent_bytes: int) -> Account:
        """Where the bytes went."""
        framing = self._framing
        packet_bytes = PACKET_HEADER_BYTES * self._packets
        return Account(
            file_bytes=self._data_bytes - resent_bytes,
            resent_bytes=resent_bytes,
            pdu_bytes=self._pdu_bytes - self._data_bytes,
            packet_bytes=packet_bytes,
            fill_bytes=self._frames * framing.data_bytes - self._pdu_bytes - packet_bytes,
            frame_bytes=self._frames * (framing.frame_bytes - framing.data_bytes),
            coding_bytes=self._frames * (framing.cadu_bytes - framing.frame_bytes),
        )
