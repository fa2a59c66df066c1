"""Our ends of CFDP against those of cfdp-py, an independent implementation, in both directions, with losses.

cfdp-py 0.7.0 never ends a transaction whose Metadata PDU was lost and sent again, so that one is spared on the way
to it; and it looks at the clock, which is replaced by the time of the test.
"""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from cfdppy import (
    CfdpUserBase,
    IndicationConfig,
    LocalEntityConfig,
    PutRequest,
    RemoteEntityConfig,
    RemoteEntityConfigTable,
)
from cfdppy.exceptions import NoRemoteEntityConfigFound, PduIgnoredForDest, PduIgnoredForSource
from cfdppy.handler import DestHandler, SourceHandler
from cfdppy.mib import CheckTimerProvider, DefaultFaultHandlerBase
from spacepackets.cfdp import ChecksumType, TransmissionMode
from spacepackets.cfdp.pdu.helper import PduFactory
from spacepackets.countdown import Countdown
from spacepackets.seqcount import SeqCountProvider
from spacepackets.util import ByteFieldU8

from taran_eo.wire.cfdp import Cfdp, File
from taran_eo.wire.pdu import FileData, Metadata, pack, parse
from taran_eo.wire.receiver import Receiver
from taran_eo.wire.sender import Sending

IGNORED = (NoRemoteEntityConfigFound, PduIgnoredForDest, PduIgnoredForSource)
SEGMENT = 50
LOSSES = [0.0, 0.1, 0.3]
LIMIT = 40


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return round(1000 * self.now_s)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("spacepackets.countdown.time_ms", clock)
    return clock


