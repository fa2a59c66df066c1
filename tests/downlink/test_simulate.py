"""Whole simulations: what was produced is accounted for, chance is the seed's alone, and what cannot work is named."""

import dataclasses

import numpy as np
import pytest

from taran_eo.config import parse
from taran_eo.downlink.link import rates_bit_s
from taran_eo.downlink.passes import geometry
from taran_eo.downlink.results import Results
from taran_eo.downlink.runs import Source
from taran_eo.downlink.scenario import Scenario
from taran_eo.downlink.simulate import simulate
from taran_eo.downlink.stations import station
from taran_eo.errors import ConfigError

TRAFFIC = Source().open()
USUAL = {
    "orbit": {"altitude_km": 600.0},
    "stations": ["svalbard", "kiruna"],
    "days": 0.5,
    "traffic": {"ships_km2": 0.01},
}


def run(**changes):
    table = {**USUAL, **changes}
    return simulate(parse(table, Scenario, source="the test"), TRAFFIC)


@pytest.fixture(scope="module")
def usual():
    return run(contacts={"frame_loss": 0.01})


DEAF = {**station("svalbard").model_dump(exclude_none=True), "uplink": False}


def accounts(simulation):
    return [(outcome, ledger) for outcome in simulation.outcomes for ledger in outcome.ledgers]


def rows(simulation):
    return {row.strategy: row for row in Results(simulation).rows}


def test_bytes_and_ships_are_accounted_for(usual):
    imaged = usual.segments
    for outcome, ledger in accounts(usual):
        lost = ledger.overflow_bytes + ledger.expired_bytes + ledger.broken_bytes
        assert ledger.produced_bytes == ledger.delivered_bytes + lost + ledger.stored_bytes == outcome.product_bytes
        assert ledger.peak_bytes <= usual.scenario.storage_bytes
        assert 0 <= ledger.ships_delivered <= ledger.ships + 1e-6
        assert max(outcome.products.values()) <= imaged
        for level, ages_s in outcome.ages_s.items():
            assert (np.diff(ages_s) >= 0).all()
            assert ages_s.size <= outcome.products[level]


def test_nothing_goes_through_a_contact_that_it_does_not_carry(usual):
    frame_bits = usual.scenario.overheads.frame_bits
    for _, ledger in accounts(usual):
        for frames, session in zip(ledger.frames, usual.sessions[0], strict=True):
            assert frames * frame_bits <= session.profile.capacity_bits * (1 + 1e-9)


def test_a_contact_carries_what_its_rate_gives_second_by_second(usual):
    """The steps of the profile take the lower rate of both ends: less than the fine integral, and not by much."""
    scenario, stations = usual.scenario, {each.name: each for each in usual.stations}
    orbit = scenario.orbit.orbits(scenario.start)[0]
    for session in usual.sessions[0][:6]:
        times_s = np.arange(session.contact.start_s, session.contact.end_s, 1.0)
        station = stations[session.contact.seen.station]
        sky = geometry(orbit, station, scenario.start, times_s)
        fine = rates_bit_s(scenario.link, station, sky.range_km, sky.elevation_deg).sum()
        assert 0.9 * fine <= session.profile.capacity_bits <= fine * 1.001 + 2e8


def test_all_strategies_see_the_same_ships(usual):
    ships = {ledger.ships for _, ledger in accounts(usual)}
    assert max(ships) == pytest.approx(min(ships))
    # 0.01 ships a km2 of clear sea: half of 70 % of the area.
    assert max(ships) == pytest.approx(0.01 * 0.5 * 0.7 * usual.imaged_km2, rel=0.35)


def test_the_same_seed_gives_the_same_and_another_another(usual):
    assert rows(run(contacts={"frame_loss": 0.01})) == rows(usual)
    assert rows(run(contacts={"frame_loss": 0.01}, seed=1)) != rows(usual)


def test_neither_the_order_of_keys_nor_of_stations_matters(usual):
    turned = dict(reversed({**USUAL, "stations": ["kiruna", "svalbard"], "contacts": {"frame_loss": 0.01}}.items()))
    assert rows(simulate(parse(turned, Scenario, source="the test"), TRAFFIC)) == rows(usual)


def test_no_strategy_changes_another(usual):
    alone = rows(run(contacts={"frame_loss": 0.01}, strategies=["mask-and-chips", "cloud-drop"]))
    assert list(alone) == ["cloud-drop", "mask-and-chips"]
    for name, row in alone.items():
        assert dataclasses.replace(rows(usual)[name], less_than_jpeg_ls=None) == row


