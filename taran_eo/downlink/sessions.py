"""The contacts of a scenario with the rate that each carries through its time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from taran_eo.downlink.budget import fixed_for, shortfall
from taran_eo.downlink.contacts import Contact, Profile, plan
from taran_eo.downlink.link import Link, rates_bit_s
from taran_eo.downlink.modcod import Coding
from taran_eo.downlink.orbit import Orbit
from taran_eo.downlink.passes import passes, profiles, unseen
from taran_eo.downlink.scenario import Scenario
from taran_eo.downlink.stations import Station
from taran_eo.errors import ConfigError

_STEP_S = 10.0
"""The rate of a contact is constant over so long: the lower of those at both ends."""


@dataclass(frozen=True)
class Session:
    """A contact with what could go through it.

    Attributes:
        contact: When, and of which pass.
        profile: Its rate.
        uplink: Whether lost frames can be asked for.
    """

    contact: Contact
    profile: Profile
    uplink: bool


def sessions_of(
    scenario: Scenario, orbits: Sequence[Orbit], stations: Sequence[Station]
) -> tuple[list[list[Session]], Link, list[str]]:
    """The contacts of each satellite, the link with its mode if it has but one, and what to know about stations.

    Args:
        scenario: How contacts are planned, and with which link.
        orbits: The satellites.
        stations: The stations.

    Raises:
        ConfigError: There is no pass, no contact, or no link that closes.
    """
    rules = scenario.contacts
    found = passes(orbits, stations, scenario.start, scenario.duration_s)
    if not found:
        raise ConfigError(
            f"No satellite is ever seen from {', '.join(each.name for each in stations)} in {scenario.days:g} days",
            remedy="Add a station at a latitude that the orbit comes near, lower min_elevation_deg, raise the orbit, "
            "or simulate longer",
            stations=tuple(each.name for each in stations),
        )
    hidden = unseen(stations, found)
    warnings = [
        f"{name} never sees a satellite: too far from the orbit, or its min_elevation_deg is too high"
        for name in hidden
    ]
    farthest_km = max(orbit.apogee_km for orbit in orbits)
    in_sight = [each for each in stations if each.name not in hidden]
    link = _link(scenario.link, in_sight, farthest_km)
    shortfalls = [shortfall(link, each, farthest_km) for each in in_sight]
    warnings += [str(short.error()) for short in shortfalls if short is not None]
    contacts = plan(
        found,
        {each.name: each.antennas for each in stations},
        handover_s=rules.handover_s,
        turnaround_s=rules.turnaround_s,
        shortest_s=rules.shortest_s,
    )
    if not contacts:
        longest_s = max(each.duration_s for each in found)
        raise ConfigError(
            f"All passes are shorter than contacts.shortest_s = {rules.shortest_s:g}; the longest is {longest_s:.0f}",
            remedy="Lower contacts.shortest_s, or the min_elevation_deg of a station",
            longest_s=longest_s,
        )
    by_name = {each.name: each for each in stations}
    sessions: dict[str, list[Session]] = {orbit.name: [] for orbit in orbits}
    cut = [replace(each.seen, rise_s=each.start_s) for each in contacts]
    for contact, sky in zip(contacts, profiles(orbits, stations, cut, scenario.start, _STEP_S), strict=True):
        station = by_name[contact.seen.station]
        rates = rates_bit_s(link, station, sky.range_km, sky.elevation_deg)
        profile = Profile(sky.times_s, np.minimum(rates[:-1], rates[1:]))
        sessions[contact.seen.satellite].append(Session(contact, profile, station.uplink and rules.uplink))
    if not any(each.profile.capacity_bits for mine in sessions.values() for each in mine):
        # There is one: ranges are those of the apogee, or less.
        raise min((each for each in shortfalls if each is not None), key=lambda each: each.missing_db).error()
    return list(sessions.values()), link, warnings


def _link(link: Link, stations: Sequence[Station], altitude_km: float) -> Link:
    return fixed_for(link, stations, altitude_km) if link.coding is Coding.CONSTANT and link.modcod is None else link
