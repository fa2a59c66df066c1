"""The simulation: one plan of contacts and one set of images, and what each strategy makes of them."""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec.bundle import TWICE
from taran_eo.codec.header import Step
from taran_eo.downlink.acquisition import Acquired, acquire
from taran_eo.downlink.contacts import Contact
from taran_eo.downlink.daylight import noons_s
from taran_eo.downlink.flux import beyond_limits
from taran_eo.downlink.link import Link
from taran_eo.downlink.orbit import Orbit
from taran_eo.downlink.queue import Kind, Ledger, Load, Satellite, Sky
from taran_eo.downlink.scenario import HOUR_S, Scenario, Urgency
from taran_eo.downlink.sessions import Session, sessions_of
from taran_eo.downlink.stations import Station
from taran_eo.downlink.strategies import Strategy, chosen
from taran_eo.downlink.traffic import Traffic
from taran_eo.imagery.sensor import Sensor

_FRESH_DAYS = 7
"""How far from the epoch of their elements orbits are taken without a word."""


@dataclass(frozen=True)
class Outcome:
    """What a strategy came to, over all satellites.

    Attributes:
        strategy: Which.
        product_bytes: Bytes of all products.
        wire_bytes: What they take on the wire, retransmission left out.
        ledgers: The account of each satellite.
        ages_s: By level, the age of each product that came down when it did.
        products: By level, how many there were.
        airtime_s: Time in which frames were sent, at the mean rate of each contact.
    """

    strategy: Strategy
    product_bytes: int
    wire_bytes: int
    ledgers: tuple[Ledger, ...]
    ages_s: dict[Step, NDArray[np.float64]]
    products: dict[Step, int]
    airtime_s: float


@dataclass(frozen=True)
class Simulation:
    """All that was simulated.

    Attributes:
        scenario: What was asked, resolved.
        traffic: What was seen.
        link: The link with the mode of constant coding, where that is what it has.
        farthest_km: Height of the highest apogee.
        sessions: Of each satellite, its contacts.
        segments: Segments taken, of all satellites.
        cancelled: Segments that were not taken for a contact.
        imaged_km2: Area.
        raw_bytes: What the sensor gave.
        outcomes: Of each strategy.
        warnings: What the reader should know.
    """

    scenario: Scenario
    traffic: Traffic
    link: Link
    farthest_km: float
    sessions: tuple[tuple[Session, ...], ...]
    segments: int
    cancelled: int
    imaged_km2: float
    raw_bytes: int
    outcomes: tuple[Outcome, ...]
    warnings: tuple[str, ...]

    @property
    def stations(self) -> tuple[Station, ...]:
        """The stations in full."""
        return _stations(self.scenario)

    @property
    def capacity_bits(self) -> float:
        """What all contacts could carry."""
        return sum(each.profile.capacity_bits for mine in self.sessions for each in mine)


def simulate(scenario: Scenario, traffic: Traffic) -> Simulation:
    """Live through a scenario once for each strategy.

    Args:
        scenario: What is asked.
        traffic: What there is to see.

    Raises:
        ConfigError: Something of the scenario that cannot be, no pass at all, or a link that closes nowhere.
        CorruptDataError: Orbital elements that are none.
    """
    scenario = scenario.resolved()
    strategies = chosen(scenario.strategies)
    orbits = scenario.orbit.orbits(scenario.start)
    stations = _stations(scenario)
    sessions, link, warnings = sessions_of(scenario, orbits, stations)
    seen = []
    for number, (orbit, mine) in enumerate(zip(orbits, sessions, strict=True)):
        mine, taken = _look(scenario, traffic, orbit, mine, np.random.default_rng([scenario.seed, number]))
        sessions[number] = mine
        seen.append(taken)
    warnings += [*_old(scenario, orbits[0]), *_twice_coded(scenario), *_too_much(scenario, traffic, seen, strategies)]
    warnings += beyond_limits(scenario.link, min(orbit.perigee_km for orbit in orbits))
    return Simulation(
        scenario=scenario,
        traffic=traffic,
        link=link,
        farthest_km=max(orbit.apogee_km for orbit in orbits),
        sessions=tuple(map(tuple, sessions)),
        segments=sum(taken.taken_s.size for taken in seen),
        cancelled=sum(taken.cancelled for taken in seen),
        imaged_km2=sum(taken.taken_s.size * taken.area_km2 for taken in seen),
        raw_bytes=sum(int(taken.raw_bytes.sum()) for taken in seen),
        outcomes=tuple(_outcome(scenario, traffic, strategy, seen, sessions) for strategy in strategies),
        warnings=tuple(warnings),
    )


