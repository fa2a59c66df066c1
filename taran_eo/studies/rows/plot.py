"""The picture of a study of rows: accuracy against operations, and how widths were learned."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

from taran_eo.errors import CorruptDataError
from taran_eo.studies.plots import pyplot
from taran_eo.studies.rows.answer import FLOAT, FROM_SCRATCH, Answer, Scored
from taran_eo.studies.rows.run import Seen
from taran_eo.studies.rows.study import RowStudy
from taran_eo.train.loop import WIDTHS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Told apart by most who are colour-blind (Okabe and Ito, Color Universal Design, 2008); the last is grey."""

MARKERS = "osD^vP*Xp<>h"
"""Told apart without colours; kinds are as many at most as colours and markers together tell."""

KINDS = {"weights": COLOURS[0], "activations": COLOURS[1]}

APART = 1.03
"""So many times further right than the point before stands each, so that none hides another."""


@dataclass(frozen=True)
class Widths:
    """What a run left of its real widths.

    Attributes:
        steps: After which each line was written.
        named: The widths in bits of each site or group of them, by kind and name.
    """

    steps: tuple[float, ...]
    named: dict[str, tuple[float, ...]]


def read_widths(path: Path) -> Widths:
    """Read what a training left of its widths; exponent and mantissa of minifloats as the width of the whole number.

    Raises:
        CorruptDataError: The file is damaged.
    """
    try:
        with path.open(newline="") as file:
            names, *lines = csv.reader(file)
        columns = dict(zip(names, zip(*[map(float, line) for line in lines], strict=True), strict=True))
        steps = columns.pop("step")
        del columns["cost"]
    except (ValueError, KeyError) as error:
        raise CorruptDataError(
            f"{path} is damaged ({type(error).__name__}: {error})",
            remedy="Begin that run anew with --restart --only, or take it out of `shown`",
            path=path,
        ) from error
    for name in [name for name in columns if name.endswith(" exponent")]:
        whole = name.removesuffix(" exponent")
        parts = zip(columns.pop(name), columns.pop(f"{whole} mantissa"), strict=True)
        columns[whole] = tuple(1 + exponent + mantissa for exponent, mantissa in parts)
    return Widths(steps, columns)


def plot(answer: Answer, seen: Sequence[Seen], study: RowStudy, folder: Path, path: Path) -> None:
    """Accuracy against bit operations, with intervals; and beside it the widths of the `shown` rows over the steps.

    Args:
        answer: What was found.
        seen: Of which runs.
        study: What was asked.
        folder: Where they are.
        path: Where the picture goes.

    Raises:
        CorruptDataError: The widths of a run are damaged.
        MissingExtraError: matplotlib is not installed.
    """
    first: dict[str, Path] = {}
    for one in seen:
        if one.cell.row in study.shown and one.found.outcome is not None:
            first.setdefault(one.cell.row, folder / one.cell.place / WIDTHS)
    shown = {name: read_widths(first[name]) for name in study.shown if name in first and first[name].exists()}
    plt = pyplot()
    figure = plt.figure(figsize=(12 if shown else 7, 7.6))
    grid = figure.add_gridspec(max(1, len(shown)), 2 if shown else 1, width_ratios=(1.35, 1) if shown else (1,))
    _plot_rows(figure.add_subplot(grid[:, 0]), [row for row in answer.rows if row.accuracy is not None])
    below = None
    for place, (name, widths) in enumerate(shown.items()):
        below = figure.add_subplot(grid[place, 1], sharex=below)
        _plot_widths(below, name, widths, named=place == 0)
        below.tick_params(labelbottom=place == len(shown) - 1)
    if below is not None:
        below.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _plot_rows(axis: Any, rows: Sequence[Scored]) -> None:  # noqa: ANN401 - of matplotlib
    from matplotlib.ticker import LogLocator, NullFormatter

    for row in rows:
        if row.kind == FLOAT:
            # Far to the right of all others, at 32 x 32 bits: a line says as much, and leaves them room.
            axis.axhline(_percent(row)[0], color="0.5", ls="-" if row.control else ":", lw=1, label=row.name)
    points = [row for row in rows if row.kind != FLOAT]
    places = side_by_side([(row.mean("bit_operations") or 0.0) / 1e9 for row in points])
    for number, kind in enumerate(dict.fromkeys(row.kind for row in points)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        own = [(place, row) for place, row in zip(places, points, strict=True) if row.kind == kind]
        own.sort(key=lambda each: each[0])
        along, values, below, above = zip(*((place, *_percent(row)) for place, row in own), strict=True)
        axis.errorbar(along, values, [below, above], fmt="none", ecolor=colour, capsize=2, lw=0.8, alpha=0.6)
        uniform = own[0][1].uniform
        look = {"ms": 5 if uniform else 7, "mfc": "none" if FROM_SCRATCH in kind else colour}
        axis.plot(along, values, color=colour, marker=marker, ls="-" if uniform else "", lw=1.2, label=kind, **look)
    if places:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="10⁹ bit operations a picture; what costs about as much stands side by side", ylabel="accuracy, %")
    axis.grid(alpha=0.3)
    if rows:
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=2)


def _percent(row: Scored) -> tuple[float, float, float]:
    """The accuracy of a row that has one, and how far its interval reaches down and up."""
    value, low, high = asdict(row.accuracy).values() if row.accuracy is not None else (0.0, 0.0, 0.0)
    return 100 * value, 100 * (value - low), 100 * (high - value)


def side_by_side(places: Sequence[float]) -> list[float]:
    """Places on a logarithmic axis, moved apart as little as it takes: in order, each `APART` times the one before.

    Least squares of the logarithms, by pooling neighbours that are too near (isotonic regression).
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    pools: list[list[float]] = []
    for rank, number in enumerate(order):
        pools.append([log(places[number]) - rank * log(APART)])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            near = pools.pop()
            pools[-1] += near
    levels = [fmean(pool) for pool in pools for _ in pool]
    moved = {
        number: exp(level + rank * log(APART)) for rank, (number, level) in enumerate(zip(order, levels, strict=True))
    }
    return [moved[number] for number in range(len(places))]


def _plot_widths(axis: Any, name: str, widths: Widths, *, named: bool) -> None:  # noqa: ANN401 - of matplotlib
    for kind, colour in KINDS.items():
        lines = [values for each, values in widths.named.items() if each.startswith(kind)]
        alone = len(lines) == 1
        for values in lines:
            axis.plot(widths.steps, values, color=colour, lw=1.6 if alone else 0.6, alpha=1 if alone else 0.35)
        if lines:
            mean = [sum(each) / len(each) for each in zip(*lines, strict=True)]
            axis.plot(widths.steps, mean, color=colour, lw=1.8, ls="-" if kind == "weights" else "--", label=kind)
    axis.set_title(name, fontsize=9)
    axis.set_ylabel("bits, real")
    axis.grid(alpha=0.3)
    if named:
        axis.legend(fontsize=8)
