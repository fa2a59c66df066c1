"""What a study found, for readers: tables in CSV and Markdown, and the curve of found ships against false alarms."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from taran_eo.metrics import Interval
from taran_eo.studies.answer import Answer, Pair, Row, Scored
from taran_eo.studies.part import PROBABILITIES
from taran_eo.studies.study import COMMON, REFERENCE, FoldStudy
from taran_eo.train import Quantization, formats


@dataclass(frozen=True)
class Line:
    """A row of the table; scores are shares, None where they are not defined, and bits those of one value.

    Where widths differ from layer to layer, formats are those that they began with, and bits their means.
    """

    network: str
    weights: str
    activations: str
    weight_bits: float
    activation_bits: float
    weight_bytes: float | None
    bit_operations: float | None
    setting: str
    control: str
    folds: int
    seeds: int
    runs: int
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
    """A point of the curve of found large ships against false alarms; counts are sums over the seeds."""

    network: str
    place: str
    probability: float
    seeds: int
    ships: int
    found: int
    recall: float
    false_alarms: int
    false_alarms_per_km2: float


def write(answer: Answer, study: FoldStudy, prefix: Path) -> tuple[list[Line], list[Point]]:
    """Write ``PREFIX.csv``, ``PREFIX.md`` and ``PREFIX_curve.csv``.

    Args:
        answer: What was found; rows without any run are left out.
        study: What was asked.
        prefix: Path of the files without their endings.

    Returns:
        Their rows, for the plots.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    variants = {variant.name: (variant.formats, variant.setting) for variant in study.variants}
    rows = [row for row in answer.rows if row.scores is not None or row.diverged]
    table = [_line(row, *variants.get(row.name, (None, None))) for row in rows]
    _write_csv(prefix.with_suffix(".csv"), Line, table)
    prefix.with_suffix(".md").write_text(_markdown(study, answer, table) + _paired(answer.pairs))
    points = list(_curve(answer.tiles, answer.shore))
    _write_csv(prefix.with_name(prefix.name + "_curve.csv"), Point, points)
    return table, points


def _line(row: Row, names: str | None, setting: str | None) -> Line:
    weights, _, activations = (names or "").partition("/")
    how = None if names is None else formats(Quantization(weights=weights, activations=activations or None))
    unknown = Interval(None, None, None)
    scores, less, costs = row.scores, row.comparison, row.costs
    iou = unknown if scores is None else scores.iou
    difference = unknown if less is None else less.differences["iou"]
    agreement = unknown if row.agreement is None else row.agreement
    return Line(
        network=_name(row.name),
        weights="float32" if how is None else str(how.weights),
        activations="float32" if how is None else str(how.activations),
        weight_bits=32 if how is None else how.weights.bits if costs is None else _bits(costs.weight_bits),
        activation_bits=32 if how is None else how.activations.bits if costs is None else _bits(costs.activation_bits),
        weight_bytes=None if costs is None else costs.weight_bytes,
        bit_operations=None if costs is None else costs.bit_operations,
        setting=setting or "",
        control="" if row.control is None else _name(row.control),
        folds=len({fold for fold, _ in row.iou}),
        seeds=len({seed for _, seed in row.iou}),
        runs=len(row.iou),
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


def _bits(mean: float) -> float:
    """A mean of whole numbers, which may be one."""
    return int(mean) if mean == int(mean) else mean


def _name(network: str) -> str:
    return "float32" if network == REFERENCE else network


def _write_csv(path: Path, kind: type[Line] | type[Point], rows: Sequence[Line] | Sequence[Point]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(kind)])
        table.writeheader()
        for row in rows:
            values = asdict(row).items()
            table.writerow({name: f"{each:.5f}" if isinstance(each, float) else each for name, each in values})