def _stations(scenario: Scenario) -> tuple[Station, ...]:
    return tuple(each for each in scenario.stations if isinstance(each, Station))


def _sensor(scenario: Scenario) -> Sensor:
    assert isinstance(scenario.sensor, Sensor), "resolved"  # noqa: S101
    return scenario.sensor


def _look(
    scenario: Scenario, traffic: Traffic, orbit: Orbit, sessions: list[Session], rng: np.random.Generator
) -> tuple[list[Session], Acquired]:
    """What a satellite takes images of, and what is left of its contacts then."""
    attitude, slew_s = scenario.imaging.attitude, scenario.imaging.slew_s
    contacts_s = [(each.contact.start_s - slew_s, each.contact.end_s + slew_s) for each in sessions]
    taken = acquire(
        scenario.imaging,
        traffic,
        ships_km2=scenario.traffic.ships_km2,
        bits_km2=_sensor(scenario).bits_km2,
        noons_s=noons_s(orbit, scenario.start, scenario.duration_s),
        period_s=orbit.period_s,
        duration_s=scenario.duration_s,
        busy_s=contacts_s if attitude == "downlink-first" else [],
        rng=rng,
    )
    if attitude == "imaging-first":
        ends_s = taken.taken_s
        begins_s = ends_s - taken.length_s
        silent = list(zip((begins_s - slew_s).tolist(), (ends_s + slew_s).tolist(), strict=True))
        sessions = [replace(each, profile=each.profile.without(_within(silent, each.contact))) for each in sessions]
    return sessions, taken


def _within(intervals_s: Sequence[tuple[float, float]], contact: Contact) -> list[tuple[float, float]]:
    return [each for each in intervals_s if each[1] > contact.start_s and each[0] < contact.end_s]


def _old(scenario: Scenario, orbit: Orbit) -> Iterator[str]:
    """Elements that are too far from the simulation to say when passes are."""
    away_days = abs(orbit.epoch - scenario.start) / timedelta(days=1)
    if away_days > _FRESH_DAYS:
        yield (
            f"The elements of {orbit.name} are of {orbit.epoch:%Y-%m-%d}, {away_days:,.0f} days from the start: a low "
            "orbit drifts from SGP4 by kilometres a day, and after months passes are at other times of the day. Take "
            "elements of that week, or set start to theirs"
        )


def _twice_coded(scenario: Scenario) -> Iterator[str]:
    framing = scenario.wire.framing
    if framing.interleaving:
        yield (
            f"Frames carry Reed-Solomon check symbols ({framing.check_bytes / framing.frame_bytes:.0%}) below the code "
            "of DVB-S2, which needs none: set wire.framing.interleaving to 0"
        )


def _too_much(
    scenario: Scenario, traffic: Traffic, seen: Sequence[Acquired], strategies: Sequence[Strategy]
) -> Iterator[str]:
    """What of the settings cannot work."""
    if not any(taken.taken_s.size for taken in seen):
        yield "No image is taken at all: raise days or imaging.duty, or shorten imaging.segment_s"
    elif seen[0].taken_s.size:
        one = seen[0]
        if one.raw_bytes[0] > scenario.storage_bytes:
            yield (
                f"One segment takes {one.raw_bytes[0]:,} bytes and the storage holds {scenario.storage_bytes:,}: "
                "nothing is recorded. Shorten imaging.segment_s, or enlarge storage_bytes"
            )
        slow: dict[float, list[str]] = defaultdict(list)
        for strategy in strategies:
            process_s = _process_s(scenario, traffic, strategy, one)
            if process_s is not None:
                slow[float(process_s.sum()) / scenario.duration_s].append(strategy.name)
        for share, names in slow.items():
            if share > 1:
                yield (
                    f"The processor needs {share:.1f} times the time there is for {', '.join(names)}: images wait "
                    "until they are pushed out. Lower imaging.duty, or give a faster processor (processing.tile_ms, "
                    "processing.compress_mb_s)"
                )


