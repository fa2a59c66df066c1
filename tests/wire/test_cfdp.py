"""Both ends of CFDP without frames between them: whatever is lost, doubled or late, each transaction ends."""

import heapq
import itertools
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.cfdp.defs import ChecksumType, ConditionCode

from taran_eo.config import parse as parse_settings
from taran_eo.errors import ConfigError, FormatError
from taran_eo.wire.cfdp import Cfdp, File, union
from taran_eo.wire.pdu import Ack, EndOfFile, FileData, Finished, Metadata, Nak, Route, pack, parse
from taran_eo.wire.receiver import Receiver
from taran_eo.wire.receiving import REQUESTS_A_NAK
from taran_eo.wire.sender import Sender, Sending
from taran_eo.wire.timers import Timers

SETTINGS = Cfdp(ack_s=1.0, nak_s=1.0, limit=3)
SEGMENT = 10
ROUTE = Route(1, 2, 0, acknowledged=True, crc=True, entity_bytes=1, number_bytes=4)


def content(size, salt=0):
    return bytes((place * 7 + salt + (place >> 8)) % 256 for place in range(size))


class Link:
    """Both ends in simulated time: a PDU takes a millisecond to send and `delays` of them to arrive.

    `fate(direction, pdu)` says how many copies of it arrive.
    """

    def __init__(self, files, settings=SETTINGS, fate=lambda direction, pdu: 1, delays=()):
        self.sender, self.receiver = Sender(files, settings), Receiver(settings)
        self.sent = Counter()
        self.findings = []
        self._fate = fate
        self._delays = itertools.chain(delays, itertools.repeat(1))
        self._flying = []
        self._order = itertools.count()
        self.now_s = 0.0

    def run(self, *, events=20_000):
        for _ in range(events):
            while self._flying and self._flying[0][0] <= self.now_s:
                _, _, direction, data = heapq.heappop(self._flying)
                end = self.receiver if direction == "down" else self.sender
                self.findings.append(end.hear(self.now_s, data))
            self.sender.tick(self.now_s)
            self.receiver.tick(self.now_s)
            down = self._send("down", self.sender.next(self.now_s, SEGMENT))
            up = self._send("up", self.receiver.next(self.now_s))
            moments = [self.now_s + 0.001] if down or up else [self.sender.deadline_s, self.receiver.deadline_s]
            moments = [moment for moment in [*moments, *(one[0] for one in self._flying[:1])] if moment is not None]
            if not moments:
                assert None not in self.whys
                return self
            self.now_s = max(min(moments), self.now_s)
        raise AssertionError("the exchange does not end")

    def _send(self, direction, pdu):
        if pdu is None:
            return False
        kind = f"{type(pdu).__name__} {pdu.of}" if isinstance(pdu, Ack) else type(pdu).__name__
        self.sent[kind] += 1
        for _ in range(self._fate(direction, pdu)):
            arrival_s = self.now_s + 0.001 * next(self._delays)
            heapq.heappush(self._flying, (arrival_s, next(self._order), direction, pack(pdu)))
        return True

    @property
    def whys(self):
        return [sending.why for sending in self.sender.sendings]


def losing(kinds, times):
    """A fate that loses the first `times` PDUs of these kinds."""
    left = Counter(dict.fromkeys(kinds, times))

    def fate(direction, pdu):
        kind = f"{type(pdu).__name__} {pdu.of}" if isinstance(pdu, Ack) else type(pdu).__name__
        left[kind] -= 1
        return 0 if left[kind] >= 0 else 1

    return fate


def assert_true(files, received):
    """What was received is what was sent, but for the gaps that are named."""
    for one in received:
        data = files[one.transaction].data
        assert one.complete == (one.why == "")
        if one.complete:
            assert (one.name, sha256(one.data).digest()) == (files[one.transaction].name, sha256(data).digest())
            assert one.gaps == ()
            assert one.size == len(data)
        holes = bytearray(data[: len(one.data)])
        for start, stop in one.gaps:
            holes[start:stop] = bytes(min(stop, len(holes)) - start) if start < len(holes) else b""
        assert one.data == bytes(holes)


