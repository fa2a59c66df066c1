"""The tables of strategies: they mean what they say, say the same in every form, and are complete without plots."""

import csv
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.config import load_json, parse
from taran_eo.downlink import folder, plots, tables
from taran_eo.downlink.link import usable_modcods
from taran_eo.downlink.results import Results, _hours, _on_time
from taran_eo.downlink.runs import Source
from taran_eo.downlink.scenario import Scenario
from taran_eo.downlink.simulate import simulate
from taran_eo.downlink.strategies import STRATEGIES
from taran_eo.errors import MissingExtraError

SCENARIO = {
    "orbit": {"altitude_km": 600.0},
    "stations": ["svalbard", "toulouse"],
    "days": 0.5,
    "imaging": {"revisit_h": 24.0},
    "traffic": {"ships_km2": 0.01},
}


def table_in(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def results():
    return Results(simulate(parse(SCENARIO, Scenario, source="the test"), Source().open()))


def test_the_baseline_is_the_sensor(results):
    simulation = results.simulation
    rows = {row.strategy: row for row in results.rows}
    assert list(rows) == [each.name for each in STRATEGIES]
    assert simulation.scenario.sensor.name == "spot-6"
    # 8.4375 bits for each pixel of 1.5 m.
    assert simulation.raw_bytes == pytest.approx(simulation.imaged_km2 * 8.4375 / 1.5**2 * 1e6 / 8, rel=1e-6)
    framing = simulation.scenario.wire.framing
    # Raw imagery takes more than its bits: frames and markers; in each frame 22 bytes for packet and CFDP.
    assert 1 / rows["raw"].less_than_raw == pytest.approx(framing.cadu_bytes / (framing.data_bytes - 22), rel=2e-3)
    for row in rows.values():
        assert row.less_than_raw == simulation.raw_bytes / row.wire_bytes
        assert row.less_than_jpeg_ls == rows["jpeg-ls"].wire_bytes / row.wire_bytes
        assert row.delivered + row.overflow + row.expired + row.broken + row.stored == pytest.approx(1)
        assert row.sent_bytes <= simulation.capacity_bits / 8 * (1 + 1e-9)
        assert row.used == pytest.approx(row.sent_bytes / (simulation.capacity_bits / 8))


def test_lighter_strategies_take_less_on_a_sea_of_few_ships(results):
    wire = {row.strategy: row.wire_bytes for row in results.rows}
    for heavy, light in (
        *(("raw", "ccsds-121"), ("ccsds-121", "jpeg-ls"), ("jpeg-ls", "jpeg-2000"), ("jpeg-ls", "cloud-drop")),
        *(("jpeg-2000", "regions"), ("regions", "mask-and-chips"), ("mask-and-chips", "mask"), ("mask", "ships")),
    ):
        assert wire[heavy] > wire[light] > 0


def test_only_what_seeks_ships_on_board_computes_and_has_a_recall(results):
    for row, strategy in zip(results.rows, STRATEGIES, strict=True):
        assert bool(row.compute_j) == (row.recall is not None) == strategy.on_board
        # Hardware compresses, and nobody has counted what it takes.
        assert (row.compute_j is None) == (row.busy is None) == (strategy.imagery != "none")
    rows = {row.strategy: row for row in results.rows}
    assert rows["ships"].recall == 0.5
    # Seconds of the processor, of which each has ten joule; seconds of the transmitter, of which each has forty.
    assert rows["ships"].compute_j == pytest.approx(10 * results.simulation.outcomes[-1].ledgers[0].process_s)
    contact_s = sum(each.contact.end_s - each.contact.start_s for each in results.simulation.sessions[0])
    assert rows["raw"].transmit_j <= 40 * contact_s
    assert rows["raw"].transmit_j == pytest.approx(40 * contact_s * rows["raw"].used, rel=0.1)


@given(ages=st.lists(st.floats(0, 1e6), max_size=40), missing=st.integers(0, 40), quantile=st.sampled_from([0.5, 0.95]))
def test_what_never_came_is_older_than_all_that_did(ages, missing, quantile):
    ages_s = np.sort(np.array(ages, dtype=np.float64))
    count = ages_s.size + missing
    found = _hours(ages_s, count, quantile)
    if count == 0:
        assert found is None
        return
    expected = np.quantile(np.append(ages_s, np.full(missing, np.inf)), quantile, method="inverted_cdf")
    assert found == (None if np.isinf(expected) else expected / 3600)
    on_time = _on_time(ages_s, count, 10.0)
    assert on_time == sum(age <= 36000 for age in ages) / count


def test_half_the_revisit_is_added_to_the_age(results):
    for row in results.rows:
        assert row.picture_age_h == (None if row.age_median_h is None else row.age_median_h + 12)


def test_the_folder_says_the_same_in_every_form(results, tmp_path):
    files = folder.write(results, tmp_path / "out", inputs={"a": "0" * 64})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in files)
    table = table_in(tmp_path / "out" / "strategies.csv")
    content = json.loads((tmp_path / "out" / "strategies.json").read_text())
    text = (tmp_path / "out" / "strategies.md").read_text()
    for row, from_csv, from_json in zip(results.rows, table, content["strategies"], strict=True):
        assert {key: str(value) if value is not None else "" for key, value in from_json.items()} == from_csv
        assert from_json["wire_bytes"] == row.wire_bytes
        assert f"| {row.strategy} | {tables.size(row.wire_bytes)} |" in text
    passes = table_in(tmp_path / "out" / "passes.csv")
    assert len(passes) == content["contacts"] == len(results.simulation.sessions[0])
    capacity = sum(int(each["capacity_bytes"]) for each in passes)
    assert capacity == pytest.approx(content["capacity_bytes"], abs=len(passes))
    assert passes == sorted(passes, key=lambda each: each["start_utc"])
    links = [{key: str(value) for key, value in row.items()} for row in results.links()]
    assert table_in(tmp_path / "out" / "links.csv") == links
    levels = [(each["strategy"], each["level"]) for each in table_in(tmp_path / "out" / "priorities.csv")]
    assert levels == [(each.name, level) for each in STRATEGIES for level in each.levels]
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["inputs"] == {"a": "0" * 64}
    # As it was run, it runs again.
    scenario = load_json(tmp_path / "out" / "scenario.json", Scenario)
    traffic = Source(model=tmp_path / "out" / "traffic.json").open()
    assert Results(simulate(scenario, traffic)).rows == results.rows


