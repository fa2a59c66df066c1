"""Files all the way down and back: CFDP in space packets in transfer frames in a coded stream, and each undone.

`send` and `receive` are the way down alone (class 1): everything is said once, and what is lost is named.
`exchange` has an uplink (class 2): both ends in simulated time, with every byte as it would be on the air.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil

import numpy as np

from taran_eo.errors import ConfigError
from taran_eo.wire.cfdp import Cfdp, File, Received
from taran_eo.wire.channel import Channel
from taran_eo.wire.coding import encode
from taran_eo.wire.finding import Finding
from taran_eo.wire.framing import Framing
from taran_eo.wire.multiplexing import frames
from taran_eo.wire.packets import packet
from taran_eo.wire.pdu import pack
from taran_eo.wire.receiver import Receiver
from taran_eo.wire.sender import Sender, Sending
from taran_eo.wire.way import BURST_FRAMES, Account, Counts, Listener, Way, segment_bytes

LOOKS_A_TIMER = 10
"""How often both ends look at their timers while the shortest one runs."""

NEVER_STARTED = "nothing of it arrived"


@dataclass(frozen=True, slots=True)
class Reception:
    """What came back: files, in the order of their transactions, and all that was wrong on the way, by name."""

    files: tuple[Received, ...]
    findings: tuple[Finding, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Transfer:
    """What an exchange came to.

    Attributes:
        files: In the order in which they were sent.
        sender_says: How each transaction ended for the satellite, in the same order: empty, or the named failure.
            It may fail where the file is complete, when only the last acknowledgements were lost.
        findings: What was wrong on both ways.
        down: Bytes of the downlink.
        up: Bytes of the uplink.
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
    while batch := list(islice(made, BURST_FRAMES)):
        yield encode(batch, framing)


def receive(stream: bytes, framing: Framing, settings: Cfdp | None = None) -> Reception:
    """What `send` made, or what the channel left of it: files, complete or with their gaps named.

    Args:
        stream: Any bytes.
        framing: As it was sent.
        settings: As it was sent.
    """
    settings = settings or Cfdp()
    listener = Listener(framing, settings)
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
    in place of telecommand frames. What a burst of frames brings is heard when all of it has arrived, and timers are
    looked at ten times while the shortest one runs.

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
    downlink = Way(framing, settings, down, rate_bit_s, delay_s, rng)
    uplink = Way(framing, settings, up, uplink_rate_bit_s, delay_s, rng)
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
        timers = (_looked_at_s(end.deadline_s, settings) for end in (sender, receiver))
        events = (*timers, downlink.next_s(now_s), uplink.next_s(now_s))
        ahead_s = [event_s for event_s in events if event_s is not None]
        if not ahead_s:
            break
        now_s = min(ahead_s)
    receiver.close()
    arrived = {received.transaction: received for received in receiver.received}
    resent_bytes = sum(sending.resent_bytes for sending in sender.sendings)
    return Transfer(
        tuple(arrived.get(number, _nothing(number)) for number in range(len(files))),
        tuple("not finished" if sending.why is None else sending.why for sending in sender.sendings),
        tuple(downlink.listener.findings + uplink.listener.findings),
        downlink.account(resent_bytes),
        uplink.account(0),
        now_s,
        receiver.rounds,
    )


def _looked_at_s(deadline_s: float | None, settings: Cfdp) -> float | None:
    """When a timer is looked at that runs out at `deadline_s`: with others, so that what they bring shares frames."""
    if deadline_s is None:
        return None
    grain_s = min(settings.ack_s, settings.nak_s) / LOOKS_A_TIMER
    return max(deadline_s, ceil(deadline_s / grain_s) * grain_s)


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
