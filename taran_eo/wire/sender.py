"""The sending end of CFDP: one transaction for each file, in simulated time.

Nothing here knows a clock or a radio: the time is told with every call, and a sender says what it would send
next when it is asked. In class 2 each transaction ends when the receiver has said that it is finished, or by
name when it has not been heard for too long.

Source: CCSDS 727.0-B-5, sections 4.6 and 4.7, with deferred lost segment procedures at the receiver.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence

from spacepackets.cfdp.defs import ConditionCode

from taran_eo.errors import CorruptDataError, FormatError
from taran_eo.wire.cfdp import CHECKSUMS, Cfdp, File, checksum, named, union
from taran_eo.wire.finding import Finding
from taran_eo.wire.pdu import Ack, EndOfFile, FileData, Finished, Metadata, Nak, Pdu, Route, goes_to_sender, parse
from taran_eo.wire.timers import Timers

LONGEST_NAME_BYTES = 255
"""What a length-value object holds: 727.0-B-5, 5.1."""


class Sending:
    """One file on its way.

    Args:
        file: The file.
        settings: The protocol.
        number: Of the transaction.
        acknowledged: Class 2, which repeats what was lost, or class 1, which says everything once.

    Attributes:
        why: None while under way, empty when delivered (in class 1, when sent), else the named failure.
        deadline_s: When `tick` has something to do, or None.
        resent_bytes: File data sent more than once.

    Raises:
        FormatError: A name or a file that the protocol or the settings cannot carry.
    """

    def __init__(self, file: File, settings: Cfdp, number: int, *, acknowledged: bool) -> None:
        _check(file, settings, number)
        self.route = Route(
            settings.source,
            settings.destination,
            number,
            acknowledged,
            settings.crc,
            settings.entity_bytes,
            settings.number_bytes,
        )
        self.why: str | None = None
        self.deadline_s: float | None = None
        self.resent_bytes = 0
        self._file = file
        self._settings = settings
        self._kind = CHECKSUMS[settings.checksum]
        self._condition = ConditionCode.NO_ERROR
        # What is to be said, in this order: an acknowledgement, the metadata, ranges of the file, its end.
        self._answer: Ack | None = None
        self._metadata = True
        self._ranges = deque(union([(0, len(file.data))]))
        self._end = True
        self._sent_bytes = 0
        self._heard_end = False
        self._tries = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        return self._answer is not None or self._metadata or bool(self._ranges) or self._end

    def next(self, now_s: float, segment_bytes: int) -> Pdu:
        """What to send next; to be asked only while `ready`.

        Args:
            now_s: When it leaves; the timers of what needs an answer run from here.
            segment_bytes: The longest segment of file data that is wanted, at least 1.
        """
        pdu = self._next(segment_bytes)
        if not self.ready and self.why is None:
            if not self.route.acknowledged:
                self.why = ""
            elif self._heard_end:
                self.deadline_s = now_s + self._settings.inactivity_s
            else:
                self.deadline_s = now_s + self._settings.ack_s
        return pdu

    def _next(self, segment_bytes: int) -> Pdu:
        data = self._file.data
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return answer
        if self._metadata:
            self._metadata = False
            return Metadata(self.route, self._file.name, len(data), self._kind)
        if self._ranges:
            start, stop = self._ranges.popleft()
            cut = min(start + segment_bytes, stop)
            if cut < stop:
                self._ranges.appendleft((cut, stop))
            self.resent_bytes += max(min(cut, self._sent_bytes) - start, 0)
            self._sent_bytes = max(cut, self._sent_bytes)
            return FileData(self.route, start, data[start:cut])
        self._end = False
        value = checksum(data, self._kind) or 0
        return EndOfFile(self.route, self._condition, value, len(data))

    def hear(self, now_s: float, pdu: Ack | Finished | Nak) -> None:
        """Take what the receiver says; what comes twice or too late does no harm."""
        if isinstance(pdu, Finished):
            self._answer = Ack(self.route, "finished", pdu.condition)
            if self.why is None:
                ok = pdu.condition is ConditionCode.NO_ERROR and pdu.complete
                self._stop("" if ok else f"{named(pdu.condition)}, says the receiver")
        elif self.why is None:
            self._tries = 0
            if isinstance(pdu, Nak):
                size = len(self._file.data)
                asked = [(start, min(stop, size)) for start, stop in pdu.missing if start < size]
                self._ranges = deque(union([*self._ranges, *asked]))
                self._metadata |= (0, 0) in pdu.missing
            else:
                self._heard_end = True
            self.deadline_s = None if self.ready else now_s + self._settings.inactivity_s

    def tick(self, now_s: float) -> None:
        """Let time pass: repeat an end of file that was not acknowledged, or give up."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return
        self.deadline_s = None
        self._tries += 1
        if self._heard_end:
            self._give_up(ConditionCode.INACTIVITY_DETECTED)
        elif self._tries > self._settings.limit:
            self._give_up(ConditionCode.POSITIVE_ACK_LIMIT_REACHED)
        else:
            self._end = True

    def _give_up(self, condition: ConditionCode) -> None:
        """End without the receiver, and tell it once."""
        self._stop(named(condition))
        self._condition, self._end = condition, True

    def _stop(self, why: str) -> None:
        self.why = why
        self.deadline_s = None
        self._metadata = self._end = False
        self._ranges.clear()


