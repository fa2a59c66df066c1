"""Plots of a study: what is lost against bits, and found ships against false alarms."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from taran_eo.errors import MissingExtraError
from taran_eo.formats import BlockFormat, MiniFloat, parse_any_format
from taran_eo.studies.study import FoldStudy
from taran_eo.studies.tables import Line, Point

FOOT = 1e-4
"""Where what agrees fully stands on a logarithmic axis."""

FAMILIES = {
    "minifloat": ("#0072b2", "o", -0.06),
    "integer": ("#d55e00", "s", 0.06),
    "block": ("#009e73", "^", 0.12),
}
"""The colour and marker of each, and how far beside its bits it stands."""


def _family(weights: str) -> str:
    fmt = parse_any_format(weights)
    if isinstance(fmt, BlockFormat):
        return "block"
    return "minifloat" if isinstance(fmt, MiniFloat) else "integer"


def pyplot() -> Any:  # noqa: ANN401 - a module
    """matplotlib, drawing into files.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError.of("plots", "matplotlib") from error
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plot_losses(study: FoldStudy, table: Sequence[Line], path: Path) -> None:
    """Bits against what is lost: every format as a point, those of a family that agree best at their width joined.

    Only networks that were run in all folds, since folds differ more than formats; without any there is no plot.
    """
    plt = pyplot()
    from matplotlib.ticker import LogLocator, NullFormatter

    whole = [row for row in table if row.folds == study.folds]
    titles = {"ptq": "calibrated only (PTQ)", "qat": "trained (QAT)"}
    each = {title: [row for row in whole if row.setting in (of, f"{of}, blocks")] for of, title in titles.items()}
    columns = {title: rows for title, rows in each.items() if rows}
    if not columns:
        return
    with plt.rc_context({"axes.ymargin": 0.12}):  # room for the names
        size = {"figsize": (5.5 * len(columns), 8), "squeeze": False}
        figure, axes = plt.subplots(2, len(columns), **size, sharex=True, sharey="row")
    for (above, below), (title, rows) in zip(axes.T, columns.items(), strict=True):
        below.set_yscale("log")
        below.axhline(1, color="0.5", lw=0.8)  # a scale also where all agree
        best = _best(rows)
        _plot_points(above, rows, lambda row: (row.less_control, row.less_low, row.less_high), best)
        _plot_points(below, rows, _disagreement, best)
        margin = 100 * study.margin
        above.axhspan(-margin, margin, color="0.85", zorder=0, label=f"within {margin:g} points")
        above.axhline(0, color="0.5", lw=0.8)
        above.set(title=title)
        below.set(xlabel="bits of weights and activations", xticks=range(4, 9), xlim=(3.5, 8.6))
        below.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        below.yaxis.set_major_formatter("{x:g}")
        below.yaxis.set_minor_formatter(NullFormatter())
    told = axes[0, -1].get_legend_handles_labels()
    axes[1, -1].legend(
        *told, loc="lower left", fontsize=7, title="joined: best agreement of each width", title_fontsize=7
    )
    axes[0, 0].set_ylabel("difference in IoU from float32, points")
    axes[1, 0].set_ylabel("ship pixels not as in float32, % of the union")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _best(rows: Sequence[Line]) -> frozenset[str]:
    """The networks that agree best with float32 at the width and in the family of theirs."""
    best: dict[tuple[str, float], Line] = {}
    for row in sorted(rows, key=lambda row: row.agreement or 0.0):
        best[_family(row.weights), row.weight_bits] = row
    return frozenset(row.network for row in best.values())


def _disagreement(row: Line) -> tuple[float | None, float | None, float | None]:
    if row.agreement is None or row.agreement_low is None or row.agreement_high is None:
        return None, None, None
    apart = (1 - each for each in (row.agreement, row.agreement_high, row.agreement_low))
    value, low, high = (max(each, FOOT) for each in apart)
    return value, low, high


def _plot_points(
    axis: Any,  # noqa: ANN401 - of matplotlib
    rows: Sequence[Line],
    value_of: Callable[[Line], tuple[float | None, float | None, float | None]],
    best: frozenset[str],
) -> None:
    for family, (colour, marker, aside) in FAMILIES.items():
        alike: Counter[float] = Counter()
        joined: dict[float, tuple[float, float]] = {}
        for row in rows:
            value, low, high = value_of(row)
            if value is None or _family(row.weights) != family:
                continue
            # Beside each other, so that bars and names do not hide each other.
            place = row.weight_bits + aside * (1 + 2.4 * alike[row.weight_bits])
            alike[row.weight_bits] += 1
            bar = None if low is None or high is None else [[100 * (value - low)], [100 * (high - value)]]
            axis.errorbar(place, 100 * value, bar, fmt=marker, color=colour, capsize=2, lw=0.8, ms=4)
            top = (place, 100 * (value if high is None else high))
            axis.annotate(
                row.network.removesuffix(f" {row.setting}"),
                top,
                (0, 3),
                textcoords="offset points",
                fontsize=6,
                rotation=90,
                ha="center",
            )
            if row.network in best:
                joined[row.weight_bits] = place, 100 * value
        if joined:
            axis.plot(*zip(*(joined[bits] for bits in sorted(joined)), strict=True), color=colour, lw=1.4, label=family)
    axis.grid(alpha=0.3)


def plot_curve(points: Sequence[Point], path: Path) -> None:
    """Found large ships against false alarms, near a shore and on the open sea."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6, 4.2))
    colours = {"all": "#000000", "near shore": "#d55e00", "open sea": "#0072b2"}
    for network, style in zip(dict.fromkeys(point.network for point in points), ("-", "--"), strict=False):
        for place, colour in colours.items():
            chosen = [point for point in points if (point.network, point.place) == (network, place)]
            if chosen:
                along, recalls = [point.false_alarms_per_km2 for point in chosen], [point.recall for point in chosen]
                label = f"{network}, {place} ({chosen[0].ships / chosen[0].seeds:.0f} ships)"
                axis.plot(along, recalls, style, color=colour, marker=".", lw=1.2, label=label)
    axis.set(xlabel="false alarms per km²", ylabel="ships of more than 100 pixels found (IoU > 0.3)", ylim=(0, 1))
    axis.set_xscale("symlog", linthresh=0.5)
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    if points:
        axis.legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