@pytest.mark.parametrize(
    "link",
    [
        {"coding": "variable"},
        {"coding": "adaptive", "power_w": 0.2},
        {"coding": "constant", "unavailable_percent": None},
        {"coding": "constant", "family": "ccsds"},
        {"coding": "variable", "power_w": 0.02},
    ],
)
def test_the_terms_of_a_link_add_up_to_what_its_mode_needs(link):
    asked = {**SCENARIO, "days": 0.2, "strategies": ["ships"], "link": link}
    simulation = simulate(parse(asked, Scenario, source="the test"), Source().open())
    rows = Results(simulation).links()
    assert {row["station"] for row in rows} == {"svalbard", "toulouse"}
    assert [row["elevation, degrees"] for row in rows if row["station"] == "svalbard"] == [5, 10, 20, 30, 45, 60, 90]
    columns = list(rows[0])
    density, energy = columns.index("C/N0, dBHz"), columns.index("Es/N0, dB")
    modes = {mode.name: mode for mode in usable_modcods(simulation.link)}
    assert len(modes) == 1 or link["coding"] != "constant"
    for row in rows:
        cells = list(row.values())
        assert sum(cells[columns.index("range, km") + 1 : density]) == pytest.approx(row["C/N0, dBHz"], abs=0.01)
        assert sum(cells[density:energy]) == pytest.approx(row["Es/N0, dB"], abs=0.01)
        assert row["margin, dB"] == pytest.approx(row["Es/N0, dB"] - row["needed Es/N0, dB"], abs=0.01)
        closes = row["margin, dB"] >= row["margin to keep, dB"]
        carried = modes[row["mode"]].rate_bit_s(simulation.link.symbol_rate_sym_s, pilots=simulation.link.pilots)
        assert row["rate, bit/s"] == (round(carried) if closes else 0)
    # What contacts carried lies between.
    rates = [each.profile.rate_bit_s for mine in simulation.sessions for each in mine]
    assert np.concatenate(rates).max() <= max(row["rate, bit/s"] for row in rows) + 1


def test_plots_are_drawn_and_tables_stand_without_them(results, tmp_path, monkeypatch):
    files = plots.plot(results, tmp_path)
    assert [path.name for path in files] == list(plots.PLOTS)
    for path in files:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 10_000
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="plots"):
        plots.plot(results, tmp_path)
    folder.write(results, tmp_path, inputs={})


@pytest.mark.parametrize("change", [{"storage_bytes": 10}, {"days": 0.02, "imaging": {"segment_s": 600.0}}])
def test_plots_are_drawn_where_nothing_came_down(change, tmp_path):
    scenario = parse({**SCENARIO, **change}, Scenario, source="the test")
    nothing = Results(simulate(scenario, Source().open()))
    assert all(row.ships == 0 for row in nothing.rows)
    assert all(path.stat().st_size > 5000 for path in plots.plot(nothing, tmp_path))


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (4.706e9, "4.71 GB"), (5.6e13, "56.0 TB")],
)
def test_bytes_are_told_with_three_digits(value, told):
    assert tables.size(value) == told


@pytest.mark.parametrize(("value", "told"), [(0.8468, "0.85"), (9.999, "10.0"), (29.12, "29.1"), (15003.8, "15,004")])
def test_ratios_are_told_with_three_digits(value, told):
    assert tables.times(value) == told
