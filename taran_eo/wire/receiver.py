"""The receiving end of CFDP: all transactions of one sender, in simulated time."""

from taran_eo.errors import CorruptDataError
from taran_eo.wire.cfdp import Cfdp, Received
from taran_eo.wire.finding import Finding
from taran_eo.wire.pdu import Ack, Pdu, goes_to_sender, parse
from taran_eo.wire.receiving import Receiving
from taran_eo.wire.timers import Timers

MOST_TRANSACTIONS = 1 << 18
"""Files that a receiver keeps account of: each takes about a kilobyte, and a forged PDU of 20 bytes begins one."""


class Receiver:
    """The receiving entity: all transactions of one sender.

    Args:
        settings: The protocol.
    """

    def __init__(self, settings: Cfdp) -> None:
        self._settings = settings
        self._receivings: dict[int, Receiving] = {}
        self._timers = Timers()
        self._ready: dict[int, Receiving] = {}  # in the order in which they have something to answer
        self._heard = 0
        self._held_bytes = 0

    @property
    def received(self) -> list[Received]:
        """What is settled so far, in the order of transactions."""
        settled = (self._receivings[number].received for number in sorted(self._receivings))
        return [received for received in settled if received is not None]

    @property
    def rounds(self) -> int:
        """How often missing parts of one file were asked for, at most."""
        return max((receiving.rounds for receiving in self._receivings.values()), default=0)

    @property
    def deadline_s(self) -> float | None:
        """When `tick` has something to do, or None."""
        return self._timers.next_s()

    def next(self, now_s: float) -> Pdu | None:
        """What to answer next, leaving at `now_s`, or None."""
        return self._timers.first(self._ready, lambda receiving: receiving.next(now_s))

    def hear(self, now_s: float, data: bytes) -> Finding | None:
        """Take the bytes of a PDU; what cannot be used of them is told.

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
        route = pdu.route
        if (route.source, route.destination) != (self._settings.source, self._settings.destination):
            return Finding("foreign", f"a PDU from entity {route.source} to entity {route.destination}", where)
        if goes_to_sender(pdu):
            return Finding("foreign", f"a {type(pdu).__name__} that is meant for a sender", where)
        receiving = self._receivings.get(route.number)
        if receiving is None:
            if isinstance(pdu, Ack):
                return Finding("late", f"an Ack of transaction {route.number}, which is not known", where)
            if len(self._receivings) >= MOST_TRANSACTIONS:
                what = f"a PDU of transaction {route.number}, and {MOST_TRANSACTIONS} others are all that are kept"
                return Finding("packet", what, where)
            receiving = self._receivings[route.number] = Receiving(route, self._settings)
        if route != receiving.route:
            return Finding("packet", f"a PDU that changes the header of transaction {route.number}", where)
        before = receiving.extent_bytes
        objection = receiving.hear(now_s, pdu, self._settings.max_held_bytes - self._held_bytes)
        self._held_bytes += receiving.extent_bytes - before
        self._wake(receiving)
        if not objection:
            return None
        return Finding("packet", f"a {type(pdu).__name__} of transaction {route.number}: {objection}", where)

    def tick(self, now_s: float) -> None:
        """Let time pass."""
        for number in self._timers.due(now_s):
            self._receivings[number].tick(now_s)
            self._wake(self._receivings[number])

    def close(self) -> None:
        """Nothing more will come: settle all transactions with what there is."""
        for receiving in self._receivings.values():
            receiving.close()
        self._ready.clear()

    def _wake(self, receiving: Receiving) -> None:
        number = receiving.route.number
        self._timers.note(number, receiving)
        if receiving.ready:
            self._ready[number] = receiving
