"""Results of a simulation: each strategy, each level of it and each contact as a row of figures."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from taran_eo.downlink.budget import best_budget
from taran_eo.downlink.link import kept_margin_db, rates_bit_s, slant_range_km
from taran_eo.downlink.scenario import HOUR_S
from taran_eo.downlink.simulate import Outcome, Simulation
from taran_eo.downlink.strategies import REFERENCE

Cell = str | int | float | None

ELEVATIONS_DEG = (10.0, 20.0, 30.0, 45.0, 60.0, 90.0)
"""At which budgets are told, besides the least elevation of each station."""


@dataclass(frozen=True)
class Row:
    """A strategy in the table.

    Attributes:
        strategy: Its name.
        what: What goes down.
        product_bytes: Bytes of all products.
        wire_bytes: What these take on the wire with all overheads, without what is asked for again.
        less_than_raw: How many times less that is than the bits of the sensor, without any overhead.
        less_than_jpeg_ls: How many times less it is than what JPEG-LS takes on the wire.
        sent_bytes: What was really sent, retransmission included.
        delivered: Share of the product bytes on the ground at the end.
        overflow: Share lost for want of room.
        expired: Share deleted as too old.
        broken: Share lost with frames that were not asked for.
        stored: Share still on board.
        ships: Ships as the model finds them, on board or in what came down, of which the ground knows at the end.
        ships_share: Share of all ships that the model finds in all that was imaged.
        recall: Share of all ships that the model finds at all; None where whatever looks on the ground decides.
        age_median_h: Age of the first sign of a ship when it is down, over all segments; None where half of them have
            not come down.
        age_p95_h: The same for 95 of 100.
        picture_age_h: Half the revisit and the median age; None without a revisit.
        on_time: Share of the first signs that are down within their deadline; None without a deadline.
        used: Share of what all contacts could carry that is sent.
        peak_bytes: Most storage in use.
        busy: Share of the time in which the processor works; None where hardware that is not modelled compresses.
        compute_j: Energy of the processor; likewise.
        transmit_j: Energy of the transmitter while frames of products go, without any to warm up or fill.
    """

    strategy: str
    what: str
    product_bytes: int
    wire_bytes: int
    less_than_raw: float
    less_than_jpeg_ls: float | None
    sent_bytes: int
    delivered: float
    overflow: float
    expired: float
    broken: float
    stored: float
    ships: float
    ships_share: float
    recall: float | None
    age_median_h: float | None
    age_p95_h: float | None
    picture_age_h: float | None
    on_time: float | None
    used: float
    peak_bytes: int
    busy: float | None
    compute_j: float | None
    transmit_j: float


@dataclass(frozen=True)
class Waited:
    """A level of a strategy: how old its products are when they are down; as in `Row`."""

    strategy: str
    level: str
    priority: int
    products: int
    delivered: int
    age_median_h: float | None
    age_p95_h: float | None
    deadline_h: float | None
    on_time: float | None


@dataclass(frozen=True)
class Results:
    """The tables of a simulation."""

    simulation: Simulation

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The strategies."""
        wire = {each.strategy.name: each.wire_bytes for each in self.simulation.outcomes}
        return tuple(self._row(outcome, wire.get(REFERENCE)) for outcome in self.simulation.outcomes)

    @cached_property
    def waited(self) -> tuple[Waited, ...]:
        """The levels of the strategies."""
        found = []
        for outcome in self.simulation.outcomes:
            for level, ages_s in outcome.ages_s.items():
                urgency = getattr(self.simulation.scenario.priorities, level)
                count = outcome.products[level]
                found.append(
                    Waited(
                        outcome.strategy.name,
                        level,
                        urgency.priority,
                        count,
                        ages_s.size,
                        _hours(ages_s, count, 0.5),
                        _hours(ages_s, count, 0.95),
                        urgency.deadline_h,
                        _on_time(ages_s, count, urgency.deadline_h),
                    )
                )
        return tuple(found)

    def _row(self, outcome: Outcome, reference: int | None) -> Row:
        simulation, ledgers = self.simulation, outcome.ledgers
        scenario = simulation.scenario
        produced = sum(each.produced_bytes for each in ledgers)
        ships = sum(each.ships for each in ledgers)
        delivered_ships = sum(each.ships_delivered for each in ledgers)
        frames = sum(sum(each.frames) for each in ledgers)
        process_s = sum(each.process_s for each in ledgers)
        modelled = outcome.strategy.imagery == "none" or scenario.processing.compress_mb_s is not None
        first = outcome.strategy.levels[0]
        ages_s, count = outcome.ages_s[first], outcome.products[first]
        median_h = _hours(ages_s, count, 0.5)
        revisit_h = scenario.imaging.revisit_h
        return Row(
            strategy=outcome.strategy.name,
            what=outcome.strategy.what,
            product_bytes=outcome.product_bytes,
            wire_bytes=outcome.wire_bytes,
            less_than_raw=_share(simulation.raw_bytes, outcome.wire_bytes),
            less_than_jpeg_ls=None if reference is None else _share(reference, outcome.wire_bytes),
            sent_bytes=frames * scenario.wire.framing.cadu_bytes,
            delivered=_share(sum(each.delivered_bytes for each in ledgers), produced),
            overflow=_share(sum(each.overflow_bytes for each in ledgers), produced),
            expired=_share(sum(each.expired_bytes for each in ledgers), produced),
            broken=_share(sum(each.broken_bytes for each in ledgers), produced),
            stored=_share(sum(each.stored_bytes for each in ledgers), produced),
            ships=delivered_ships,
            ships_share=_share(delivered_ships, ships),
            recall=scenario.processing.recall if outcome.strategy.on_board else None,
            age_median_h=median_h,
            age_p95_h=_hours(ages_s, count, 0.95),
            picture_age_h=None if revisit_h is None or median_h is None else revisit_h / 2 + median_h,
            on_time=_on_time(ages_s, count, getattr(scenario.priorities, first).deadline_h),
            used=_share(frames * scenario.overheads.frame_bits, simulation.capacity_bits),
            peak_bytes=max(each.peak_bytes for each in ledgers),
            busy=process_s / (len(ledgers) * scenario.duration_s) if modelled else None,
            compute_j=process_s * scenario.processing.watts if modelled else None,
            transmit_j=outcome.airtime_s * scenario.transmitter_w,
        )

    def passes(self) -> tuple[dict[str, Cell], ...]:
        """Each contact, and the share of it that each strategy uses."""
        simulation = self.simulation
        frame_bits = simulation.scenario.overheads.frame_bits
        found: list[dict[str, Cell]] = []
        for satellite, mine in enumerate(simulation.sessions):
            for number, session in enumerate(mine):
                contact, capacity = session.contact, session.profile.capacity_bits
                row: dict[str, Cell] = {
                    "satellite": contact.seen.satellite,
                    "station": contact.seen.station,
                    "start_utc": self._utc(contact.start_s),
                    "end_utc": self._utc(contact.end_s),
                    "duration_s": round(contact.end_s - contact.start_s, 1),
                    "max_elevation_deg": round(contact.seen.max_elevation_deg, 2),
                    "capacity_bytes": int(capacity / 8),
                }
                for outcome in simulation.outcomes:
                    used = _share(outcome.ledgers[satellite].frames[number] * frame_bits, capacity)
                    row[f"used_{outcome.strategy.name}"] = round(used, 9)
                found.append(row)
        return tuple(sorted(found, key=lambda row: (str(row["start_utc"]), str(row["satellite"]))))

    def links(self) -> tuple[dict[str, Cell], ...]:
        """The link budget of each station by elevation, from the highest apogee, each term in a column of its own."""
        link, found = self.simulation.link, list[dict[str, Cell]]()
        for station in self.simulation.stations:
            lowest_deg = station.min_elevation_deg
            for elevation_deg in (lowest_deg, *(each for each in ELEVATIONS_DEG if each > lowest_deg)):
                range_km = slant_range_km(self.simulation.farthest_km, np.array(elevation_deg))
                best = best_budget(link, station, float(range_km), elevation_deg)
                rate_bit_s = rates_bit_s(link, station, range_km, np.array(elevation_deg))
                found.append(
                    {
                        "station": station.name,
                        "elevation, degrees": elevation_deg,
                        "range, km": round(float(range_km), 1),
                        **{term.name: round(term.value_db, 3) for term in best.terms},
                        "C/N0, dBHz": round(best.c_n0_db_hz, 3),
                        **{term.name: round(term.value_db, 3) for term in best.modem},
                        "Es/N0, dB": round(best.es_n0_db, 3),
                        "mode": best.mode.name,
                        "needed Es/N0, dB": best.mode.es_n0_db,
                        "margin, dB": round(best.margin_db, 3),
                        "margin to keep, dB": kept_margin_db(link, station),
                        "rate, bit/s": round(float(rate_bit_s)),
                    }
                )
        return tuple(found)

    def _utc(self, time_s: float) -> str:
        moment = self.simulation.scenario.start + timedelta(seconds=round(time_s))
        return moment.isoformat().replace("+00:00", "Z")

    def to_dict(self) -> dict[str, JsonValue]:
        """All but the passes, as JSON holds it."""
        simulation = self.simulation
        return {
            "satellites": len(simulation.sessions),
            "contacts": sum(map(len, simulation.sessions)),
            "contact_s": sum(
                each.contact.end_s - each.contact.start_s for mine in simulation.sessions for each in mine
            ),
            "capacity_bytes": sum(each.profile.capacity_bits / 8 for mine in simulation.sessions for each in mine),
            "segments": simulation.segments,
            "segments_not_taken": simulation.cancelled,
            "imaged_km2": simulation.imaged_km2,
            "raw_bytes": simulation.raw_bytes,
            "warnings": list(simulation.warnings),
            "strategies": [asdict(row) for row in self.rows],
            "priorities": [asdict(row) for row in self.waited],
        }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _hours(ages_s: NDArray[np.float64], count: int, quantile: float) -> float | None:
    """A quantile of the ages of `count` products, of which those that are not among `ages_s` never came."""
    place = int(np.ceil(quantile * count)) - 1
    return float(ages_s[place]) / HOUR_S if 0 <= place < ages_s.size else None


def _on_time(ages_s: NDArray[np.float64], count: int, deadline_h: float | None) -> float | None:
    if deadline_h is None or not count:
        return None
    return float((ages_s <= deadline_h * HOUR_S).sum()) / count
