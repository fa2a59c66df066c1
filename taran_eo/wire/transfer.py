"""Files all the way down and back: CFDP in space packets in transfer frames in a coded stream, and each undone.

`send` and `receive` are the way down alone (class 1): everything is said once, and what is lost is named.
`exchange` has an uplink (class 2): both ends in simulated time, with every byte as it would be on the air.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from taran_eo.errors import ConfigError, CorruptDataError
from taran_eo.wire.cfdp import Cfdp, File, Received
from taran_eo.wire.channel import Channel, transmit
from taran_eo.wire.coding import Decoded, decode, encode
from taran_eo.wire.finding import Finding
from taran_eo.wire.frames import Demultiplexer, frames
from taran_eo.wire.framing import Framing
from taran_eo.wire.packets import PACKET_HEADER_BYTES, packet
from taran_eo.wire.packets import parse as parse_packet
from taran_eo.wire.pdu import FileData, Pdu, pack
from taran_eo.wire.receiver import Receiver
from taran_eo.wire.sender import Sender, Sending

_BURST_FRAMES = 512
"""Frames that are coded together: a good deal for vectors, half a megabyte of memory."""

_BURSTS_A_TIMER = 4
"""No burst lasts longer than this part of a timer: what is heard of it is heard when it is over."""

NEVER_STARTED = "nothing of it arrived"


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
class Reception:
    """What came back: files, in the order of their transactions, and all that was wrong on the way, by name."""

    files: tuple[Received, ...]
    findings: tuple[Finding, ...]
    counts: Counts


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


@dataclass(frozen=True, slots=True)
class Transfer:
    """What an exchange came to.

    Attributes:
        files: In the order in which they were sent.
        sender_says: How each transaction ended for the satellite, in the same order: empty, or the named failure.
            It may fail where the file is complete, when only the last acknowledgements were lost.
        findings: What was wrong on both ways.
        down: The bytes of the downlink.
        up: The bytes of the uplink.
        duration_s: Simulated time from the first byte to the last event.
        rounds: How often missing parts of one file were asked for, at most.
    """

    files: tuple[Received, ...]
    sender_says: tuple[str, ...]
    findings: tuple[Finding, ...]
    down: Account
    up: Account
    duration_s: float
    rounds: int

    @property
    def complete(self) -> bool:
        """Whether each file is."""
        return all(file.complete for file in self.files)


def send(files: Iterable[File], framing: Framing, settings: Cfdp | None = None) -> Iterator[bytes]:
    """The stream that carries files down, said once (class 1), in pieces of whole frames.

    Args:
        files: Taken one at a time.
        framing: Packets, frames and coding.
        settings: The protocol; those of `Cfdp` if not given.

    Raises:
        FormatError: A name or a file that the protocol or the settings cannot carry.
    """
    made = frames(_packets(files, framing, settings or Cfdp()), framing)
    while batch := list(islice(made, _BURST_FRAMES)):
        yield encode(batch, framing)


def receive(stream: bytes, framing: Framing, settings: Cfdp | None = None) -> Reception:
    """What `send` made, or what the channel left of it: files, complete or with their gaps named.

    Args:
        stream: Any bytes.
        framing: As it was sent.
        settings: As it was sent.
    """
    settings = settings or Cfdp()
    listener = _Listener(framing, settings)
    receiver = Receiver(settings)
    for data in listener.pdus(stream):
        listener.note(receiver.hear(0.0, data))
    listener.end()
    receiver.close()
    return Reception(tuple(receiver.received), tuple(listener.findings), listener.counts())


def exchange(
    files: Sequence[File],
    framing: Framing,
    down: Channel,
    up: Channel,
    *,
    rng: np.random.Generator,
    rate_bit_s: float = 10e6,
    uplink_rate_bit_s: float = 64e3,
    delay_s: float = 0.005,
    settings: Cfdp | None = None,
) -> Transfer:
    """Files down with acknowledgements up (class 2), both ends in simulated time, every byte made and read.

    Who has nothing to say is silent: no idle frames are sent or counted. The uplink has frames of the same kind
    in place of telecommand frames. What a burst of frames brings is heard when all of it has arrived.

    Args:
        files: All known when the contact begins.
        framing: Packets, frames and coding of both ways.
        down: What the downlink does to frames.
        up: What the uplink does to frames.
        rng: Chance, for both channels.
        rate_bit_s: Of the downlink, coded bits.
        uplink_rate_bit_s: Of the uplink, coded bits.
        delay_s: Of either way; the timers of the protocol must be longer than there and back.
        settings: The protocol; those of `Cfdp` if not given.

    Raises:
        ConfigError: A rate or a delay that makes no sense.
        FormatError: A name or a file that the protocol or the settings cannot carry.
    """
    settings = settings or Cfdp()
    if not (0 < rate_bit_s < np.inf and 0 < uplink_rate_bit_s < np.inf and 0 <= delay_s < np.inf):
        raise ConfigError(
            f"rate_bit_s = {rate_bit_s}, uplink_rate_bit_s = {uplink_rate_bit_s}, delay_s = {delay_s}",
            remedy="Give rates above 0 and a delay of at least 0",
        )
    sender, receiver = Sender(files, settings), Receiver(settings)
    downlink = _Way(framing, settings, down, rate_bit_s, delay_s, rng)
    uplink = _Way(framing, settings, up, uplink_rate_bit_s, delay_s, rng)
    now_s = 0.0
    while True:
        for data in downlink.arrivals(now_s):
            downlink.listener.note(receiver.hear(now_s, data))
        for data in uplink.arrivals(now_s):
            uplink.listener.note(sender.hear(now_s, data))
        sender.tick(now_s)
        receiver.tick(now_s)
        downlink.offer(now_s, sender.next)
        uplink.offer(now_s, lambda leaves_s, _: receiver.next(leaves_s))
        events = (sender.deadline_s, receiver.deadline_s, downlink.next_s(now_s), uplink.next_s(now_s))
        ahead_s = [event_s for event_s in events if event_s is not None]
        if not ahead_s:
            break
        now_s = min(ahead_s)
    receiver.close()
    arrived = {received.transaction: received for received in receiver.received}
    resent_bytes = sum(sending.resent_bytes for sending in sender.sendings)
    return Transfer(
        tuple(arrived.get(number, _nothing(number)) for number in range(len(files))),
        tuple(sending.why or "" for sending in sender.sendings),
        tuple(downlink.listener.findings + uplink.listener.findings),
        downlink.account(resent_bytes),
        uplink.account(0),
        now_s,
        receiver.rounds,
    )


def _nothing(number: int) -> Received:
    return Received(number, None, b"", (), None, complete=False, why=NEVER_STARTED)


def _packets(files: Iterable[File], framing: Framing, settings: Cfdp) -> Iterator[bytes]:
    """The packets of all files in class 1."""
    position = count = 0
    for number, file in enumerate(files):
        sending = Sending(file, settings, number, acknowledged=False)
        while sending.ready:
            made = packet(settings.apid, count, pack(sending.next(0.0, segment_bytes(position, framing, settings))))
            count += 1
            position += len(made)
            yield made


def segment_bytes(position: int, framing: Framing, settings: Cfdp) -> int:
    """The longest segment of a file for a packet that begins at `position` bytes of all packets.

    It ends with its frame, or, where that would be less than its own headers, with the next one.
    """
    headers = PACKET_HEADER_BYTES + settings.header_bytes
    fits = framing.data_bytes - position % framing.data_bytes - headers
    while fits < headers:
        fits += framing.data_bytes
    return fits if settings.segment_bytes is None else min(fits, settings.segment_bytes)


class _Listener:
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
        kinds = [finding.kind for finding in self.findings]
        lost = sum(finding.amount for finding in self.findings if finding.kind == "gap")
        return Counts(self._frames, self._corrected, lost, kinds.count("foreign"), kinds.count("duplicate"))

    def _data(self, raw: bytes) -> bytes | None:
        where = self._packets
        self._packets += 1
        try:
            parsed = parse_packet(raw)
        except CorruptDataError as error:
            self.findings.append(Finding("packet", error.what, where))
            return None
        if parsed.apid != self._settings.apid:
            self.findings.append(Finding("foreign", f"A packet comes from application {parsed.apid}", where))
            return None
        return parsed.data


class _Way:
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
        self.listener = _Listener(framing, settings)
        self._framing = framing
        self._settings = settings
        self._channel = channel
        self._frame_s = 8 * framing.cadu_bytes / rate_bit_s
        self._delay_s = delay_s
        self._rng = rng
        timer_s = min(settings.ack_s, settings.nak_s)
        self._burst_frames = int(min(max(timer_s / _BURSTS_A_TIMER / self._frame_s, 1), _BURST_FRAMES))
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
        """Send a burst of what `next_pdu` has, unless the transmitter is busy."""
        if now_s < self._free_s:
            return
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
        if not packets:
            return
        made = list(frames(packets, self._framing, first_count=self._frames))
        self._frames += len(made)
        self._free_s = now_s + len(made) * self._frame_s
        stream = transmit(encode(made, self._framing), self._framing.cadu_bytes, self._channel, self._rng)
        self._flying.append((self._free_s + self._delay_s, stream))

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
