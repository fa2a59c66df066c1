"""The account of a satellite: nothing appears, nothing vanishes, nothing goes where there is no room."""

import dataclasses
import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.downlink.contacts import Contact, Profile, plan
from taran_eo.downlink.passes import Pass
from taran_eo.downlink.queue import Kind, Load, Satellite, Sky
from taran_eo.errors import ConfigError

FRAME_BITS = 100  # one a second, where the rate is 100 bit/s


@st.composite
def loads(draw, *, expiring=False):
    segments = draw(st.integers(0, 9))
    kinds = tuple(
        Kind(f"kind {number}", draw(st.integers(0, 2)), draw(st.sampled_from([None, 15.0])) if expiring else None)
        for number in range(draw(st.integers(1, 3)))
    )
    shape = (segments, len(kinds))
    counts = st.integers(0, 12)
    sizes = np.array(draw(st.lists(counts, min_size=segments * len(kinds), max_size=segments * len(kinds))), np.int64)
    frames = np.where(sizes, np.maximum(sizes // 2, 1), 0).reshape(shape)
    taken = np.cumsum(draw(st.lists(st.integers(1, 9), min_size=segments, max_size=segments)) or [0])[:segments]
    spent = st.lists(st.integers(1, 12), min_size=segments, max_size=segments)
    process = draw(st.none() | spent.map(lambda each: np.array(each, np.float64)))
    return Load(
        taken_s=taken.astype(np.float64),
        kinds=kinds,
        product_bytes=sizes.reshape(shape),
        frames=frames,
        ships=sizes.reshape(shape).astype(np.float64) / 4,
        raw_bytes=np.array(draw(st.lists(st.integers(1, 30), min_size=segments, max_size=segments)), np.int64),
        process_s=process,
    )


@st.composite
def skies(draw, *, loss=0.0):
    contacts, now = [], 0
    for _ in range(draw(st.integers(0, 4))):
        now += draw(st.integers(1, 12))
        length = draw(st.integers(1, 10))
        contacts.append(Profile([now, now + length], [FRAME_BITS]))
        now += length
    uplink = tuple(draw(st.booleans()) for _ in contacts)
    return Sky(contacts, uplink, FRAME_BITS, loss, float(now + draw(st.integers(0, 20))))


def live(load, sky, room, seed=0, **options):
    return Satellite(load, sky, room, np.random.default_rng(seed), **options).run()


@given(
    load=loads(expiring=True), sky=st.sampled_from([0.0, 0.3]).flatmap(lambda p: skies(loss=p)), room=st.integers(1, 60)
)
def test_what_is_produced_is_delivered_lost_or_stored(load, sky, room):
    ledger = live(load, sky, room, watched=True)
    coming = load.product_bytes[load.taken_s > sky.end_s].sum()
    lost = ledger.overflow_bytes + ledger.expired_bytes + ledger.broken_bytes
    assert ledger.produced_bytes == load.product_bytes.sum() - coming
    assert ledger.produced_bytes == ledger.delivered_bytes + lost + ledger.stored_bytes
    assert 0 <= ledger.ships_delivered <= ledger.ships + 1e-9
    assert ledger.peak_bytes <= room
    assert all(0 <= used <= room and 0 <= queued <= used for _, used, queued in ledger.history)
    assert len(ledger.frames) == len(sky.contacts)
    for frames, contact in zip(ledger.frames, sky.contacts, strict=True):
        assert frames * FRAME_BITS <= contact.capacity_bits
    assert all(down > taken for down, taken in zip(ledger.down_s, ledger.taken_s, strict=True))


@given(load=loads(), sky=skies(), room=st.integers(1, 60))
def test_second_by_second_it_is_the_same(load, sky, room):
    ledger = live(load, sky, room)
    slow = second_by_second(load, sky, room)
    down = sorted(zip(ledger.kind, ledger.taken_s, ledger.down_s, strict=True))
    assert down == sorted(slow["down"])
    assert ledger.frames == slow["frames"]
    assert (ledger.delivered_bytes, ledger.overflow_bytes) == (slow["delivered"], slow["overflow"])
    assert ledger.peak_bytes == slow["peak"]


def second_by_second(load, sky, room):
    """The same story in the plainest words: one second after the other, one frame a second of a contact."""
    queue = []  # [priority, order, segment, kind, size, frames left]
    raw, current, order = [], None, 0
    told = {"down": [], "frames": [0] * len(sky.contacts), "delivered": 0, "overflow": 0, "peak": 0}

    def used():
        held = [*raw, *([current[0]] if current else [])]
        return sum(load.raw_bytes[segment] for segment in held) + sum(entry[4] for entry in queue)

    def fits(size, priority):
        yielding = [] if priority is None else [entry for entry in queue if entry[0] >= priority]
        gain = sum(load.raw_bytes[segment] for segment in raw) + sum(entry[4] for entry in yielding)
        if used() - gain + size > room:
            return False
        while used() + size > room and raw:
            told["overflow"] += load.product_bytes[raw.pop(0)].sum()
        for entry in sorted(yielding, key=lambda entry: (-entry[0], entry[1])):
            if used() + size > room:
                queue.remove(entry)
                told["overflow"] += entry[4]
        return True

    def enqueue(segment):
        nonlocal order
        for kind, size in enumerate(load.product_bytes[segment]):
            priority = load.kinds[kind].priority
            if size and fits(size, priority):
                order += 1
                queue.append([priority, order, segment, kind, size, load.frames[segment, kind]])
            else:
                told["overflow"] += size

    for second in range(int(sky.end_s) + 1):
        if current and current[1] == second:
            segment, current = current[0], None
            enqueue(segment)
            told["peak"] = max(told["peak"], used())
        if load.process_s is not None and not current and raw:
            current = (raw[0], second + load.process_s[raw.pop(0)])
        for segment in np.flatnonzero(load.taken_s == second):
            if load.process_s is None:
                enqueue(segment)
            elif fits(load.raw_bytes[segment], None):
                raw.append(segment)
                if not current:
                    current = (raw[0], second + load.process_s[raw.pop(0)])
            else:
                told["overflow"] += load.product_bytes[segment].sum()
            told["peak"] = max(told["peak"], used())
        for number, contact in enumerate(sky.contacts):
            if contact.start_s <= second < contact.end_s and queue:
                told["frames"][number] += 1
                entry = min(queue)
                entry[5] -= 1
                if entry[5] == 0:
                    queue.remove(entry)
                    told["down"].append((entry[3], load.taken_s[entry[2]], second + 1))
                    told["delivered"] += entry[4]
    return told


@given(load=loads(), sky=skies(), room=st.integers(20, 200))
def test_no_lower_priority_overtakes_in_a_contact(load, sky, room):
    """What was there before the contact and of a higher priority came down before anything lower did in it."""
    load = dataclasses.replace(load, process_s=None)
    ledger = live(load, sky, 10**6)
    priority = [load.kinds[kind].priority for kind in ledger.kind]
    for contact in sky.contacts:
        down = [
            (urgency, down_s, taken_s)
            for urgency, taken_s, down_s in zip(priority, ledger.taken_s, ledger.down_s, strict=True)
            if contact.start_s < down_s <= contact.end_s
        ]
        for urgency, down_s, _ in down:
            for other, other_down_s, other_taken_s in down:
                if other < urgency and other_down_s > down_s:
                    assert other_taken_s > down_s - 1  # it came in only while the last frame was on its way


@given(load=loads(expiring=True), sky=skies(loss=0.4), room=st.integers(1, 60), seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same(load, sky, room, seed):
    assert live(load, sky, room, seed, watched=True) == live(load, sky, room, seed, watched=True)


def one_product(frames=50, size=1000):
    one = np.ones((1, 1), np.int64)
    return Load(np.zeros(1), (Kind("mask", 0),), size * one, frames * one, 8.0 * one, np.ones(1, np.int64), None)


def test_lost_frames_go_again_with_an_uplink_and_are_gone_without():
    def down(uplink):
        return live(one_product(), Sky([Profile([1, 501], [FRAME_BITS])], [uplink], FRAME_BITS, 0.2, 600.0), 10**4, 5)

    asked, unasked = down(True), down(False)
    assert (asked.delivered_bytes, asked.broken_bytes, asked.ships_delivered) == (1000, 0, 8)
    assert asked.frames[0] == 50 + asked.again_frames
    assert asked.again_frames > 0
    assert unasked.frames == [50]
    assert unasked.broken_bytes == 20 * round(unasked.broken_bytes / 20) > 0
    assert unasked.ships_delivered == pytest.approx(8 * unasked.delivered_bytes / 1000)


def test_a_product_goes_on_where_the_last_contact_ended():
    sky = Sky([Profile([1, 31], [FRAME_BITS]), Profile([100, 130], [FRAME_BITS])], [False] * 2, FRAME_BITS, 0.0, 200.0)
    ledger = live(one_product(), sky, 10**4)
    assert (ledger.frames, ledger.down_s) == ([30, 20], [120.0])


def test_storage_that_is_full_forgets_the_oldest_of_the_lowest_priority():
    kinds = (Kind("ships", 0), Kind("chips", 1))
    sizes = np.array([[10, 40], [10, 40], [10, 40]])
    load = Load(np.arange(3.0), kinds, sizes, sizes, sizes * 1.0, np.ones(3, np.int64), None)
    ledger = live(load, Sky([Profile([10, 1000], [FRAME_BITS])], [False], FRAME_BITS, 0.0, 2000.0), 100)
    assert (ledger.overflow_bytes, ledger.peak_bytes) == (80, 100)
    assert sorted(zip(ledger.kind, ledger.taken_s, strict=True)) == [(0, 0.0), (0, 1.0), (0, 2.0), (1, 2.0)]


# Contacts.


def seen(satellite, station, rise_s, set_s):
    return Pass(f"satellite {satellite}", f"station {station}", rise_s, set_s, (rise_s + set_s) / 2, 40.0)


@st.composite
def skies_over_stations(draw):
    satellites, stations = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    found = []
    for satellite in range(satellites):
        for station in range(stations):
            now = 0
            for _ in range(draw(st.integers(0, 3))):
                now += draw(st.integers(1, 20))
                length = draw(st.integers(1, 15))
                found.append(seen(satellite, station, now, now + length))
                now += length
    return draw(st.permutations(found)), {f"station {at}": draw(st.integers(1, 2)) for at in range(stations)}


RULES = {"handover_s": 3.0, "turnaround_s": 2.0, "shortest_s": 2.0}


@given(given=skies_over_stations())
def test_a_plan_holds_its_rules(given):
    found, antennas = given
    contacts = plan(found, antennas, **RULES)
    of, at = defaultdict(list), defaultdict(list)
    for contact in contacts:
        of[contact.seen.satellite].append(contact)
        at[contact.seen.station].append(contact)
        assert contact.seen.rise_s <= contact.start_s
        assert contact.end_s == contact.seen.set_s
        assert contact.end_s - contact.start_s >= RULES["shortest_s"]
    for mine in of.values():
        for before, after in itertools.pairwise(mine):
            assert after.start_s >= before.end_s + RULES["handover_s"]
    for station, mine in at.items():
        for contact in mine:
            others = [e for e in mine if e.start_s <= contact.start_s < e.end_s + RULES["turnaround_s"]]
            assert len(others) <= antennas[station]
    # No antenna is idle beside a satellite that could use it.
    for one in set(found) - {contact.seen for contact in contacts}:
        for now in np.arange(one.rise_s, one.set_s - RULES["shortest_s"] + 0.25, 0.25):
            busy = any(e.start_s <= now < e.end_s + RULES["handover_s"] for e in of[one.satellite])
            taken = sum(e.start_s <= now < e.end_s + RULES["turnaround_s"] for e in at[one.station])
            assert busy or taken >= antennas[one.station]


@given(given=skies_over_stations(), seed=st.integers(0, 99))
def test_a_plan_does_not_depend_on_any_order(given, seed):
    found, antennas = given
    shuffled = [found[at] for at in np.random.default_rng(seed).permutation(len(found))]
    turned = dict(reversed(antennas.items()))
    assert plan(found, antennas, **RULES) == plan(shuffled, turned, **RULES)


def test_who_waited_longest_is_served_first():
    found = [seen(0, 0, 0, 10), seen(0, 0, 20, 30), seen(1, 0, 20, 30), seen(1, 1, 40, 50)]
    contacts = plan(found, {"station 0": 1, "station 1": 1}, **RULES)
    assert contacts == [Contact(found[at], *times) for at, times in ((0, (0, 10)), (2, (20, 30)), (3, (40, 50)))]


def test_profiles_integrate_and_fall_silent():
    profile = Profile([0, 10, 20, 30], [5, 0, 10])
    assert profile.capacity_bits == 150
    assert [profile.bits_at(t) for t in (-1, 0, 4, 15, 25, 99)] == [0, 0, 20, 50, 100, 150]
    assert [profile.time_at(bits) for bits in (0, 20, 50, 100, 150, 151)] == [0, 4, 10, 25, 30, np.inf]
    assert profile.open_s == 20
    silent = profile.without([(5, 25), (29, 99)])
    assert silent.capacity_bits == 25 + 40
    assert silent.edges_s[-1] == 30


@pytest.mark.parametrize(("rates", "said"), [([-1.0], "-1.0 bit/s"), ([np.nan], "nan bit/s"), ([1, 1], "do not rise")])
def test_rates_that_make_no_sense_are_refused(rates, said):
    with pytest.raises(ConfigError, match=said):
        Profile([0, 10], rates)
