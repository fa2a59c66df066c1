"""How long simulations of the downlink take, and how much memory: a month of one satellite, a day of a thousand.

Usage: python benchmarks/downlink.py
"""

import multiprocessing
import time
from pathlib import Path

from taran_eo.config import load_toml
from taran_eo.downlink.results import Results
from taran_eo.downlink.scenario import Scenario
from taran_eo.downlink.simulate import simulate
from taran_eo.provenance import environment, peak_rss_kib

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
STATIONS = 20


def main() -> None:
    """Run each scenario in a process of its own, so that each has its own peak of memory."""
    print(f"{environment().cpu}; all strategies, one thread; the peak is that of the whole process")
    for name in ("downlink_month", "downlink_constellation"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(measure, (name,)))


def measure(name: str) -> str:
    """Simulate a scenario and say what it took."""
    scenario = load_toml(PIPELINES / f"{name}.toml", Scenario).resolved()
    if scenario.orbit.satellites > 1:
        # The catalogue has fewer: some of it again, on other meridians.
        more = STATIONS - len(scenario.stations)
        moved = tuple(
            each.model_copy(update={"name": f"{each.name}-2", "longitude_deg": -each.longitude_deg})
            for each in scenario.stations[:more]
        )
        scenario = scenario.model_copy(update={"stations": scenario.stations + moved})
    traffic = scenario.traffic.open()
    begin = time.perf_counter()
    results = Results(simulate(scenario, traffic))
    rows = len(results.rows)
    taken_s = time.perf_counter() - begin
    contacts = sum(map(len, results.simulation.sessions))
    return (
        f"{name}: {scenario.orbit.satellites} satellites, {len(scenario.stations)} stations, {scenario.days:g} days, "
        f"{rows} strategies, {contacts} contacts, {results.simulation.segments} segments: {taken_s:.1f} s, "
        f"{(peak_rss_kib() or 0) / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
