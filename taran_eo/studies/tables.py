"""What a study of formats found, for readers.

Tables in CSV and Markdown, plots of what is lost against bits, and the curve of found ships against false alarms.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from taran_eo.errors import ConfigError, MissingExtraError
from taran_eo.formats import BlockFormat, MiniFloat, parse_any_format
from taran_eo.metrics import Comparison, Interval
from taran_eo.provenance import Environment, Provenance, sha256_config, sha256_file
from taran_eo.studies.answer import Answer, Pair, Row, Scored
from taran_eo.studies.part import PROBABILITIES
from taran_eo.studies.study import COMMON, REFERENCE, FoldStudy

FOOT = 1e-4
"""Where what agrees fully stands on a logarithmic axis."""

FAMILIES = {"minifloat": ("#0072b2", "o"), "integer": ("#d55e00", "s"), "block": ("#009e73", "^")}


def write(answer: Answer, study: FoldStudy, prefix: Path) -> None:
    """Write ``PREFIX.csv``, ``.md``, ``.png``, ``_curve.csv`` and ``_curve.png``.

    Args:
        answer: What was found; rows without any run are left out.
        study: What was asked.
        prefix: Path of the files without their endings.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: The list of tiles near a shore cannot be read.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    formats = {variant.name: (variant.formats, variant.setting) for variant in study.variants}
    rows = [row for row in answer.rows if row.scores is not None or row.diverged]
    table = [_line(row, *formats.get(row.name, (None, None))) for row in rows]
    _write_csv(prefix.with_suffix(".csv"), Line, table)
    prefix.with_suffix(".md").write_text(_markdown(study, table) + _paired(answer.pairs))
    _plot_losses(study, table, prefix.with_suffix(".png"))
    points = list(_curve(answer.tiles, near_shore(study.near_shore)))
    _write_csv(prefix.with_name(prefix.name + "_curve.csv"), Point, points)
    _plot_curve(points, prefix.with_name(prefix.name + "_curve.png"))


def save(answer: Answer, study: FoldStudy, folder: Path, result_file: Path) -> None:
    """Write what a study found as JSON, and in the folder of its runs ``tiles.csv``, from which it follows."""
    files = {tiles.masks for tiles in study.tiles} | ({study.shared_water} if study.shared_water else set())
    inputs = {str(path): sha256_file(path) for path in sorted(files)}
    environments: list[Environment] = []
    for part in answer.made.values():
        inputs |= part.inputs or {}
        environments += (each for each in part.environments if each not in environments)
    made = Provenance(tuple(environments), config_sha256=sha256_config(study), inputs=inputs)
    result = {
        "name": study.name,
        "question": study.question,
        "rows": {row.name: _told(row) for row in answer.rows},
        "pairs": [
            {"first": pair.networks[0], "second": pair.networks[1], "less": _differences(pair.comparison)}
            | ({} if pair.agreement is None else {"agrees more": asdict(pair.agreement)})
            for pair in answer.pairs
        ],
        "provenance": made.to_dict(),
        "recipes": {place: part.config_sha256 for place, part in answer.made.items()},
    }
    result_file.parent.mkdir(parents=True, exist_ok=True)
    result_file.write_text(json.dumps(result, indent=1) + "\n")
    with (folder / "tiles.csv").open("w", newline="") as file:
        table = csv.writer(file)
        for number, tile in enumerate(answer.tiles):
            values = {
                "image": tile.image,
                "fold": tile.fold,
                "seed": tile.seed,
                "network": tile.network,
                "probability": PROBABILITIES[tile.position],
                **asdict(tile.score),
            }
            if number == 0:
                table.writerow(values)
            table.writerow(
                [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values.values()]
            )


def _told(row: Row) -> dict[str, object]:
    return {
        "control": row.control,
        "folds and seeds": [list(place) for place in row.iou],
        "iou": list(row.iou.values()),
        "probabilities": list(row.probabilities.values()),
        "diverged": row.diverged,
        "scores": None if row.scores is None else row.scores.to_dict(),
        "less control": None if row.comparison is None else _differences(row.comparison),
        "agreement": None if row.agreement is None else asdict(row.agreement),
    }


def _differences(less: Comparison) -> dict[str, object]:
    differences = {name: {"value": each.value, "ci": each.ci} for name, each in less.differences.items()}
    return {**differences, "equivalence_p": less.equivalence, "margin": less.margin}


def near_shore(path: Path | None) -> frozenset[str]:
    """Names of the tiles that show land, a pier or a breakwater; none without a list.

    Raises:
        ConfigError: The list cannot be read.
    """
    if path is None:
        return frozenset()
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not list the tiles near a shore ({type(error).__name__}: {error})",
            remedy='Write {"images": ["name.jpg", ...]}',
            path=path,
        ) from error