SIZES = st.one_of(st.just(0), st.integers(1, 9), st.integers(10, 200))
FILES = st.lists(SIZES, min_size=1, max_size=4).map(
    lambda sizes: [File(f"file {number}", content(size, number)) for number, size in enumerate(sizes)]
)


@given(files=FILES, down=st.lists(st.booleans(), max_size=120), up=st.lists(st.booleans(), max_size=40))
def test_whatever_is_lost_it_ends_and_complete_means_identical(files, down, up):
    fates = {"down": iter(down), "up": iter(up)}
    link = Link(files, fate=lambda direction, pdu: int(next(fates[direction], True))).run()
    assert_true(files, link.receiver.received)
    arrived = {one.transaction: one for one in link.receiver.received}
    for number, why in enumerate(link.whys):
        assert why is not None
        if why == "":
            assert arrived[number].complete
    # The silence after which an end gives up is the longest of all timers.
    assert link.now_s < 1 + 4 * SETTINGS.inactivity_s + len(down) + len(up)


@given(
    files=FILES,
    losses=st.lists(st.tuples(st.sampled_from(["down", "up"]), st.integers(0, 100)), max_size=SETTINGS.limit),
)
def test_as_many_losses_as_the_limit_are_all_repaired(files, losses):
    counts = {"down": itertools.count(), "up": itertools.count()}
    link = Link(files, fate=lambda direction, pdu: int((direction, next(counts[direction])) not in losses)).run()
    assert [one.complete for one in link.receiver.received] == [True] * len(files)
    assert_true(files, link.receiver.received)
    assert link.whys == [""] * len(files)


@given(files=FILES, copies=st.lists(st.integers(1, 3), max_size=200), delays=st.lists(st.integers(1, 40), max_size=400))
def test_what_comes_twice_and_out_of_order_does_no_harm(files, copies, delays):
    more = itertools.chain(copies, itertools.repeat(1))
    link = Link(files, fate=lambda direction, pdu: next(more), delays=delays).run()
    assert [one.complete for one in link.receiver.received] == [True] * len(files)
    assert_true(files, link.receiver.received)
    assert link.whys == [""] * len(files)
    assert set(link.findings) == {None}


DIRECTIVES = ("Metadata", "EndOfFile", "Finished", "Ack end-of-file", "Ack finished", "Nak")


@pytest.mark.parametrize("size", [0, 95])
@pytest.mark.parametrize("kind", DIRECTIVES)
@pytest.mark.parametrize("times", [1, SETTINGS.limit])
def test_each_directive_may_be_lost(kind, times, size):
    files = [File("one", content(size)), File("two", content(size, 1))]
    link = Link(files, fate=losing([kind], times)).run()
    assert [one.complete for one in link.receiver.received] == [True, True]
    assert_true(files, link.receiver.received)
    assert link.whys == ["", ""]


@pytest.mark.parametrize(
    ("lost", "at_receiver", "at_sender"),
    [
        (("Metadata",), "nak limit reached: the metadata missing", "nak limit reached, says the receiver"),
        (("EndOfFile",), "inactivity detected: the end of file missing", "positive ack limit reached"),
        (("FileData",), "nak limit reached: 95 bytes in 1 gap missing", "nak limit reached, says the receiver"),
        (("Finished",), "", "inactivity detected"),
        (("Ack finished",), "", ""),
        (("Ack end-of-file",), "", ""),
        (("Metadata", "Nak"), "nak limit reached: the metadata missing", "nak limit reached, says the receiver"),
        (("Ack end-of-file", "Finished"), "", "positive ack limit reached"),
        (("Metadata", "FileData"), "nak limit reached: the metadata, 95 bytes in 1 gap missing", "nak limit reached"),
        (("Metadata", "FileData", "EndOfFile"), None, "positive ack limit reached"),
    ],
)
def test_what_never_comes_is_named(lost, at_receiver, at_sender):
    link = Link([File("one", content(95))], fate=losing(lost, 10**6)).run()
    assert [one.why for one in link.receiver.received] == ([] if at_receiver is None else [at_receiver])
    assert link.whys[0].startswith(at_sender)
    assert bool(link.whys[0]) == bool(at_sender)