def _markdown(study: FoldStudy, answer: Answer, table: Sequence[Line]) -> str:
    """The table with IoU in percent and differences in points of it."""
    scored = [row.scores for row in answer.rows if row.scores is not None]
    most = max(scored, key=lambda scores: scores.tiles, default=None)
    empty = None if most is None else most.baseline_empty.value
    lines = [
        f"# {study.question}",
        "",
        "IoU of ship pixels in percent, with 95 % intervals over tiles, given the networks. *Less control* is the",
        "paired difference in points, of equal folds and seeds, so that it may differ from that of the column before,",
        "with 95 % intervals over folds, seeds and tiles: they are too wide where the spread comes from the tiles and",
        "too narrow where it comes from training, above all in two folds (`taran_eo.metrics.compare` says how much).",
        f"p is that of two one-sided tests that the difference is {100 * study.margin:g} points or more, either way.",
        "*Agreement* is the IoU of ship pixels with those of the control, labels aside. *Ships* is the share of ships",
        "that were found (IoU above 0.3), *large* that of those of more than 100 pixels, *alarms* what else was called",
        f"one, per km². F2 of an answer without any ship: {_number(empty)}. *Bits* are those of",
        "weights and, where they differ, of activations. A pixel is ship from the probability that was best in the",
        "other folds; where a float network was quantized, the best for that. Fewer than "
        f"{study.folds} folds: the first ones. *kB* are those of the packed weights, and *BitOPs* a pixel: each",
        "multiplication counts with the bits of its weight times those of its activation.",
        "",
        "| network | bits | kB | BitOPs | folds x seeds | IoU | less control | p | agreement | Dice | F2 | ships | "
        "large | alarms | control |",
        f"|{' --- |' * 15}",
    ]
    for row in table:
        runs = _extent(row.folds, row.seeds, row.runs) + (f", {row.diverged} diverged" if row.diverged else "")
        cells = [
            row.network,
            "/".join(dict.fromkeys(f"{each:.3g}" for each in (row.weight_bits, row.activation_bits))),
            "-" if row.weight_bytes is None else f"{row.weight_bytes / 1000:.1f}",
            "-" if row.bit_operations is None else f"{row.bit_operations:,.0f}",
            runs,
            _percent(row.iou, row.iou_low, row.iou_high),
            _percent(row.less_control, row.less_low, row.less_high, sign="+"),
            _number(row.equivalence_p),
            _percent(row.agreement, row.agreement_low, row.agreement_high),
            *(_number(each) for each in (row.dice, row.f2, row.ship_recall, row.large_ship_recall)),
            *(_number(row.false_alarms_per_km2), row.control),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _paired(pairs: Sequence[Pair]) -> str:
    """The table of pairs, if there are any."""
    if not pairs:
        return ""
    lines = [
        "",
        "Paired differences of two quantized networks, in points, where both were run, with 95 % intervals over folds,",
        "seeds and tiles:",
        "",
        "| first | second | folds x seeds | IoU, first less second | p | agreement, first less second |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pair in pairs:
        less, agreed = pair.comparison.differences["iou"], pair.agreement or Interval(None, None, None)
        runs = pair.comparison.cells
        cells = [
            *(_name(each) for each in pair.networks),
            _extent(len({fold for fold, _ in runs}), len({seed for _, seed in runs}), len(runs)),
            _percent(less.value, less.low, less.high, sign="+"),
            _number(pair.comparison.equivalence),
            _percent(agreed.value, agreed.low, agreed.high, sign="+"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _extent(folds: int, seeds: int, runs: int) -> str:
    return f"{folds} x {seeds}" if runs == folds * seeds else f"{runs} runs"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if value is None:
        return ""
    text = f"{100 * value:{sign}.2f}"
    return text if low is None or high is None else f"{text} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def _curve(tiles: Sequence[Scored], shore: frozenset[str]) -> Iterator[Point]:
    """Found large ships against false alarms: of the reference, and of the first variant that was run in all folds.

    Near shore and open sea are told apart where it is known which tiles are near a shore.
    """
    folds: dict[str, set[int]] = {}
    for tile in tiles:
        folds.setdefault(tile.network, set()).add(tile.fold)
    most = max(map(len, folds.values()), default=0)
    for network in [name for name, seen in folds.items() if name != COMMON and len(seen) == most][:2]:
        apart = (("near shore", True), ("open sea", False)) if shore else ()
        for place, wanted in (("all", None), *apart):
            chosen = [
                tile
                for tile in tiles
                if tile.network == network and (wanted is None or (tile.image in shore) == wanted)
            ]
            curves = [tile.curve for tile in chosen]
            for probability, scores in zip(PROBABILITIES, zip(*curves, strict=True), strict=False):
                ships, area = sum(each.large for each in scores), sum(each.area_m2 for each in scores) / 1e6
                if not ships or not area:
                    continue
                found = sum(each.large_found for each in scores)
                alarms = sum(each.components - sum(each.found) for each in scores)
                yield Point(
                    network=_name(network),
                    place=place,
                    probability=probability,
                    seeds=len({tile.seed for tile in chosen}),
                    ships=ships,
                    found=found,
                    recall=found / ships,
                    false_alarms=alarms,
                    false_alarms_per_km2=alarms / area,
                )
