"""One file put together again from what arrives of it, in whatever order, in simulated time.

In class 2 the receiver waits for the end of a file and asks for everything that is missing at once (a deferred
NAK); again when the last range that it asked for has come and others have not, and after some time without
anything new. In class 1 it takes what comes. Each transaction ends with the file complete and verified, or with
what there is of it and the reason by name.

Source: CCSDS 727.0-B-5, sections 4.6 and 4.7.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice

from spacepackets.cfdp.defs import ConditionCode

from taran_eo.wire.cfdp import Cfdp, Received, checksum, named, union
from taran_eo.wire.pdu import Ack, EndOfFile, FileData, Finished, Metadata, Nak, Pdu, Route

REQUESTS_A_NAK = 64
"""Ranges in one NAK PDU: half a kilobyte, so that a lost frame costs few of them."""


class Receiving:
    """One file on its way in.

    Args:
        route: The header of its PDUs.
        settings: The protocol.

    Attributes:
        received: What came of it, once that is settled; None before.
        deadline_s: When `tick` has something to do, or None.
        extent_bytes: Where the last byte that arrived ends.
        rounds: How often missing parts were asked for.
    """

    def __init__(self, route: Route, settings: Cfdp) -> None:
        self.route = route
        self.received: Received | None = None
        self.deadline_s: float | None = None
        self.extent_bytes = 0
        self.rounds = 0
        self._settings = settings
        self._metadata: Metadata | None = None
        self._end: EndOfFile | None = None
        self._data = bytearray()
        self._covered: list[tuple[int, int]] = []
        # What is to be said, in this order: an acknowledgement, the end, and what is missing from some byte on.
        self._acknowledgement: Ack | None = None
        self._finished: Finished | None = None
        self._finished_due = False
        self._ask_from: int | None = None
        self._asked_stop: int | None = None  # where the last range ends that was asked for, once all were
        self._tries = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to answer."""
        asks = self._ask_from is not None and (self._ask_from == 0 or self._has_gap_behind(self._ask_from))
        return self._acknowledgement is not None or self._finished_due or asks

    def next(self, now_s: float) -> Pdu:
        """What to answer next, leaving at `now_s`; to be asked only while `ready`."""
        pdu = self._next()
        # A timer that runs goes on: an end of file that comes again and again must not put off what is due.
        if not self.ready and self.deadline_s is None:
            self.deadline_s = self._later(now_s)
        return pdu

    def _next(self) -> Pdu:
        if self._acknowledgement is not None:
            acknowledgement, self._acknowledgement = self._acknowledgement, None
            return acknowledgement
        if self._finished is not None:
            self._finished_due = False
            return self._finished
        return self._nak()

    def hear(self, now_s: float, pdu: Pdu, room_bytes: int) -> str:
        """Take a PDU of this transaction.

        Args:
            now_s: When it was heard.
            pdu: Of the sender.
            room_bytes: By how much the extent may still grow.

        Returns:
            Why it was not taken: it contradicts what was heard before or the settings. Empty if it was, or if it
            came twice or too late, which does no harm.
        """
        if self.received is not None:
            self._hear_late(pdu)
            return ""
        match pdu:
            case Metadata():
                news, objection = self._take_metadata(pdu)
            case FileData():
                news, objection = self._take_data(pdu, room_bytes)
            case EndOfFile():
                news, objection = self._take_end(pdu)
            case _:
                news, objection = False, "it acknowledges what was not said"
        if news:
            self._tries = 0
            self._settle()
            if self.received is None and isinstance(pdu, FileData) and pdu.offset + len(pdu.data) == self._asked_stop:
                # Ranges are sent again in order: those before this one that are still missing were lost again.
                self._ask()
        if news or self.deadline_s is None:
            self.deadline_s = None if self.ready else self._later(now_s)
        return objection

    def tick(self, now_s: float) -> None:
        """Let time pass: ask again, or give up."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return
        self.deadline_s = None
        self._tries += 1
        beyond = self._tries > self._settings.limit
        if self._finished is not None:
            self._finished_due = not beyond
        elif self._end is None:
            self._finish(ConditionCode.INACTIVITY_DETECTED)
        elif not self.route.acknowledged:
            self._finish(ConditionCode.CHECK_LIMIT_REACHED)
        elif beyond:
            self._finish(ConditionCode.NAK_LIMIT_REACHED)
        else:
            self._ask()

    def close(self) -> None:
        """Nothing more will come: settle with what there is."""
        if self.received is None:
            self.received = self._result(f"not finished: {self._missing_words()}", complete=False)
        self._acknowledgement = self._ask_from = self.deadline_s = None
        self._finished_due = False

    def _later(self, now_s: float) -> float | None:
        if self.received is not None:
            return None if self._finished is None else now_s + self._settings.ack_s
        asked = self._end is not None and self.route.acknowledged
        return now_s + (self._settings.nak_s if asked else self._settings.inactivity_s)

    def _take_metadata(self, pdu: Metadata) -> tuple[bool, str]:
        if self._metadata is not None:
            return False, "" if pdu == self._metadata else "it names another file than before"
        if pdu.size > self._settings.max_file_bytes:
            self._metadata = pdu
            self._finish(ConditionCode.FILESTORE_REJECTION)
            return False, f"its file has {pdu.size} bytes, and max_file_bytes is {self._settings.max_file_bytes}"
        # A size of 0 also stands for one that is not known yet: 727.0-B-5, 5.2.5.
        if pdu.size and (pdu.size < self.extent_bytes or (self._end is not None and self._end.size != pdu.size)):
            return False, f"it gives the file {pdu.size} bytes, others give it more or less"
        self._metadata = pdu
        return True, ""

    def _take_data(self, pdu: FileData, room_bytes: int) -> tuple[bool, str]:
        start, stop = pdu.offset, pdu.offset + len(pdu.data)
        size = self._size()
        if stop > (self._settings.max_file_bytes if size is None else size):
            return False, f"its bytes {start} to {stop} lie behind the end of the file"
        if stop - self.extent_bytes > room_bytes:
            return False, f"its bytes {start} to {stop} are more than max_held_bytes leaves room for"
        if stop > self.extent_bytes:
            self._data.extend(bytes(max(start - self.extent_bytes, 0)))
            self.extent_bytes = stop
        self._data[start:stop] = pdu.data
        first = bisect_left(self._covered, start, key=lambda covered: covered[1])
        behind = bisect_right(self._covered, stop, key=lambda covered: covered[0])
        touched = self._covered[first:behind]
        self._covered[first:behind] = union([*touched, (start, stop)])
        return self._covered[first] not in touched, ""

    def _take_end(self, pdu: EndOfFile) -> tuple[bool, str]:
        if pdu.condition is not ConditionCode.NO_ERROR:
            self._acknowledge(pdu)
            self._finish(pdu.condition)
            return False, ""
        if self._end is not None and pdu != self._end:
            return False, "it ends the file otherwise than before"
        if pdu.size > self._settings.max_file_bytes:
            self._acknowledge(pdu)
            self._finish(ConditionCode.FILESTORE_REJECTION)
            return False, f"its file has {pdu.size} bytes, and max_file_bytes is {self._settings.max_file_bytes}"
        size = self._size()
        if pdu.size < self.extent_bytes or (size is not None and size != pdu.size):
            return False, f"it gives the file {pdu.size} bytes, others give it more or less"
        self._acknowledge(pdu)
        if self._end is not None:
            return False, ""
        self._end = pdu
        if self.route.acknowledged and (self._metadata is None or self._has_gap_behind(0)):
            self._ask()
        return True, ""

    def _hear_late(self, pdu: Pdu) -> None:
        """After the end: an end of file is acknowledged again, an acknowledgement closes the transaction."""
        if isinstance(pdu, EndOfFile):
            self._acknowledge(pdu)
        elif isinstance(pdu, Ack) and self._finished is not None:
            self._finished = self.deadline_s = None
            self._finished_due = False

    def _acknowledge(self, pdu: EndOfFile) -> None:
        if self.route.acknowledged:
            self._acknowledgement = Ack(self.route, "end-of-file", pdu.condition)

    def _ask(self) -> None:
        """Begin a NAK sequence over the whole file."""
        self.rounds += 1
        self._ask_from = 0
        self._asked_stop = None

    def _nak(self) -> Nak:
        """The next of the sequence, of what is missing by now; each is of use alone, and their scopes join."""
        start = self._ask_from or 0
        requests = [(0, 0)] if self._metadata is None and start == 0 else []
        requests += islice(self._gaps(start), REQUESTS_A_NAK - len(requests))
        stop = requests[-1][1]
        if self._has_gap_behind(stop):
            self._ask_from = stop
            return Nak(self.route, (start, stop), tuple(requests))
        self._ask_from = None
        self._asked_stop = stop or None
        return Nak(self.route, (start, self._size() or 0), tuple(requests))

    def _settle(self) -> None:
        """Verify the file once all of it is there."""
        if self._metadata is None or self._end is None or self._covered != union([(0, self._end.size)]):
            return
        value = checksum(self._data, self._metadata.checksum_kind)
        if value is None:
            self._finish(ConditionCode.UNSUPPORTED_CHECKSUM_TYPE)
        elif value != self._end.checksum:
            self._finish(ConditionCode.FILE_CHECKSUM_FAILURE)
        else:
            self._finish(ConditionCode.NO_ERROR)

    def _finish(self, condition: ConditionCode) -> None:
        complete = condition is ConditionCode.NO_ERROR
        missing = self._missing_words()
        why = "" if complete else f"{named(condition)}: {missing}" if missing else named(condition)
        self.received = self._result(why, complete=complete)
        self.deadline_s = None
        self._tries = 0
        self._ask_from = None
        if self.route.acknowledged:
            self._finished = Finished(self.route, condition, complete)
            self._finished_due = True

    def _result(self, why: str, *, complete: bool) -> Received:
        name = None if self._metadata is None else self._metadata.name
        data, self._data = bytes(self._data), bytearray()
        return Received(self.route.number, name, data, tuple(self._gaps()), self._size(), complete, why)

    def _size(self) -> int | None:
        if self._end is not None:
            return self._end.size
        return None if self._metadata is None else self._metadata.size or None

    def _gaps(self, begin: int = 0) -> Iterator[tuple[int, int]]:
        """The missing ranges from byte `begin` on, which is one where a gap or a range that came begins."""
        size = self._size()
        stop = begin
        first = bisect_right(self._covered, begin, key=lambda covered: covered[1])
        for place in range(first, len(self._covered)):
            if stop < self._covered[place][0]:
                yield stop, self._covered[place][0]
            stop = self._covered[place][1]
        if size is not None and stop < size:
            yield stop, size

    def _has_gap_behind(self, place: int) -> bool:
        """Whether something is missing behind byte `place`, where the size is known."""
        size = self._size() or 0
        start, stop = self._covered[-1] if self._covered else (0, 0)
        return place < size and not (start <= place and stop == size)

    def _missing_words(self) -> str:
        gaps = list(self._gaps())
        missing = ["the metadata"] if self._metadata is None else []
        missing += ["the end of file"] if self._end is None else []
        if gaps:
            lost_bytes = sum(stop - start for start, stop in gaps)
            missing.append(f"{lost_bytes} bytes in {len(gaps)} {'gap' if len(gaps) == 1 else 'gaps'}")
        return f"{', '.join(missing)} missing" if missing else ""