def test_each_satellite_has_its_own_account():
    four = run(orbit={"altitude_km": 600.0, "satellites": 4, "planes": 2}, strategies=["ships"])
    assert len(four.sessions) == len(four.outcomes[0].ledgers) == 4
    assert sum(ledger.produced_bytes for ledger in four.outcomes[0].ledgers) == four.outcomes[0].product_bytes


def test_without_an_uplink_lost_frames_are_lost():
    heavy = {"frame_loss": 0.05}
    asked = run(contacts=heavy, strategies=["jpeg-2000"])
    unasked = run(contacts={**heavy, "uplink": False}, strategies=["jpeg-2000"])
    assert rows(asked)["jpeg-2000"].broken == 0
    down = rows(unasked)["jpeg-2000"]
    assert down.broken == pytest.approx(0.05 * (down.delivered + down.broken), rel=0.02)
    again = sum(ledger.again_frames for _, ledger in accounts(asked))
    sent = sum(sum(ledger.frames) for _, ledger in accounts(asked))
    assert again == pytest.approx(0.05 * sent, rel=0.05)


def test_without_an_uplink_ships_and_masks_go_twice():
    """As `taran-eo run` sends them: what is lost of them is then lost in both copies."""
    names, loss = ["ships", "mask", "mask-and-chips"], 0.2
    asked = rows(run(contacts={"frame_loss": loss}, strategies=names))
    for change in (
        {"contacts": {"frame_loss": loss, "uplink": False}},
        {"contacts": {"frame_loss": loss}, "stations": [DEAF]},
    ):
        found = run(strategies=names, **change)
        unasked = rows(found)
        for name in names[:2]:
            if "stations" not in change:
                assert unasked[name].wire_bytes == 2 * asked[name].wire_bytes
            lost = unasked[name].broken / (unasked[name].delivered + unasked[name].broken)
            assert 0.3 * loss**2 < lost < 2 * loss**2
        chips = unasked["mask-and-chips"]
        assert chips.broken / (chips.delivered + chips.broken) == pytest.approx(loss, rel=0.2)


def test_attitudes_cost_images_or_contact_time():
    def at(attitude):
        return run(imaging={"attitude": attitude, "duty": 0.3}, strategies=["raw"])

    free, downlink, imaging = at("free"), at("downlink-first"), at("imaging-first")
    assert (free.cancelled, imaging.cancelled) == (0, 0)
    assert downlink.segments + downlink.cancelled == free.segments == imaging.segments
    assert downlink.cancelled > 0
    assert downlink.capacity_bits == free.capacity_bits > imaging.capacity_bits > 0


def test_who_turns_between_sea_and_station_loses_more_by_turning():
    def at(attitude, slew_s):
        imaging = {"attitude": attitude, "duty": 0.3, "slew_s": slew_s}
        return run(imaging=imaging, strategies=["ships"])

    assert at("downlink-first", 300.0).cancelled > at("downlink-first", 0.0).cancelled
    assert at("imaging-first", 300.0).capacity_bits < at("imaging-first", 0.0).capacity_bits
    assert at("free", 300.0).capacity_bits == at("free", 0.0).capacity_bits


def test_software_that_compresses_takes_time_and_energy():
    names = ["raw", "jpeg-ls", "cloud-drop"]
    hardware = rows(run(strategies=names))
    found = run(strategies=names, processing={"compress_mb_s": {"jpeg_ls": 20.0}})
    software = rows(found)
    assert software["raw"] == hardware["raw"]
    for name in names[1:]:
        assert software[name].wire_bytes == hardware[name].wire_bytes
        assert software[name].compute_j == pytest.approx(10 * 43200 * software[name].busy)
    # All that the sensor gave, at 20 megabytes a second; of it, what no cloud covers.
    assert software["jpeg-ls"].busy == pytest.approx(found.raw_bytes / 20e6 / 43200, rel=0.05)
    assert software["cloud-drop"].busy < 0.7 * software["jpeg-ls"].busy
    assert software["jpeg-ls"].peak_bytes > hardware["jpeg-ls"].peak_bytes


def test_finer_pixels_take_the_processor_longer():
    fine = TRAFFIC.model_copy(update={"pixel_m": TRAFFIC.pixel_m / 2})
    table = {**USUAL, "processing": {"tile_ms": 10.0}, "strategies": ["ships"]}
    asked = parse(table, Scenario, source="the test")
    busy = [rows(simulate(asked, traffic))["ships"].busy for traffic in (TRAFFIC, fine)]
    assert busy[1] == pytest.approx(4 * busy[0], rel=1e-2)


