"""The account of one satellite: what is recorded, waits, is sent, arrives or is lost, in simulated time.

Segments of imagery come in at their ends. Where they are processed, their raw pixels take storage until the processor,
which does one after the other, has made products of them; where not, the imagery itself is the product. Products wait
by priority, 0 first, and within a priority the oldest first; a product of a higher priority that comes in while another
is being sent goes first from the next frame on, and the other goes on where it was.

When there is no room, what waits for the processor goes first (oldest first, never what is being processed), then the
lowest priority, oldest first, but nothing of a higher priority than what comes in, and no product at all for pixels
that the processor is to see; if that does not make room, what comes in is not recorded. A product keeps its room until
its last frame is down. What is too old is deleted when it would be sent or its room is needed; of a priority that
several kinds share, as soon as nothing that is kept stands before it.

Frames are lost by chance. A station with an uplink asks for them at the end of a product, and they go again, before
anything else of that priority and in the next contact if need be; without one they are gone, and with them their share
of the product. The time of a request, a fraction of a second, is not counted.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.contacts import Profile

_ROUNDING = 1e-6
"""Frames: what floating-point arithmetic may lack of a whole one."""


@dataclass(frozen=True)
class Kind:
    """A kind of product.

    Attributes:
        name: What it is.
        priority: 0 goes first.
        expires_s: Age from which on it is worth nothing and is deleted on board; None keeps it.
        copies: How often it is sent; what one copy lost, another may have brought.
    """

    name: str
    priority: int
    expires_s: float | None = None
    copies: int = 1


@dataclass(frozen=True)
class Load:
    """What the segments of one satellite give.

    Attributes:
        taken_s: float64[segments], rising: when each is recorded, seconds from the start.
        kinds: The kinds of products, in the order in which those of a segment come out of the processor.
        product_bytes: int64[segments, kinds]; zero is no product.
        frames: int64[segments, kinds], frames on the wire of each product, all copies together.
        ships: float64[segments, kinds], ships whose first sign on the ground this product is.
        raw_bytes: int64[segments], what the pixels of a segment take while they wait for the processor.
        process_s: float64[segments], time that the processor takes; None where nothing is processed.
    """

    taken_s: NDArray[np.float64]
    kinds: tuple[Kind, ...]
    product_bytes: NDArray[np.int64]
    frames: NDArray[np.int64]
    ships: NDArray[np.float64]
    raw_bytes: NDArray[np.int64]
    process_s: NDArray[np.float64] | None


@dataclass(frozen=True)
class Sky:
    """What the satellite may send through.

    Attributes:
        contacts: Its contacts, by start, not overlapping.
        uplink: Of each contact, whether the station can ask for lost frames.
        frame_bits: Bits of a frame on the wire.
        frame_loss: Probability that a frame is lost.
        end_s: When the simulation ends.
    """

    contacts: Sequence[Profile]
    uplink: Sequence[bool]
    frame_bits: int
    frame_loss: float
    end_s: float


@dataclass
class Ledger:
    """What became of all products of a satellite; bytes are those of the products, without overheads.

    Attributes:
        produced_bytes: Of all segments.
        delivered_bytes: On the ground.
        overflow_bytes: Lost for want of room.
        expired_bytes: Deleted on board as too old.
        broken_bytes: Lost with frames that nobody could ask for.
        stored_bytes: Still on board at the end, waiting for the processor or for a contact.
        ships: Ships of all segments.
        ships_delivered: Those that the ground knows of; a share of one where a product came in part.
        peak_bytes: Most storage in use.
        frames: Frames sent in each contact.
        again_frames: Those of them that went again.
        process_s: Time that the processor was at work.
        kind: Of each product that came down, the number of its kind.
        taken_s: When its segment was recorded.
        down_s: When its last frame was down.
        down_ships: Ships that it told.
        history: Times, storage in use and bytes of products that wait for a contact, at each change; empty unless
            wanted.
    """

    produced_bytes: int = 0
    delivered_bytes: int = 0
    overflow_bytes: int = 0
    expired_bytes: int = 0
    broken_bytes: int = 0
    stored_bytes: int = 0
    ships: float = 0.0
    ships_delivered: float = 0.0
    peak_bytes: int = 0
    frames: list[int] = field(default_factory=list)
    again_frames: int = 0
    process_s: float = 0.0
    kind: list[int] = field(default_factory=list)
    taken_s: list[float] = field(default_factory=list)
    down_s: list[float] = field(default_factory=list)
    down_ships: list[float] = field(default_factory=list)
    history: list[tuple[float, int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Product:
    kind: int
    taken_s: float
    size: int
    ships: float
    frames: int
    left: int  # frames of this round that are not sent
    again: int = 0  # lost ones, for the next round
    gone: int = 0  # lost for good


class Satellite:
    """One satellite; `run` is called once.

    Args:
        load: What it records.
        sky: Its contacts.
        storage_bytes: Room.
        rng: Chance of lost frames.
        watched: Whether the history is kept.
    """

    def __init__(
        self, load: Load, sky: Sky, storage_bytes: int, rng: np.random.Generator, *, watched: bool = False
    ) -> None:
        self._load, self._sky, self._room, self._rng, self._watched = load, sky, storage_bytes, rng, watched
        self._taken: list[float] = load.taken_s.tolist()
        self._raw: list[int] = load.raw_bytes.tolist()
        self._sizes: list[list[int]] = load.product_bytes.tolist()
        self._frames: list[list[int]] = load.frames.tolist()
        self._ships: list[list[float]] = load.ships.tolist()
        self._process: list[float] | None = None if load.process_s is None else load.process_s.tolist()
        self._loss = [sky.frame_loss**kind.copies for kind in load.kinds]
        # By priority, the most urgent first.
        self._urgency = sorted({kind.priority for kind in load.kinds})
        self._queues: dict[int, deque[_Product]] = {priority: deque() for priority in self._urgency}
        self._waiting: deque[int] = deque()  # segments, for the processor
        self._processing: int | None = None
        self._processed_s = math.inf
        self._next = 0
        self._used = self._queued = 0
        self.ledger = Ledger()

    def run(self) -> Ledger:
        """Live through the time."""
        ledger = self.ledger
        for profile, uplink in zip(self._sky.contacts, self._sky.uplink, strict=True):
            self._until(profile.start_s)
            ledger.frames.append(self._contact(profile, uplink=uplink))
        self._until(self._sky.end_s)
        self._expire(self._sky.end_s)
        unprocessed = [*self._waiting, *([] if self._processing is None else [self._processing])]
        waiting = sum(product.size for queue in self._queues.values() for product in queue)
        ledger.stored_bytes = waiting + sum(sum(self._sizes[segment]) for segment in unprocessed)
        return ledger

    def _coming_s(self) -> float:
        """When the next segment is recorded or processed."""
        taken_s = self._taken[self._next] if self._next < len(self._taken) else math.inf
        return min(taken_s, self._processed_s)

    def _until(self, time_s: float) -> None:
        """Record and process all that comes until `time_s`."""
        while (now_s := self._coming_s()) <= time_s:
            if now_s == self._processed_s:
                self._finish_processing(now_s)
            else:
                self._record(now_s)
            self._note(now_s)

    def _record(self, now_s: float) -> None:
        segment, self._next = self._next, self._next + 1
        self.ledger.produced_bytes += sum(self._sizes[segment])
        self.ledger.ships += sum(self._ships[segment])
        if self._process is None:
            self._enqueue(segment, now_s)
        elif self._make_room(self._raw[segment], None, now_s):
            self._used += self._raw[segment]
            self._waiting.append(segment)
            self._start_processing(now_s)
        else:
            self.ledger.overflow_bytes += sum(self._sizes[segment])
        self.ledger.peak_bytes = max(self.ledger.peak_bytes, self._used)

    def _start_processing(self, now_s: float) -> None:
        if self._processing is None and self._waiting and self._process is not None:
            self._processing = self._waiting.popleft()
            self._processed_s = now_s + self._process[self._processing]
            self.ledger.process_s += min(self._process[self._processing], self._sky.end_s - now_s)

    def _finish_processing(self, now_s: float) -> None:
        segment = self._processing
        if segment is None:
            return
        self._processing, self._processed_s = None, math.inf
        self._used -= self._raw[segment]
        self._enqueue(segment, now_s)
        self.ledger.peak_bytes = max(self.ledger.peak_bytes, self._used)
        self._start_processing(now_s)

    def _enqueue(self, segment: int, now_s: float) -> None:
        """The products of a segment wait for a contact."""
        for kind, (size, frames, ships) in enumerate(
            zip(self._sizes[segment], self._frames[segment], self._ships[segment], strict=True)
        ):
            if not size:
                continue
            priority = self._load.kinds[kind].priority
            if self._make_room(size, priority, now_s):
                self._used += size
                self._queued += size
                self._queues[priority].append(_Product(kind, self._taken[segment], size, ships, frames, frames))
            else:
                self.ledger.overflow_bytes += size

    def _make_room(self, size: int, priority: int | None, now_s: float) -> bool:
        """Whether `size` bytes fit, after deleting what may be deleted for them; None is the priority of raw pixels."""
        if self._used + size <= self._room:
            return True
        self._expire(now_s)
        victims = [] if priority is None else [each for each in reversed(self._urgency) if each >= priority]
        yielding = sum(self._raw[segment] for segment in self._waiting)
        yielding += sum(product.size for each in victims for product in self._queues[each])
        if self._used - yielding + size > self._room:
            return False  # nothing is deleted for what does not fit even so
        while self._used + size > self._room and self._waiting:
            segment = self._waiting.popleft()
            self._used -= self._raw[segment]
            self.ledger.overflow_bytes += sum(self._sizes[segment])
        for each in victims:
            while self._used + size > self._room and self._queues[each]:
                self.ledger.overflow_bytes += self._release(each).size
        return True

    def _release(self, priority: int) -> _Product:
        """Take the oldest product of a priority out of the storage."""
        product = self._queues[priority].popleft()
        self._used -= product.size
        self._queued -= product.size
        return product

    def _expire(self, now_s: float) -> None:
        """Delete what is too old; the oldest of a priority stand first."""
        for priority, queue in self._queues.items():
            while queue:
                expires_s = self._load.kinds[queue[0].kind].expires_s
                if expires_s is None or queue[0].taken_s + expires_s > now_s:
                    break
                self.ledger.expired_bytes += self._release(priority).size

    def _contact(self, profile: Profile, *, uplink: bool) -> int:
        """Send what goes through; returns the frames sent."""
        frame_bits = self._sky.frame_bits
        sent_bits, total, now_s = 0.0, 0, profile.start_s
        while True:
            self._until(now_s)
            self._expire(now_s)
            coming_s = self._coming_s()
            queue = next((self._queues[each] for each in self._urgency if self._queues[each]), None)
            if queue is None:
                if coming_s >= profile.end_s:
                    return total
                now_s, sent_bits = coming_s, max(sent_bits, profile.bits_at(coming_s))
                continue
            product = queue[0]
            # Whole frames: as many as go through, but none that would begin after something that may go first came in.
            frames = min(product.left, math.floor((profile.capacity_bits - sent_bits) / frame_bits + _ROUNDING))
            if not frames:
                return total
            if coming_s < profile.time_at(sent_bits + frames * frame_bits):
                begun = math.ceil((profile.bits_at(coming_s) - sent_bits) / frame_bits - _ROUNDING)
                if begun <= 0:
                    now_s = coming_s
                    continue
                frames = min(frames, begun)
            sent_bits += frames * frame_bits
            total += frames
            now_s = min(profile.time_at(sent_bits), profile.end_s)
            self._send(product, frames, now_s, uplink=uplink)
            self._note(now_s)

    def _send(self, product: _Product, frames: int, now_s: float, *, uplink: bool) -> None:
        """Some frames of the product that stands first went out."""
        product.left -= frames
        if self._sky.frame_loss:
            lost = int(self._rng.binomial(frames, self._loss[product.kind]))
            product.again += lost if uplink else 0
            product.gone += 0 if uplink else lost
        if product.left:
            return
        if product.again:
            product.left, product.again = product.again, 0
            self.ledger.again_frames += product.left
            return
        self._release(self._load.kinds[product.kind].priority)
        broken = round(product.size * product.gone / product.frames)
        self.ledger.broken_bytes += broken
        self.ledger.delivered_bytes += product.size - broken
        if product.gone < product.frames:
            told = product.ships * (1 - product.gone / product.frames)
            self.ledger.ships_delivered += told
            self.ledger.kind.append(product.kind)
            self.ledger.taken_s.append(product.taken_s)
            self.ledger.down_s.append(now_s)
            self.ledger.down_ships.append(told)

    def _note(self, now_s: float) -> None:
        if self._watched:
            self.ledger.history.append((now_s, self._used, self._queued))