def test_a_sender_that_gives_up_tells_the_receiver():
    """The acknowledgement of the end is lost as well as all that the receiver asks for: the end comes as a cancel."""
    settings = Cfdp(ack_s=1.0, nak_s=10.0, limit=3)

    def fate(direction, pdu):
        return int(direction == "down" and not (isinstance(pdu, FileData) and pdu.offset == 20))

    link = Link([File("one", content(95))], settings, fate).run()
    (one,) = link.receiver.received
    assert one.why == "positive ack limit reached: 10 bytes in 1 gap missing"
    assert one.gaps == ((20, 30),)
    assert link.whys == ["positive ack limit reached"]


def test_each_byte_is_said_once_without_losses_and_lost_ones_once_more():
    files = [File("one", content(1000))]
    link = Link(files).run()
    assert link.sent == {
        "Metadata": 1, "FileData": 100, "EndOfFile": 1, "Ack end-of-file": 1, "Finished": 1, "Ack finished": 1
    }  # fmt: skip
    kept = iter([True] * 31 + [False] * 20)
    link = Link(files, fate=lambda direction, pdu: int(next(kept, True))).run()
    assert link.sent["FileData"] == 120
    assert link.sent["Nak"] == 1
    assert link.sender.sendings[0].resent_bytes == 200


