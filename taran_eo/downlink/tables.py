"""The strategies as a table of text, for a page or a terminal."""

import textwrap
from collections.abc import Sequence

from taran_eo.downlink.results import Results, Row, Waited
from taran_eo.downlink.scenario import Scenario

HEAD = (
    *(
        "strategy",
        "to send",
        "less than raw",
        "than JPEG-LS",
        "sent",
        "detections down",
        "age median",
        "95 %",
        "on time",
    ),
    *("contacts used", "storage peak", "still on board", "lost", "processor busy", "compute", "transmit"),
)


LEVEL_HEAD = ("strategy", "level", "priority", "products", "down", "age median", "95 %", "deadline", "on time")


def markdown(results: Results) -> str:
    """The strategies and their levels for a reader, with what the figures mean."""
    strategies = _table(HEAD, [_cells(row) for row in results.rows])
    levels = _table(LEVEL_HEAD, [_level_cells(row) for row in results.waited])
    return "\n".join([*_told(results), "", *strategies, "", *_notes(results), "", *levels, ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def lines(results: Results) -> list[str]:
    """The strategies for a terminal."""
    cells = [HEAD, *map(_cells, results.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [*_told(results), "", *(_aligned(row, widths) for row in cells)]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _told(results: Results) -> list[str]:
    simulation = results.simulation
    scenario = simulation.scenario
    satellites, contacts = len(simulation.sessions), sum(map(len, simulation.sessions))
    names = ", ".join(station.name for station in simulation.stations)
    ships = sum(each.ships for each in simulation.outcomes[0].ledgers)
    return [
        f"{satellites} satellite{'s' * (satellites > 1)} over {names}",
        f"{scenario.days:g} day{'s' * (scenario.days != 1)} from {scenario.start:%Y-%m-%d %H:%M} UTC: {contacts} "
        f"contacts, which carry {size(simulation.capacity_bits / 8)}",
        f"imaged {simulation.imaged_km2:,.0f} km2 in {simulation.segments} segments: {size(simulation.raw_bytes)} from "
        f"the sensor, {ships:,.0f} detections, false alarms among them",
    ]


def _notes(results: Results) -> list[str]:
    scenario = results.simulation.scenario
    processing = scenario.processing
    recall = f"{processing.recall:.0%} [{processing.recall_low:.0%}, {processing.recall_high:.0%}]"
    coded = "frames with Reed-Solomon" if scenario.wire.framing.interleaving else "frames"
    often = "once, but ships and masks twice, since nobody can ask for them again" if scenario.one_way else "once"
    told = (
        f"To send: bundles, CFDP, space packets, {coded}, and markers, each product {often}; the code of the link is "
        "counted in what contacts carry. Less than raw: raw bits of the sensor, without any overhead, over what is to "
        "send, below 1 where that is more. Sent: what contacts had room for, retransmission included. Detections: what "
        "the model takes for ships, on board or on the ground in what came down, false alarms among them; of all "
        f"ships it finds {recall} ({processing.recall_source}), and where imagery goes down, whoever looks at it on "
        "the ground may find more. Chips and regions are estimated from their pixels where the run that traffic was "
        "fitted on held none. JPEG 2000 at "
        f"{scenario.ratios.jpeg_2000_psnr_db:g} dB; what that costs in ships was not measured. "
        "Age: from the end of a segment to the last frame of the first product "
        "that tells of its ships, over all segments, those that never came being the oldest; a dash where so many "
        "have not come down. On time: down within the deadline, the last segments included, for which there was less "
        "time. Still on board, lost: shares of the bytes of products; lost are those pushed out of the storage, "
        "deleted as too old, or gone with frames that nobody asked for. "
        f"{_compressing(scenario)} Transmit: while frames of products go, without any to warm up or fill."
    )
    return [
        *textwrap.wrap(told, 118, break_on_hyphens=False),
        *(f"\n- {warning}" for warning in results.simulation.warnings),
    ]


def _compressing(scenario: Scenario) -> str:
    if scenario.processing.compress_mb_s is None:
        return "Whole scenes are compressed by hardware, whose time and energy are not counted (a dash)."
    return "Whole scenes are compressed by the processor, one after the other."


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.strategy,
        size(row.wire_bytes),
        times(row.less_than_raw),
        "-" if row.less_than_jpeg_ls is None else times(row.less_than_jpeg_ls),
        size(row.sent_bytes),
        _percent(row.ships_share),
        _hours(row.age_median_h),
        _hours(row.age_p95_h),
        "-" if row.on_time is None else _percent(row.on_time),
        _percent(row.used),
        size(row.peak_bytes),
        _percent(row.stored),
        _percent(row.overflow + row.expired + row.broken),
        "-" if row.busy is None else _percent(row.busy),
        "-" if row.compute_j is None else _energy(row.compute_j),
        _energy(row.transmit_j),
    )


def _level_cells(row: Waited) -> tuple[str, ...]:
    return (
        row.strategy,
        row.level,
        str(row.priority),
        f"{row.products:,}",
        _percent(row.delivered / row.products if row.products else 0.0),
        _hours(row.age_median_h),
        _hours(row.age_p95_h),
        _hours(row.deadline_h),
        "-" if row.on_time is None else _percent(row.on_time),
    )


def size(count: float) -> str:
    """Bytes with three digits, as ``4.71 GB``."""
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            return f"{_three(count / scale)} {unit}"
    return f"{count:.0f} B"


def times(value: float) -> str:
    """A ratio with three digits or all of its whole part, as ``1.44`` or ``15,004``."""
    return f"{value:,.0f}" if value >= 99.95 else _three(value)


def _energy(joule: float) -> str:
    for unit, scale in (("GJ", 1e9), ("MJ", 1e6), ("kJ", 1e3)):
        if joule >= 0.9995 * scale:
            return f"{_three(joule / scale)} {unit}"
    return f"{_three(joule)} J"


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value >= 9.5e-4 or value == 0 else f"{100 * value:.1g} %"


def _hours(value: float | None) -> str:
    return "-" if value is None else f"{value * 60:.0f} min" if value < 1 else f"{value:.1f} h"