def test_products_that_are_too_old_are_deleted():
    short = {"scene": {"priority": 4, "expires_h": 1.0, "deadline_h": 0.5}}
    found = run(priorities=short, strategies=["jpeg-ls"])
    assert rows(found)["jpeg-ls"].expired > 0.2
    assert found.outcomes[0].ages_s["scene"].max() < 3600 + 700  # what is begun in time may end later in its contact


# What may surprise, and is told.

ISS = """ISS (ZARYA)
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537"""


def test_elements_that_are_far_from_the_start_are_told():
    def warnings(start):
        return run(orbit={"tle": ISS}, stations=["toulouse"], start=start, strategies=["ships"]).warnings

    assert warnings("2008-09-22T00:00:00Z") == ()
    (told,) = warnings("2009-09-20T12:25:40Z")
    assert "ISS (ZARYA) are of 2008-09-20, 365 days from the start" in told


def test_a_code_below_a_code_is_told_and_costs():
    plain = run(strategies=["ships"])
    coded = run(strategies=["ships"], wire={"framing": {"interleaving": 5}})
    assert plain.warnings == ()
    assert any("Reed-Solomon check symbols (14%) below the code of DVB-S2" in each for each in coded.warnings)
    assert rows(coded)["ships"].wire_bytes == pytest.approx(rows(plain)["ships"].wire_bytes * 1279 / 1119)


def test_what_the_radio_regulations_forbid_is_told():
    loud = run(link={"power_w": 900.0}, strategies=["ships"])
    assert any("dB above what table 21-4" in each for each in loud.warnings)
    wide = run(link={"symbol_rate_sym_s": 3e8}, strategies=["ships"])
    assert any("7,998 to 8,402 MHz" in each for each in wide.warnings)
    elsewhere = run(link={"power_w": 900.0, "frequency_hz": 2.6e10, "antenna_gain_dbi": 16.0}, strategies=["ships"])
    assert elsewhere.warnings == ()


# What cannot work.

NOWHERE = {"name": "nowhere", "latitude_deg": 0.0, "longitude_deg": 0.0, "min_elevation_deg": 89.99, "g_t_db_k": 30.0}
NOWHERE["source"] = "made up"


def test_a_station_that_never_sees_a_satellite_is_named_and_the_rest_goes_on():
    found = run(stations=["svalbard", NOWHERE], strategies=["ships"])
    assert [each for each in found.warnings if "nowhere never sees" in each]
    assert {each.contact.seen.station for each in found.sessions[0]} == {"svalbard"}


def test_no_pass_at_all_is_an_error():
    with pytest.raises(ConfigError, match=r"No satellite is ever seen from nowhere in 0\.5 days"):
        run(stations=[NOWHERE])


def test_contacts_that_are_all_too_short_are_an_error():
    with pytest.raises(ConfigError, match=r"shorter than contacts\.shortest_s = 5000; the longest is"):
        run(contacts={"shortest_s": 5000.0})


def test_a_link_that_never_closes_says_by_how_much_and_what_would_close_it():
    with pytest.raises(ConfigError, match=r"misses by .* dB.* It closes with .* W") as raised:
        run(link={"power_w": 1e-6})
    stronger = 1e-6 * 10 ** (float(raised.value.facts["missing_db"]) / 10) * 1.01
    assert run(link={"power_w": stronger}, strategies=["ships"]).capacity_bits > 0


def test_a_link_that_closes_only_higher_up_is_told():
    found = run(link={"power_w": 0.01}, strategies=["ships"])
    assert any("misses by" in each and "degrees of elevation on as it is" in each for each in found.warnings)


def test_a_storage_below_one_segment_is_told():
    found = run(storage_bytes=10**8, strategies=["raw", "ships"])
    assert any("nothing is recorded" in each for each in found.warnings)
    assert all(row.overflow == 1 and row.ships == 0 for row in rows(found).values())


def test_a_simulation_without_an_image_is_told():
    found = run(days=0.02, imaging={"segment_s": 600.0})
    assert (found.segments, found.raw_bytes) == (0, 0)
    assert any("No image is taken" in each for each in found.warnings)
    assert all(row.wire_bytes == row.ships == 0 for row in rows(found).values())


def test_codes_of_ccsds_carry_less_than_variable_coding():
    fixed = run(link={"family": "ccsds", "coding": "constant"}, strategies=["ships"])
    variable = run(strategies=["ships"])
    assert 0 < fixed.capacity_bits < variable.capacity_bits


def test_a_processor_that_is_too_slow_is_told_and_loses_images():
    found = run(processing={"tile_ms": 2000.0}, storage_bytes=5 * 10**9, strategies=["ships"])
    assert any("The processor needs" in each for each in found.warnings)
    assert rows(found)["ships"].overflow > 0.3