@dataclass(frozen=True)
class Line:
    """A row of the table; scores are shares, None where they are not defined."""

    network: str
    weights: str
    activations: str
    bits: float
    setting: str
    control: str
    folds: int
    seeds: int
    diverged: int
    iou: float | None
    iou_low: float | None
    iou_high: float | None
    less_control: float | None
    less_low: float | None
    less_high: float | None
    equivalence_p: float | None
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    dice: float | None
    f2: float | None
    ship_recall: float | None
    large_ship_recall: float | None
    false_alarms_per_km2: float | None


@dataclass(frozen=True)
class Point:
    """A point of the curve of found ships against false alarms."""

    network: str
    place: str
    probability: float
    ships: int
    found: int
    recall: float
    false_alarms: int
    false_alarms_per_km2: float


def _line(row: Row, formats: str | None, setting: str | None) -> Line:
    weights, _, activations = (formats or "float32").partition("/")
    unknown = Interval(None, None, None)
    scores, less = row.scores, row.comparison
    iou = unknown if scores is None else scores.iou
    difference = unknown if less is None else less.differences["iou"]
    agreement = unknown if row.agreement is None else row.agreement
    return Line(
        network=_name(row.name),
        weights=weights,
        activations=activations or ("float32" if formats is None else "unsigned"),
        bits=32 if formats is None else parse_any_format(weights).bits,
        setting=setting or "",
        control="" if row.control is None else _name(row.control),
        folds=len({fold for fold, _ in row.iou}),
        seeds=len({seed for _, seed in row.iou}),
        diverged=len(row.diverged),
        iou=iou.value,
        iou_low=iou.low,
        iou_high=iou.high,
        less_control=difference.value,
        less_low=difference.low,
        less_high=difference.high,
        equivalence_p=None if less is None else less.equivalence,
        agreement=agreement.value,
        agreement_low=agreement.low,
        agreement_high=agreement.high,
        dice=None if scores is None else scores.dice.value,
        f2=None if scores is None else scores.f2.value,
        ship_recall=None if scores is None else scores.ship_recall.value,
        large_ship_recall=None if scores is None else scores.large_ship_recall.value,
        false_alarms_per_km2=None if scores is None else scores.false_alarms_per_km2.value,
    )


def _name(network: str) -> str:
    return "float32" if network == REFERENCE else network


def _write_csv(path: Path, kind: type[Line] | type[Point], rows: Sequence[Line] | Sequence[Point]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(kind)])
        table.writeheader()
        for row in rows:
            values = asdict(row).items()
            table.writerow({name: f"{each:.5f}" if isinstance(each, float) else each for name, each in values})