def _process_s(scenario: Scenario, traffic: Traffic, strategy: Strategy, taken: Acquired) -> NDArray[np.float64] | None:
    """Time that the processor takes for each segment; None where it has nothing to do.

    Ships are sought in all of the sea, clouds included, in pixels of the size that the scenes have.
    """
    processing = scenario.processing
    if strategy.on_board:
        tile_km2 = (processing.tile_px * traffic.pixel_m / 1e3) ** 2
        return np.full(taken.taken_s.size, math.ceil(taken.sea_km2 / tile_km2) * processing.tile_ms / 1e3)
    if strategy.imagery == "none" or processing.compress_mb_s is None:
        return None
    rate_mb_s: float = getattr(processing.compress_mb_s, strategy.imagery)
    return strategy.imagery_bytes(taken) / (1e6 * rate_mb_s)


def _kind(scenario: Scenario, level: Step) -> Kind:
    """How products of a level are treated: what is sent twice, is so where nobody can ask for lost frames."""
    urgency: Urgency = getattr(scenario.priorities, level)
    twice = scenario.one_way and any(level in levels for levels in TWICE)
    expires_s = None if urgency.expires_h is None else urgency.expires_h * HOUR_S
    return Kind(level, urgency.priority, expires_s, copies=2 if twice else 1)


def _load(scenario: Scenario, traffic: Traffic, strategy: Strategy, kinds: tuple[Kind, ...], taken: Acquired) -> Load:
    """What the segments of a satellite give to a strategy."""
    sizes = np.stack(list(strategy.product_bytes(taken, scenario.ratios).values()), axis=1)
    ships = np.zeros(sizes.shape)
    ships[:, 0] = taken.drawn.ships
    return Load(
        taken_s=taken.taken_s,
        kinds=kinds,
        product_bytes=sizes,
        frames=scenario.overheads.frames(sizes) * np.array([kind.copies for kind in kinds]),
        ships=ships,
        raw_bytes=taken.raw_bytes,
        process_s=_process_s(scenario, traffic, strategy, taken),
    )


def _outcome(
    scenario: Scenario,
    traffic: Traffic,
    strategy: Strategy,
    seen: Sequence[Acquired],
    sessions: Sequence[Sequence[Session]],
) -> Outcome:
    """Live through the time with one strategy."""
    overheads = scenario.overheads
    kinds = tuple(_kind(scenario, level) for level in strategy.levels)
    ledgers = []
    ages: dict[Step, list[NDArray[np.float64]]] = {level: [] for level in strategy.levels}
    products = dict.fromkeys(strategy.levels, 0)
    product_bytes = wire_bytes = 0
    airtime_s = 0.0
    for number, (taken, mine) in enumerate(zip(seen, sessions, strict=True)):
        load = _load(scenario, traffic, strategy, kinds, taken)
        sky = Sky(
            [each.profile for each in mine],
            [each.uplink for each in mine],
            overheads.frame_bits,
            scenario.contacts.frame_loss,
            scenario.duration_s,
        )
        # Chance of its own for each, so that no strategy and no satellite changes another's.
        rng = np.random.default_rng([scenario.seed, number, zlib.crc32(strategy.name.encode())])
        ledger = Satellite(load, sky, scenario.storage_bytes, rng, watched=number == 0).run()
        ledgers.append(ledger)
        product_bytes += int(load.product_bytes.sum())
        wire_bytes += int(load.frames.sum()) * scenario.wire.framing.cadu_bytes
        kind = np.array(ledger.kind, dtype=np.int64)
        aged = np.array(ledger.down_s) - np.array(ledger.taken_s)
        for place, level in enumerate(strategy.levels):
            ages[level].append(aged[kind == place])
            products[level] += int((load.product_bytes[:, place] > 0).sum())
        for sent, each in zip(ledger.frames, mine, strict=True):
            if sent:
                share = sent * overheads.frame_bits / each.profile.capacity_bits
                airtime_s += share * each.profile.open_s
    return Outcome(
        strategy,
        product_bytes,
        wire_bytes,
        tuple(ledgers),
        {level: np.sort(np.concatenate(each)) for level, each in ages.items()},
        products,
        airtime_s,
    )
