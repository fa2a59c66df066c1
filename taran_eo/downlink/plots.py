"""Plots of a simulation: bytes on the wire, a day of contacts and storage, and how old what comes down is."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.downlink.results import Results
from taran_eo.downlink.scenario import HOUR_S
from taran_eo.downlink.simulate import Outcome
from taran_eo.downlink.tables import size, times
from taran_eo.errors import MissingExtraError
from taran_eo.outputs import together, writing

PLOTS = ("bytes.png", "timeline.png", "ages.png")

COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#999933", "#0072b2", "#d55e00", "#cc79a7", "#7f7f7f")
"""Okabe and Ito, Color Universal Design (2008), with an olive for its yellow and a grey; one a strategy."""

DASHES = ("-", "--", "-.", ":", "-", "--", "-.", ":", "-")
"""Beside the colours, for those who do not see them."""

DAY_H = 24
_BIN_S = 300.0
_LEAST = 1000
"""Bytes: less than a frame waits for no contact that one could see."""

Floats = NDArray[np.float64]


def plot(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write all plots; all or none.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    plt = _pyplot()
    files = tuple(folder / name for name in PLOTS)
    drawn = (_bytes(plt, results), _timeline(plt, results), _ages(plt, results))
    with together(folder, files) as temporaries:
        for file, figure in zip(files, drawn, strict=True):
            with writing(file):
                figure.savefig(temporaries[file], dpi=110, metadata={"Software": None}, format="png")
            plt.close(figure)
    return files


def _pyplot() -> Any:  # noqa: ANN401 - a module
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError.of("plots", "matplotlib") from error
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _bytes(plt: Any, results: Results) -> Any:  # noqa: ANN401 - of matplotlib
    """Bytes to send by strategy, and of the sensor."""
    simulation, rows = results.simulation, results.rows
    figure, axis = plt.subplots(figsize=(9, 0.45 * len(rows) + 1.6))
    places = np.arange(len(rows))
    values = [max(row.wire_bytes, 1) for row in rows]
    axis.barh(places, values, color="#56b4e9", height=0.7)
    axis.set_xscale("log")
    axis.set_xlim(10 ** np.floor(np.log10(min(values)) - 0.3), 2 * max(*values, simulation.raw_bytes))
    beside = axis.get_yaxis_transform()
    for place, row in zip(places, rows, strict=True):
        for along, told in ((1.15, size(row.wire_bytes)), (1.32, times(row.less_than_raw))):
            axis.text(along, place, told, va="center", ha="right", transform=beside)
    for along, told in ((1.15, "bytes"), (1.32, "times less\nthan raw")):
        axis.text(along, -0.75, told, va="bottom", ha="right", transform=beside, fontsize=9)
    axis.axvline(simulation.raw_bytes, color="#000000", lw=1, label="what the sensor gave")
    axis.axvline(simulation.capacity_bits / 8, color="#d55e00", lw=1.2, ls="--", label="what all contacts carry")
    axis.set_yticks(places, [row.strategy for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("bytes to send with all overheads, retransmission left out")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(*axis.get_legend_handles_labels(), loc="upper left", ncols=2, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _timeline(plt: Any, results: Results) -> Any:  # noqa: ANN401 - of matplotlib
    """The first day of the first satellite: contacts by station, storage in use, and what waits for a contact."""
    simulation = results.simulation
    until_h = min(DAY_H, simulation.scenario.duration_s / HOUR_S)
    names = [station.name for station in simulation.stations]
    heights = {"height_ratios": [0.28 * len(names) + 0.5, 2.2, 2.2]}
    inches = (10, 0.28 * len(names) + 6.6)
    figure, (above, middle, below) = plt.subplots(3, 1, figsize=inches, sharex=True, gridspec_kw=heights)
    for session in simulation.sessions[0]:
        contact = session.contact
        place = names.index(contact.seen.station)
        length_h = (contact.end_s - contact.start_s) / HOUR_S
        above.barh(place, length_h, left=contact.start_s / HOUR_S, color="#0072b2", height=0.7)
    above.set_yticks(range(len(names)), names)
    above.set_ylim(len(names) - 0.4, -0.6)
    above.set_title("First day of the first satellite: contacts, storage in use, what waits for a contact", fontsize=10)
    for outcome, colour, dash in _styled(simulation.outcomes):
        used, queued = _most(outcome.ledgers[0].history, until_h * HOUR_S)
        along_h = np.arange(used.size) * _BIN_S / HOUR_S
        style = {"where": "post", "color": colour, "ls": dash, "lw": 1.3, "label": outcome.strategy.name}
        middle.step(along_h, used / 1e9, **style)
        # A gap for none: lines down to it, of all strategies in each contact, would hide the rest.
        below.step(along_h, np.where(queued >= _LEAST, queued, np.nan) / 1e6, **style)
    room = simulation.scenario.storage_bytes / 1e9
    top = middle.get_ylim()[1]
    if room < 1.3 * top:
        middle.axhline(room, color="0.4", lw=1)
        middle.annotate("full", (until_h, room), (-4, 3), textcoords="offset points", ha="right", fontsize=9)
        middle.set_ylim(top=1.12 * room)
    middle.set_ylabel("storage in use, GB")
    middle.set_ylim(bottom=0)
    below.set_ylabel("waiting for a contact, MB\n(a gap: nothing)")
    below.set_yscale("log")
    below.set_ylim(bottom=_LEAST / 1e6)
    below.set(xlabel=f"hours from {simulation.scenario.start:%Y-%m-%d %H:%M} UTC", xlim=(0, until_h))
    below.set_xticks(np.arange(0, until_h + 0.01, 3 if until_h > 12 else 1))
    for axis in (above, middle, below):
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    handles = middle.get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=5, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.075, 1, 1))
    return figure


def _most(history: Sequence[tuple[float, int, int]], until_s: float) -> tuple[Floats, Floats]:
    """The most storage in use and the most that waits, in each bin of time; changes within contacts are too quick."""
    bins = math.ceil(until_s / _BIN_S)
    most = np.zeros((2, bins))
    last = np.zeros(2)
    ordered = iter(sorted(each for each in history if each[0] < until_s))
    event = next(ordered, None)
    for place in range(bins):
        most[:, place] = last
        while event is not None and event[0] < (place + 1) * _BIN_S:
            last = np.array(event[1:], dtype=np.float64)
            most[:, place] = np.maximum(most[:, place], last)
            event = next(ordered, None)
    return most[0], most[1]


def _ages(plt: Any, results: Results) -> Any:  # noqa: ANN401 - of matplotlib
    """Which share of all segments the ground knows of, by the age that they then had."""
    figure, axis = plt.subplots(figsize=(8, 5))
    curves: list[tuple[list[str], Floats, int]] = []
    for outcome in results.simulation.outcomes:
        first = outcome.strategy.levels[0]
        ages_s, count = outcome.ages_s[first], outcome.products[first]
        like = [
            names for names, other, _ in curves if other.size == ages_s.size and np.allclose(other, ages_s, 0.02, 30)
        ]
        if like:  # one line for those that lie upon each other
            like[0].append(outcome.strategy.name)
        elif ages_s.size:
            curves.append(([outcome.strategy.name], ages_s, count))
    for number, (names, ages_s, count) in enumerate(curves):
        shares = 100 * np.arange(1, ages_s.size + 1) / count
        # Straight on to the right: what has not come down does not count as old, but as missing.
        along, up = np.append(ages_s / HOUR_S, 1e4), np.append(shares, shares[-1])
        style = {"color": COLOURS[number % len(COLOURS)], "ls": DASHES[number % len(DASHES)]}
        axis.plot(along, up, lw=1.6, label=", ".join(names), **style)
    oldest = max((ages_s[-1] for _, ages_s, _ in curves), default=0.0)
    axis.set_xscale("log")
    axis.set_xlim(1 / 60, max(oldest / HOUR_S * 1.3, 0.1))
    ticks = {1 / 60: "1 min", 1 / 6: "10 min", 1: "1 h", 3: "3 h", 6: "6 h", 12: "12 h", 24: "1 d", 72: "3 d"}
    shown = {place: told for place, told in ticks.items() if place <= axis.get_xlim()[1]}
    axis.set_xticks(list(shown), list(shown.values()))
    axis.set_xticks([], minor=True)
    axis.set(xlabel="from acquisition to ground", ylabel="segments of which the ground knows, %", ylim=(0, 101))
    axis.grid(alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    return figure


def _styled(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, str, str]]:
    return [
        (outcome, COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)])
        for number, outcome in enumerate(outcomes)
    ]