class Sender:
    """The sending entity: files in acknowledged transactions, those that are asked for again before new ones.

    Args:
        files: What to send, each in a transaction of its own, with numbers from 0.
        settings: The protocol.

    Raises:
        FormatError: As for `Sending`.
    """

    def __init__(self, files: Sequence[File], settings: Cfdp) -> None:
        self.sendings = [Sending(file, settings, number, acknowledged=True) for number, file in enumerate(files)]
        self._ready = OrderedDict(enumerate(self.sendings))
        self._timers = Timers()
        self._heard = 0

    @property
    def deadline_s(self) -> float | None:
        """When `tick` has something to do, or None."""
        return self._timers.next_s()

    def next(self, now_s: float, segment_bytes: int) -> Pdu | None:
        """What to send next, or None; as `Sending.next`."""
        return self._timers.first(self._ready, lambda sending: sending.next(now_s, segment_bytes))

    def hear(self, now_s: float, data: bytes) -> Finding | None:
        """Take the bytes of a PDU from the receiver; what cannot be used of them is told.

        Args:
            now_s: When they were heard.
            data: What a space packet carried.
        """
        where = self._heard
        self._heard += 1
        try:
            pdu = parse(data)
        except CorruptDataError as error:
            return Finding("packet", error.what, where)
        number = pdu.route.number
        known = number < len(self.sendings) and pdu.route == self.sendings[number].route
        if not known or not goes_to_sender(pdu):
            return Finding("foreign", f"a {type(pdu).__name__} of transaction {number} is not for this sender", where)
        self.sendings[number].hear(now_s, pdu)
        self._wake(self.sendings[number])
        return None

    def tick(self, now_s: float) -> None:
        """Let time pass."""
        for number in self._timers.due(now_s):
            self.sendings[number].tick(now_s)
            self._wake(self.sendings[number])

    def _wake(self, sending: Sending) -> None:
        """Before all new files: the receiver waits, and both ends hold what is not finished."""
        number = sending.route.number
        self._timers.note(number, sending)
        self._ready[number] = sending
        self._ready.move_to_end(number, last=False)


def _check(file: File, settings: Cfdp, number: int) -> None:
    name_bytes = len(file.name.encode())
    if not 0 < name_bytes <= LONGEST_NAME_BYTES:
        raise FormatError(
            f"The file name {file.name!r} has {name_bytes} bytes, and 1 to {LONGEST_NAME_BYTES} can be sent",
            remedy="Give it a shorter name",
            name=file.name,
        )
    if len(file.data) > settings.max_file_bytes:
        raise FormatError(
            f"The file {file.name!r} has {len(file.data)} bytes, and max_file_bytes is {settings.max_file_bytes}",
            remedy="Cut it into several files, or raise max_file_bytes on both sides",
            name=file.name,
        )
    if number >= 256**settings.number_bytes:
        raise FormatError(
            f"Transaction {number} does not go into number_bytes = {settings.number_bytes}",
            remedy="Raise number_bytes, or bundle the files into fewer",
            number=number,
        )