def test_many_gaps_are_asked_for_in_short_pieces():
    size = 4 * REQUESTS_A_NAK * SEGMENT
    lost = {2 * place * SEGMENT for place in range(2 * REQUESTS_A_NAK)}

    scopes = []

    def fate(direction, pdu):
        if isinstance(pdu, Nak):
            assert len(pdu.missing) == REQUESTS_A_NAK
            assert all(pdu.scope[0] <= start < stop <= pdu.scope[1] for start, stop in pdu.missing)
            scopes.append(pdu.scope)
        if isinstance(pdu, FileData) and pdu.offset in lost:
            lost.remove(pdu.offset)
            return 0
        return 1

    link = Link([File("one", content(size))], fate=fate).run()
    # One sequence: where the scope of one ends, that of the next begins (727.0-B-5, 4.6.4).
    assert scopes == [(0, size // 2 - SEGMENT), (size // 2 - SEGMENT, size)]
    assert link.receiver.received[0].complete


def test_what_was_asked_for_and_not_sent_is_not_asked_for_twice():
    """An uplink that is busy: the older list of what is missing is left out."""
    receiver = Receiver(SETTINGS)
    sending = Sending(File("one", content(40)), SETTINGS, 0, acknowledged=True)
    metadata, first, second, third, fourth, end = (pack(sending.next(0.0, SEGMENT)) for _ in range(6))
    for pdu in (metadata, second, end):
        receiver.hear(0.0, pdu)
    receiver.hear(0.0, fourth)
    said = [receiver.next(0.0), receiver.next(0.0), receiver.next(0.0)]
    assert said[1].missing == ((0, 10), (20, 30))
    assert isinstance(said[0], Ack)
    assert said[2] is None
    for pdu in (first, third):
        receiver.hear(0.1, pdu)
    assert receiver.received[0].complete


def said_by(receiver, now_s=0.0):
    """All that a receiver has to say."""
    return list(iter(lambda: receiver.next(now_s), None))


@given(
    size=st.integers(0, 3 * REQUESTS_A_NAK),
    first=st.sets(st.integers(0, 3 * REQUESTS_A_NAK)),
    between=st.lists(st.integers(0, 3 * REQUESTS_A_NAK), max_size=40),
    begun=st.booleans(),
)
def test_a_list_of_what_is_missing_is_that_of_when_it_leaves(size, first, between, begun):
    """Single bytes of a file come before and while it is asked for the others."""
    receiver = Receiver(SETTINGS)
    if begun:
        receiver.hear(0.0, pack(Metadata(ROUTE, "a", size, ChecksumType.CRC_32)))
    have = {place for place in first if place < size}
    for place in have:
        receiver.hear(0.0, pack(FileData(ROUTE, place, b"a")))
    receiver.hear(0.0, pack(EndOfFile(ROUTE, ConditionCode.NO_ERROR, 0, size)))
    assert isinstance(receiver.next(0.0), Ack)
    naks, late = [], [place for place in between if place < size]
    while isinstance(pdu := receiver.next(0.0), Nak):
        naks.append(pdu)
        asked = [place for start, stop in pdu.missing for place in range(start, stop)]
        assert asked == [place for place in range(*pdu.scope) if place not in have]
        assert ((0, 0) in pdu.missing) == (not begun and pdu.scope[0] == 0)
        for place in late[:5]:
            receiver.hear(0.0, pack(FileData(ROUTE, place, b"a")))
            have.add(place)
        del late[:5]
    assert [nak.scope[0] for nak in naks[:1]] == [0] * (not begun or bool(naks))
    assert (pdu is None) == (not begun or len(have) < size)


def test_an_end_of_file_that_comes_again_does_not_put_off_what_is_due():
    """Its acknowledgements are lost, and so was the first Finished, or the first list of what is missing."""
    sending = Sending(File("one", b"abc"), SETTINGS, 0, acknowledged=True)
    metadata, data, end = (pack(sending.next(0.0, SEGMENT)) for _ in range(3))
    for first, due in ((metadata, Finished), (data, Nak)):
        receiver = Receiver(SETTINGS)
        for pdu in (first, data, end):
            receiver.hear(0.0, pdu)
        assert [type(pdu) for pdu in said_by(receiver)] == [Ack, due]
        again = []
        for now_s in (0.4, 0.8, 1.2):
            receiver.tick(now_s)
            receiver.hear(now_s, end)
            again.append([type(pdu) for pdu in said_by(receiver, now_s)])
        assert again == [[Ack], [Ack], [Ack, due]]


# What hostile or broken streams cost.


def test_an_end_of_file_that_comes_a_thousand_times_is_answered_once():
    receiver = Receiver(SETTINGS)
    for _ in range(1000):
        receiver.hear(0.0, pack(END))
    assert [type(pdu) for pdu in said_by(receiver)] == [Ack, Nak]


def test_what_comes_last_of_what_was_asked_for_does_not_multiply_lists():
    """Each byte from the end on ends where the last list ended."""
    receiver = Receiver(SETTINGS)
    size = 2000
    for place in range(0, size // 2, 2):
        receiver.hear(0.0, pack(FileData(ROUTE, place, b"a")))
    receiver.hear(0.0, pack(EndOfFile(ROUTE, ConditionCode.NO_ERROR, 0, size)))
    for place in range(size - 1, size - 200, -1):
        receiver.hear(0.0, pack(FileData(ROUTE, place, b"a")))
    assert len(said_by(receiver)) <= 2 + size / 4 / REQUESTS_A_NAK
    assert receiver.rounds == 1


def test_transactions_beyond_the_most_are_refused_by_name(monkeypatch):
    monkeypatch.setattr("taran_eo.wire.receiver.MOST_TRANSACTIONS", 3)
    receiver = Receiver(SETTINGS)
    findings = [receiver.hear(0.0, pack(FileData(replace(ROUTE, number=n), 0, b"a"))) for n in (7, 8, 9, 10, 8)]
    assert [finding and finding.what for finding in findings] == [
        None, None, None, "a PDU of transaction 10, and 3 others are all that are kept", None
    ]  # fmt: skip


def test_a_flood_of_naks_leaves_what_is_to_be_sent_as_it_was():
    """Each range and each transaction is kept once, however often it is asked for."""
    files = [File("one", content(95)), File("two", content(95))]
    sender = Sender(files, SETTINGS)
    for _ in range(500):
        for number in (0, 1):
            sender.hear(0.0, pack(Nak(replace(ROUTE, number=number), (0, 95), ((0, 0), (0, 30), (20, 2000)))))
    sent = list(iter(lambda: sender.next(0.0, 1000), None))
    assert [(type(pdu), pdu.route.number) for pdu in sent] == [
        (kind, number) for number in (1, 0) for kind in (Metadata, FileData, EndOfFile)
    ]


def test_timers_keep_one_deadline_each():
    class Waiting:
        deadline_s = None

    timers, waiting = Timers(), [Waiting(), Waiting()]
    for step in range(1000):
        for number, one in enumerate(waiting):
            one.deadline_s = 10.0 + step + number
            timers.note(number, one)
    assert len(timers._heap) == 2
    assert timers.next_s() == 1009.0
    waiting[1].deadline_s = 5.0
    timers.note(1, waiting[1])
    assert list(timers.due(4.9)) == []
    assert list(timers.due(5.0)) == [1]
    waiting[1].deadline_s = None
    assert list(timers.due(2000.0)) == [0]
    waiting[0].deadline_s = None
    assert timers.next_s() is None


# Class 1, and what a receiver makes of PDUs in general.


def said_once(files, settings=SETTINGS):
    for number, file in enumerate(files):
        sending = Sending(file, settings, number, acknowledged=False)
        while sending.ready:
            yield pack(sending.next(0.0, SEGMENT))
        assert sending.why == ""
        assert sending.deadline_s is None


@given(files=FILES, data=st.data())
def test_class_1_names_what_is_missing_in_whatever_order_the_rest_comes(files, data):
    pdus = list(said_once(files))
    kept = data.draw(st.lists(st.sampled_from(range(len(pdus))), max_size=2 * len(pdus)))
    receiver = Receiver(SETTINGS)
    for place in kept:
        assert receiver.hear(0.0, pdus[place]) is None
        assert receiver.next(0.0) is None
    receiver.close()
    assert_true(files, receiver.received)
    missing = [parse(pdu) for place, pdu in enumerate(pdus) if place not in kept]
    arrived = {parse(pdus[place]).route.number for place in kept}
    assert {one.transaction for one in receiver.received} == arrived
    for one in receiver.received:
        lost = [pdu for pdu in missing if pdu.route.number == one.transaction]
        assert one.complete == (not lost)
        assert (one.name is None) == any(isinstance(pdu, Metadata) for pdu in lost) == ("the metadata" in one.why)
        assert any(isinstance(pdu, EndOfFile) for pdu in lost) == ("the end of file" in one.why)
        ranges = [(pdu.offset, pdu.offset + len(pdu.data)) for pdu in lost if isinstance(pdu, FileData)]
        if one.size is not None:
            assert list(one.gaps) == union(ranges)


def test_class_1_gives_up_by_time_as_well():
    pdus = list(said_once([File("one", content(95))]))
    for kept, why in ((pdus[:-1], "inactivity detected: the end"), (pdus[1:], "check limit reached: the metadata")):
        receiver = Receiver(SETTINGS)
        for pdu in kept:
            receiver.hear(0.0, pdu)
        assert receiver.deadline_s == SETTINGS.inactivity_s
        receiver.tick(SETTINGS.inactivity_s - 0.1)
        assert receiver.received == []
        receiver.tick(SETTINGS.inactivity_s)
        assert receiver.received[0].why.startswith(why)
        assert receiver.deadline_s is None


SMALL = st.integers(0, 40)
ROUTES = st.builds(
    Route, st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.booleans(), st.booleans(), st.just(1), st.just(4)
)
ANY_PDU = st.one_of(
    st.builds(Metadata, ROUTES, st.just("file"), SMALL, st.sampled_from(ChecksumType)),
    st.builds(FileData, ROUTES, SMALL, st.binary(min_size=1, max_size=20)),
    st.builds(EndOfFile, ROUTES, st.sampled_from([c for c in ConditionCode if c >= 0]), SMALL, SMALL),
    st.builds(Finished, ROUTES, st.sampled_from([c for c in ConditionCode if c >= 0]), st.booleans()),
    st.builds(Ack, ROUTES, st.sampled_from(["end-of-file", "finished"]), st.just(ConditionCode.NO_ERROR)),
    st.builds(
        Nak, ROUTES, st.just((0, 0)), st.lists(st.tuples(SMALL, SMALL).map(lambda r: (min(r), max(r)))).map(tuple)
    ),
).map(pack)


@given(heard=st.lists(st.tuples(st.one_of(ANY_PDU, st.binary(max_size=30)), st.floats(0, 3)), max_size=60))
def test_any_pdus_do_no_harm_at_either_end(heard):
    """A receiver and a sender to whom anybody talks: nothing is raised, and with silence both end."""
    receiver = Receiver(Cfdp(max_file_bytes=30, max_held_bytes=50, ack_s=1.0, nak_s=1.0, limit=3))
    sender = Sender([File("one", content(35)), File("two", b"")], SETTINGS)
    now_s = 0.0
    for data, later_s in heard:
        now_s += later_s
        for end in (receiver, sender):
            end.tick(now_s)
            end.hear(now_s, data)
        receiver.next(now_s)
        sender.next(now_s, SEGMENT)
    for _ in range(1000):
        while receiver.next(now_s) or sender.next(now_s, SEGMENT):
            pass
        moments = [end.deadline_s for end in (receiver, sender) if end.deadline_s is not None]
        if not moments:
            break
        now_s = max(now_s, *moments)
        receiver.tick(now_s)
        sender.tick(now_s)
    assert None not in [sending.why for sending in sender.sendings]
    receiver.close()
    for one in receiver.received:
        assert len(one.data) <= 30
        assert one.complete == (one.why == "")
        assert all(start < stop for start, stop in one.gaps)
    assert sum(len(one.data) for one in receiver.received) <= 50


def heard(*pdus, settings=SETTINGS):
    """What a receiver finds wrong with the last of these PDUs, and the receiver."""
    receiver = Receiver(settings)
    findings = [receiver.hear(0.0, pdu if isinstance(pdu, bytes) else pack(pdu)) for pdu in pdus]
    assert set(findings[:-1]) <= {None}
    return findings[-1], receiver


CRC_32 = ChecksumType.CRC_32
OTHER = Route(1, 3, 0, acknowledged=True, crc=True, entity_bytes=1, number_bytes=4)
CLASS_1 = Route(1, 2, 0, acknowledged=False, crc=True, entity_bytes=1, number_bytes=4)
END = EndOfFile(ROUTE, ConditionCode.NO_ERROR, 0, 30)


@pytest.mark.parametrize(
    ("pdus", "kind", "message"),
    [
        ([b"nothing"], "packet", "no header"),
        ([FileData(OTHER, 0, b"a")], "foreign", "from entity 1 to entity 3"),
        ([Finished(ROUTE, ConditionCode.NO_ERROR, complete=True)], "foreign", "meant for a sender"),
        ([Ack(ROUTE, "finished", ConditionCode.NO_ERROR)], "late", "not known"),
        ([FileData(ROUTE, 0, b"a"), Ack(ROUTE, "finished", ConditionCode.NO_ERROR)], "packet", "what was not said"),
        ([FileData(ROUTE, 0, b"a"), FileData(CLASS_1, 0, b"a")], "packet", "changes the header of transaction 0"),
        ([Metadata(ROUTE, "a", 9, CRC_32), Metadata(ROUTE, "b", 9, CRC_32)], "packet", "another file"),
        ([Metadata(ROUTE, "a", 9, CRC_32), FileData(ROUTE, 5, b"abcde")], "packet", "5 to 10 lie behind the end"),
        ([Metadata(ROUTE, "a", 9, CRC_32), END], "packet", "30 bytes, others"),
        ([FileData(ROUTE, 30, b"a"), END], "packet", "30 bytes, others"),
        ([END, Metadata(ROUTE, "a", 9, CRC_32)], "packet", "9 bytes, others"),
        ([END, EndOfFile(ROUTE, ConditionCode.NO_ERROR, 1, 30)], "packet", "otherwise than before"),
        ([FileData(ROUTE, 1000, b"a")], "packet", "1000 to 1001 lie behind the end"),
        ([FileData(ROUTE, 50, bytes(20)), FileData(ROUTE, 95, b"abc")], "packet", "max_held_bytes"),
        ([Metadata(ROUTE, "a", 101, CRC_32)], "packet", "101 bytes, and max_file_bytes is 100"),
        ([EndOfFile(ROUTE, ConditionCode.NO_ERROR, 0, 101)], "packet", "101 bytes, and max_file_bytes is 100"),
    ],
)
def test_contradictions_are_told_and_not_taken(pdus, kind, message):
    finding, _ = heard(*pdus, settings=Cfdp(max_file_bytes=100, max_held_bytes=90))
    assert finding.kind == kind
    assert message in finding.what


@pytest.mark.parametrize(
    ("pdus", "why"),
    [
        ([Metadata(ROUTE, "a", 30, CRC_32), FileData(ROUTE, 0, bytes(30)), END], "file checksum failure"),
        (
            [Metadata(ROUTE, "a", 30, ChecksumType.NULL_CHECKSUM), FileData(ROUTE, 0, bytes(30)), END],
            "unsupported checksum type",
        ),
        ([EndOfFile(ROUTE, ConditionCode.CANCEL_REQUEST_RECEIVED, 0, 30)], "cancel request received: the metadata"),
        (
            [Metadata(ROUTE, "a", 1 << 31, CRC_32)],
            "filestore rejection: the end of file, 2147483648 bytes in 1 gap missing",
        ),
    ],
)
def test_failures_are_named_on_both_sides(pdus, why):
    _, receiver = heard(*pdus)
    (one,) = receiver.received
    assert one.why.startswith(why)
    assert not one.complete
    said = []
    while (pdu := receiver.next(0.0)) is not None:
        said.append(pdu)
    assert isinstance(said[-1], Finished)
    sending = Sending(File("a", b""), SETTINGS, 0, acknowledged=True)
    sending.hear(0.0, said[-1])
    assert sending.why == why.partition(":")[0] + ", says the receiver"


def test_a_size_of_zero_stands_for_one_that_is_not_known():
    sending = Sending(File("a", content(30)), SETTINGS, 0, acknowledged=True)
    sent = [sending.next(0.0, 30) for _ in range(3)]
    finding, receiver = heard(Metadata(ROUTE, "a", 0, CRC_32), *sent[1:])
    assert finding is None
    assert receiver.received[0].complete


@pytest.mark.parametrize("checksum", ["modular", "crc-32"])
@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("widths", [(1, 1), (2, 4), (8, 8)])
def test_every_setting_delivers(checksum, crc, widths):
    entity_bytes, number_bytes = widths
    settings = Cfdp(checksum=checksum, crc=crc, entity_bytes=entity_bytes, number_bytes=number_bytes, ack_s=1, nak_s=1)
    files = [File("ün", content(95)), File("deux", b"")]
    link = Link(files, settings, fate=losing(["Metadata", "FileData", "EndOfFile"], 2)).run()
    assert_true(files, link.receiver.received)
    assert [one.complete for one in link.receiver.received] == [True, True]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"source": 2}, "source and destination are both 2"),
        ({"destination": 300}, "does not go into entity_bytes = 1"),
        ({"apid": 2047}, "apid = 2047"),
        ({"limit": 0}, "limit = 0"),
        ({"ack_s": 0.0}, "ack_s = 0.0"),
        ({"nak_s": 1e300}, "nak_s = 1e+300"),
        ({"checksum": "md5"}, "checksum = 'md5'"),
        ({"segment_byte": 9}, "Did you mean segment_bytes"),
    ],
)
def test_settings_that_make_no_sense_are_named(table, message):
    with pytest.raises(ConfigError) as error:
        parse_settings(table, Cfdp, source="here")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("file", "settings", "number", "message"),
    [
        (File("", b""), SETTINGS, 0, "has 0 bytes, and 1 to 255"),
        (File("ü" * 128, b""), SETTINGS, 0, "has 256 bytes, and 1 to 255"),
        (File("a", bytes(11)), Cfdp(max_file_bytes=10), 0, "11 bytes, and max_file_bytes is 10"),
        (File("a", b""), Cfdp(number_bytes=1), 256, "Transaction 256"),
    ],
)
def test_files_that_cannot_be_sent_are_refused(file, settings, number, message):
    with pytest.raises(FormatError, match=message):
        Sending(file, settings, number, acknowledged=True)