class User(CfdpUserBase):
    """Remembers how transactions ended."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def transaction_finished_indication(self, params):
        self.ends.append((params.finished_params.condition_code.name, params.finished_params.delivery_code.name))

    def _nothing(self, *arguments):
        pass

    transaction_indication = eof_sent_indication = metadata_recv_indication = _nothing
    file_segment_recv_indication = report_indication = suspended_indication = resumed_indication = _nothing
    fault_indication = abandoned_indication = eof_recv_indication = _nothing


class Faults(DefaultFaultHandlerBase):
    def _nothing(self, *arguments):
        pass

    notice_of_suspension_cb = notice_of_cancellation_cb = abandoned_cb = ignore_cb = _nothing


class Timers(CheckTimerProvider):
    def provide_check_timer(self, local_entity_id, remote_entity_id, entity_type):
        return Countdown(timedelta(seconds=1))


def peer(kind, entity, remote, *, crc=True, checksum=ChecksumType.CRC_32, immediate_nak=False):
    """A handler of cfdp-py and its user."""
    user = User()
    local = LocalEntityConfig(ByteFieldU8(entity), IndicationConfig(), Faults())
    config = RemoteEntityConfig(
        entity_id=ByteFieldU8(remote),
        max_file_segment_len=SEGMENT,
        max_packet_len=1000,
        closure_requested=False,
        crc_on_transmission=crc,
        default_transmission_mode=TransmissionMode.ACKNOWLEDGED,
        crc_type=checksum,
        positive_ack_timer_interval_seconds=1.0,
        positive_ack_timer_expiration_limit=LIMIT,
        check_limit=3,
        immediate_nak_mode=immediate_nak,
        nak_timer_interval_seconds=1.0,
        nak_timer_expiration_limit=LIMIT,
    )
    table = RemoteEntityConfigTable([config])
    if kind is DestHandler:
        return DestHandler(local, user, table, Timers()), user
    return SourceHandler(local, user, table, Timers(), SeqCountProvider(32)), user


def step(handler, data=None):
    """What the peer answers to a PDU, or to time passing."""
    try:
        handler.state_machine(None if data is None else PduFactory.from_raw(data))
    except IGNORED:
        return []
    said = []
    while (holder := handler.get_next_packet()) is not None:
        said.append(bytes(holder.pdu.pack()))
    return said


def settings(**changes):
    return Cfdp(ack_s=1.0, nak_s=1.0, limit=LIMIT, **changes)


@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("immediate_nak", [False, True])
@pytest.mark.parametrize(("acknowledged", "loss"), [(False, 0.0), *((True, loss) for loss in LOSSES)])
def test_the_peer_receives_what_we_send(tmp_path, clock, size, loss, immediate_nak, acknowledged):
    rng = np.random.default_rng([size, int(100 * loss), immediate_nak])
    data = rng.bytes(size)
    place = tmp_path / "received"
    handler, user = peer(DestHandler, 2, 1, immediate_nak=immediate_nak)
    sending = Sending(File(str(place), data), settings(), 0, acknowledged=acknowledged)
    for _ in range(5000):
        answers = []
        if sending.ready:
            pdu = sending.next(clock.now_s, SEGMENT)
            if isinstance(pdu, Metadata) or rng.random() >= loss:
                answers = step(handler, pack(pdu))
        else:
            clock.now_s += 0.1
            sending.tick(clock.now_s)
        answers += step(handler)
        for answer in answers:
            if rng.random() >= loss:
                sending.hear(clock.now_s, parse(answer))
        if sending.why is not None and user.ends and not sending.ready:
            break
    assert sending.why == ""
    assert user.ends == [("NO_ERROR", "DATA_COMPLETE")]
    assert place.read_bytes() == data


@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("checksum", [ChecksumType.CRC_32, ChecksumType.MODULAR])
@pytest.mark.parametrize("mode", list(TransmissionMode))
def test_we_receive_what_the_peer_sends(tmp_path, clock, size, loss, checksum, mode):
    rng = np.random.default_rng([size, int(100 * loss), checksum])
    data = rng.bytes(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    handler, user = peer(SourceHandler, 1, 2, crc=bool(size), checksum=checksum)
    handler.put_request(PutRequest(ByteFieldU8(2), source, Path("name"), mode, False))
    receiver = Receiver(settings())
    lost = []
    for _ in range(5000):
        said = step(handler)
        for pdu in said:
            if rng.random() >= loss:
                assert receiver.hear(clock.now_s, pdu) is None
            else:
                lost.append(parse(pdu))
        while (answer := receiver.next(clock.now_s)) is not None:
            if rng.random() >= loss:
                for pdu in step(handler, pack(answer)):
                    if rng.random() >= loss:
                        receiver.hear(clock.now_s, pdu)
        if not said:
            clock.now_s += 0.1
            receiver.tick(clock.now_s)
        if user.ends and receiver.deadline_s is None:
            break
    receiver.close()
    (one,) = receiver.received
    if mode == TransmissionMode.ACKNOWLEDGED or not lost:
        assert one.complete
        assert (one.name, one.data, one.size) == ("name", data, size)
        assert user.ends == [("NO_ERROR", "DATA_COMPLETE")]
    else:
        assert not one.complete
        assert sum(stop - start for start, stop in one.gaps) == sum(
            len(pdu.data) for pdu in lost if isinstance(pdu, FileData)
        )


def test_the_metadata_of_the_peer_may_be_lost(tmp_path, clock):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(200)))
    handler, _ = peer(SourceHandler, 1, 2)
    handler.put_request(PutRequest(ByteFieldU8(2), source, Path("name"), TransmissionMode.ACKNOWLEDGED, False))
    receiver = Receiver(settings())
    first = step(handler)
    assert isinstance(parse(first[0]), Metadata)
    for _ in range(100):
        for pdu in step(handler):
            receiver.hear(clock.now_s, pdu)
        while (answer := receiver.next(clock.now_s)) is not None:
            for pdu in step(handler, pack(answer)):
                receiver.hear(clock.now_s, pdu)
    assert receiver.received[0].complete
    assert receiver.received[0].data == source.read_bytes()