def _markdown(study: FoldStudy, table: Sequence[Line]) -> str:
    """The table with IoU in percent and differences in points of it."""
    lines = [
        f"# {study.question}",
        "",
        "IoU of ship pixels in percent, with 95 % intervals over tiles, given the networks. *Less control* is the",
        "paired difference in points, with 95 % intervals over folds, seeds and tiles; p is that of two one-sided",
        f"tests that it is {100 * study.margin:g} points or more, either way. *Agreement* is the IoU of ship pixels",
        "with those of the control, labels aside. *Ships* is the share of ships that were found, *large* that of ships",
        "of more than 100 pixels, at an IoU above 0.3. A pixel is ship from the probability that was best in the other",
        f"folds for the float network. Fewer than {study.folds} folds: the first ones.",
        "",
        "| network | bits | folds x seeds | IoU | less control | p | agreement | Dice | F2 | ships | large | control |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table:
        runs = f"{row.folds} x {row.seeds}" + (f", {row.diverged} diverged" if row.diverged else "")
        cells = [
            *(row.network, f"{row.bits:g}", runs),
            _percent(row.iou, row.iou_low, row.iou_high),
            _percent(row.less_control, row.less_low, row.less_high, sign="+"),
            _number(row.equivalence_p),
            _percent(row.agreement, row.agreement_low, row.agreement_high),
            *(_number(each) for each in (row.dice, row.f2, row.ship_recall, row.large_ship_recall)),
            row.control,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _paired(pairs: Sequence[Pair]) -> str:
    """The table of pairs, if there are any."""
    if not pairs:
        return ""
    lines = [
        "",
        "Two at a time, in points, with 95 % intervals over folds, seeds and tiles:",
        "",
        "| first | second | IoU, first less second | p | agreement with float32, first less second |",
        "| --- | --- | --- | --- | --- |",
    ]
    for pair in pairs:
        less, agreed = pair.comparison.differences["iou"], pair.agreement or Interval(None, None, None)
        cells = [
            *(_name(each) for each in pair.networks),
            _percent(less.value, less.low, less.high, sign="+"),
            _number(pair.comparison.equivalence),
            _percent(agreed.value, agreed.low, agreed.high, sign="+"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if value is None:
        return ""
    text = f"{100 * value:{sign}.2f}"
    return text if low is None or high is None else f"{text} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def _family(weights: str) -> str:
    fmt = parse_any_format(weights)
    if isinstance(fmt, BlockFormat):
        return "block"
    return "minifloat" if isinstance(fmt, MiniFloat) else "integer"


def _pyplot() -> Any:  # noqa: ANN401 - a module
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError.of("train", "matplotlib") from error
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _plot_losses(study: FoldStudy, table: Sequence[Line], path: Path) -> None:
    """Bits against what is lost: every format as a point, the best of each width and family joined by a line."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True, sharey="row")
    titles = {"ptq": "post-training quantization", "qat": "quantization-aware training"}
    for (above, below), (setting, title) in zip(axes.T, titles.items(), strict=True):
        rows = [row for row in table if row.setting in (setting, f"{setting}, blocks")]
        _plot_points(above, rows, lambda row: (row.less_control, row.less_low, row.less_high), max)
        _plot_points(below, rows, _disagreement, min)
        above.axhspan(-100 * study.margin, 100 * study.margin, color="0.85", zorder=0)
        above.axhline(0, color="0.5", lw=0.8)
        above.set(title=title)
        below.set(xlabel="bits of weights and activations", yscale="log", xticks=range(4, 9), xlim=(3.5, 8.5))
        if above.get_legend_handles_labels()[0]:
            above.legend(loc="lower right", fontsize=8)
    axes[0, 0].set_ylabel("IoU less that of float32, points")
    axes[1, 0].set_ylabel("pixels not as in float32, % of the union")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


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
    best: Callable[[list[float]], float],
) -> None:
    shifts = {"minifloat": -0.06, "integer": 0.06, "block": 0.0}  # so that bars do not hide each other
    for family, (colour, marker) in FAMILIES.items():
        points: dict[float, list[float]] = {}
        for row in rows:
            value, low, high = value_of(row)
            if value is None or _family(row.weights) != family:
                continue
            place = row.bits + shifts[family]
            bar = None if low is None or high is None else [[100 * (value - low)], [100 * (high - value)]]
            axis.errorbar(place, 100 * value, bar, fmt=marker, color=colour, capsize=2, lw=0.8, ms=4)
            axis.annotate(row.weights, (place, 100 * value), (4, 3), textcoords="offset points", fontsize=6)
            points.setdefault(place, []).append(100 * value)
        if points:
            places = sorted(points)
            axis.plot(places, [best(points[place]) for place in places], color=colour, lw=1.4, label=family)
    axis.grid(alpha=0.3)


def _curve(tiles: Sequence[Scored], shore: frozenset[str]) -> Iterator[Point]:
    """Found large ships against false alarms: of the reference, and of the first variant that was run in all folds."""
    folds: dict[str, set[int]] = {}
    for tile in tiles:
        folds.setdefault(tile.network, set()).add(tile.fold)
    most = max(map(len, folds.values()), default=0)
    for network in [name for name, seen in folds.items() if name != COMMON and len(seen) == most][:2]:
        for place, wanted in (("all", None), ("near shore", True), ("open sea", False)):
            curves = [
                tile.curve
                for tile in tiles
                if tile.network == network and (wanted is None or (tile.image in shore) == wanted)
            ]
            for probability, scores in zip(PROBABILITIES, zip(*curves, strict=True), strict=False):
                ships, area = sum(each.large for each in scores), sum(each.area_m2 for each in scores) / 1e6
                if not ships or not area:
                    continue
                found = sum(each.large_found for each in scores)
                alarms = sum(each.components - each.matched for each in scores)
                yield Point(
                    network=_name(network),
                    place=place,
                    probability=probability,
                    ships=ships,
                    found=found,
                    recall=found / ships,
                    false_alarms=alarms,
                    false_alarms_per_km2=alarms / area,
                )


def _plot_curve(points: Sequence[Point], path: Path) -> None:
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(6, 4.2))
    colours = {"all": "#000000", "near shore": "#d55e00", "open sea": "#0072b2"}
    for network, style in zip(dict.fromkeys(point.network for point in points), ("-", "--"), strict=False):
        for place, colour in colours.items():
            chosen = [point for point in points if (point.network, point.place) == (network, place)]
            if chosen:
                along, recalls = [point.false_alarms_per_km2 for point in chosen], [point.recall for point in chosen]
                label = f"{network}, {place} ({chosen[0].ships} ships)"
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
