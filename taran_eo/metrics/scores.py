"""The scores of a set of tiles: ratios of sums, with bootstrap intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ContractError
from taran_eo.metrics.tile import LENGTH_BIN_NAMES, TileScore

Ints = NDArray[np.int64]

_F2_UNIT = 10**12  # F2 as an integer: sums do not depend on the order of the tiles
_BLOCK = 1 << 20  # weights drawn at once by the bootstrap: 8 MiB


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % interval; None where it is not defined (0/0), or not to be told (it rests on one group)."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def ci(self) -> tuple[float, float] | None:
        """The interval as a pair."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" if self.ci is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Scores:
    """The scores of a set of tiles; the module says what each means.

    Attributes:
        tiles: Tiles in the set.
        groups: Independent units among them, over which the intervals are taken.
        iou: Intersection over union of all ship pixels of the set.
        dice: 2 TP / (2 TP + FP + FN) of the same pixels.
        precision: Share of the predicted ship pixels that are ship.
        recall: Share of the ship pixels that were found.
        f2: The Kaggle score.
        baseline_empty: The Kaggle score of an all-empty answer on these tiles.
        ship_recall: Share of the true ships that were found.
        large_ship_recall: Share of the large ones that were found.
        ship_recall_by_length_m: As `ship_recall`, by length of ship, one for each of `LENGTH_BIN_NAMES`.
        false_alarms_per_km2: False alarms over the valid area.
        ships: True ships by length.
        found: Found ships by length.
        false_alarms: Number of false alarms.
        area_km2: Valid area.
    """

    tiles: int
    groups: int
    iou: Interval
    dice: Interval
    precision: Interval
    recall: Interval
    f2: Interval
    baseline_empty: Interval
    ship_recall: Interval
    large_ship_recall: Interval
    ship_recall_by_length_m: tuple[Interval, ...]
    false_alarms_per_km2: Interval
    ships: tuple[int, ...]
    found: tuple[int, ...]
    false_alarms: int
    area_km2: float

    def __str__(self) -> str:
        return f"IoU {self.iou}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: each score with its interval beside it, as ``iou`` and ``iou_ci``."""
        result: dict[str, Any] = {"tiles": self.tiles, "groups": self.groups}
        for name in _SCORES:
            score = getattr(self, name)
            result |= {name: score.value, f"{name}_ci": score.ci}
        result["ship_recall_by_length_m"] = {
            name: {"ships": ships, "found": found, "recall": recall.value, "recall_ci": recall.ci}
            for name, ships, found, recall in zip(
                LENGTH_BIN_NAMES, self.ships, self.found, self.ship_recall_by_length_m, strict=True
            )
        }
        return result | {
            "ships": sum(self.ships),
            "false_alarms": self.false_alarms,
            "area_km2": self.area_km2,
        }


_SCORES = (
    "iou",
    "dice",
    "precision",
    "recall",
    "f2",
    "baseline_empty",
    "ship_recall",
    "large_ship_recall",
    "false_alarms_per_km2",
)
_BINS = len(LENGTH_BIN_NAMES)


def aggregate(tiles: Sequence[TileScore], *, rng: np.random.Generator, resamples: int = 2000) -> Scores:
    """The scores of a set of tiles, each with its 95 % interval.

    The result does not depend on the order of the tiles.

    Args:
        tiles: At least one.
        rng: Source of the resampling.
        resamples: Number of bootstrap resamples.

    Raises:
        ContractError: There are no tiles.
    """
    if not tiles:
        raise ContractError("There are no tiles to score", remedy="Name a folder of images that the masks file lists")
    groups = _group_sums(_rows(tiles), tiles)
    groups = groups[_order(groups)]
    totals = groups.sum(axis=0)
    points = _ratios(totals)
    draws = np.concatenate([_ratios(resampled) for resampled in _resample(groups, rng, resamples)])
    intervals = _intervals(points, draws, ~np.isnan(_ratios(groups)))
    ships, found = totals[_SHIPS], totals[_FOUND]
    return Scores(
        tiles=len(tiles),
        groups=len(groups),
        **dict(zip(_SCORES, intervals, strict=False)),
        ship_recall_by_length_m=tuple(intervals[len(_SCORES) :]),
        ships=tuple(ships.tolist()),
        found=tuple(found.tolist()),
        false_alarms=int(totals[_COMPONENTS] - found.sum()),
        area_km2=float(totals[_AREA] / 1e6),
    )


Cell = tuple[Sequence[TileScore], Sequence[TileScore]]
"""Two answers to the same tiles in the same order: of the control, and of what is compared with it."""


@dataclass(frozen=True)
class Comparison:
    """Two ways to train, compared over folds and seeds.

    Attributes:
        differences: Second less first for each score by name.
        equivalence: p of the two one-sided tests that the two differ in IoU by `margin` or more: below 0.05 they are
            equivalent within the margin, which is to say that the 90 % interval lies inside it.
        margin: See `equivalence`.
        cells: Folds and seeds that were compared.
    """

    differences: dict[str, Interval]
    equivalence: float | None
    margin: float
    cells: tuple[tuple[int, int], ...]


def compare(
    cells: Mapping[tuple[int, int], Cell], *, margin: float, rng: np.random.Generator, resamples: int = 2000
) -> Comparison:
    """Compare two ways to train, with intervals that hold for other folds, other seeds and other tiles.

    A resample draws folds, for each as many seeds as it has, and as many of its tiles (groups of tiles where they show
    the same water), the same for both and for all its seeds; so the interval holds what another training would change,
    not only other tiles. It counts the spread of the tiles twice, among the folds and within, and that of a few folds
    not wholly: where all of the spread comes from the tiles, it holds the truth more often than 95 times of 100; where
    all comes from the training of five folds, some 85 times, and of two some 50.

    Args:
        cells: Answers of both by fold and seed; with every seed of a fold, the same tiles in the same order.
        margin: Difference in IoU that counts as none.
        rng: Source of the resampling.
        resamples: Number of bootstrap resamples.

    Raises:
        ContractError: There are no cells, or the answers of a fold differ in their tiles.
    """
    if not cells:
        raise ContractError("There is nothing to compare", remedy="Train both in at least one fold")
    folds: dict[int, list[Cell]] = {}
    for (fold, _), cell in sorted(cells.items()):
        folds.setdefault(fold, []).append(cell)
    sums = {fold: _sums_by_seed(seeds) for fold, seeds in folds.items()}
    drawn = [
        sum(_one_draw(sums[fold], rng) for fold in rng.choice(list(sums), size=len(sums))) for _ in range(resamples)
    ]
    draws = _less(np.stack(drawn))
    totals = np.stack([one.sum(axis=(0, 1)) for one in sums.values()])
    # An interval needs two folds in which the score is defined.
    intervals = dict(zip(_SCORES, _intervals(_less(totals.sum(axis=0)), draws, ~np.isnan(_less(totals))), strict=False))
    iou = draws[:, _SCORES.index("iou")]
    shares = np.mean(iou <= -margin), np.mean(iou >= margin)
    return Comparison(intervals, None if len(folds) < 2 else float(max(shares)), margin, tuple(sorted(cells)))


def _sums_by_seed(seeds: Sequence[Cell]) -> Ints:
    """int64[seeds, groups, columns of both answers], in an order that depends on the numbers alone."""
    asked = {tuple((tile.ships, tile.group) for tile in answer) for cell in seeds for answer in cell}
    if len(asked) > 1:
        raise ContractError("Two answers to different tiles have no paired difference", remedy="Score the same tiles")
    sums = np.stack([_group_sums(np.hstack([_rows(first), _rows(second)]), first) for first, second in seeds])
    return sums[:, _order(np.hstack(list(sums)))]


def _one_draw(sums: Ints, rng: np.random.Generator) -> Ints:
    seeds, groups, _ = sums.shape
    times_of_seeds, times_of_groups = (rng.multinomial(count, np.full(count, 1 / count)) for count in (seeds, groups))
    drawn: Ints = times_of_groups @ np.tensordot(times_of_seeds, sums, axes=1)
    return drawn


def _less(totals: Ints) -> NDArray[np.float64]:
    first, second = np.split(totals, 2, axis=-1)
    less: NDArray[np.float64] = _ratios(second) - _ratios(first)
    return less


# Columns of the matrix that is resampled.
_TILES, _EMPTY, _F2, _TP, _FP, _FN, _AREA, _COMPONENTS, _LARGE, _LARGE_FOUND = range(10)
_SHIPS, _FOUND = slice(10, 10 + _BINS), slice(10 + _BINS, 10 + 2 * _BINS)


def _rows(tiles: Sequence[TileScore]) -> Ints:
    """int64[tiles, columns]."""
    return np.array(
        [
            (
                *(1, sum(tile.ships) == 0, round(tile.f2 * _F2_UNIT)),
                *(tile.true_positive_px, tile.false_positive_px, tile.false_negative_px),
                *(tile.area_m2, tile.components, tile.large, tile.large_found, *tile.ships, *tile.found),
            )
            for tile in tiles
        ],
        dtype=np.int64,
    )


def _group_sums(rows: Ints, tiles: Sequence[TileScore]) -> Ints:
    """int64[groups, columns], in the order in which the tiles name them."""
    sums: dict[object, Ints] = {}
    for index, (row, tile) in enumerate(zip(rows, tiles, strict=True)):
        key = index if tile.group is None else tile.group
        sums[key] = sums[key] + row if key in sums else row
    return np.stack(list(sums.values()))


def _order(rows: Ints) -> NDArray[np.intp]:
    """The rows sorted by value, so that the order of the tiles leaves no trace in a resample."""
    return np.lexsort(rows.T)


def _resample(groups: Ints, rng: np.random.Generator, resamples: int) -> Iterator[Ints]:
    """Blocks of int64[resamples of the block, columns]: sums over groups drawn with replacement."""
    count = len(groups)
    block = max(1, _BLOCK // count)
    even = np.full(count, 1 / count)
    for done in range(0, resamples, block):
        yield rng.multinomial(count, even, size=min(block, resamples - done)) @ groups


def _ratios(totals: Ints) -> NDArray[np.float64]:
    """float64[..., scores] from int64[..., columns]: `_SCORES`, then recall by length; NaN for 0/0."""
    column = np.moveaxis(totals, -1, 0).astype(np.float64)
    tp, fp, fn, tiles = column[_TP], column[_FP], column[_FN], column[_TILES]
    ships, found = column[_SHIPS], column[_FOUND]
    fractions = [
        (tp, tp + fp + fn),
        (2 * tp, 2 * tp + fp + fn),
        (tp, tp + fp),
        (tp, tp + fn),
        (column[_F2] / _F2_UNIT, tiles),
        (column[_EMPTY], tiles),
        (found.sum(axis=0), ships.sum(axis=0)),
        (column[_LARGE_FOUND], column[_LARGE]),
        (column[_COMPONENTS] - found.sum(axis=0), column[_AREA] / 1e6),
        *zip(found, ships, strict=True),
    ]
    over = np.stack([numerator for numerator, _ in fractions], axis=-1)
    under = np.stack([denominator for _, denominator in fractions], axis=-1)
    ratios: NDArray[np.float64] = np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
    return ratios


def _intervals(points: NDArray[np.float64], draws: NDArray[np.float64], counted: NDArray[np.bool_]) -> list[Interval]:
    """The interval of each score, from float64[resamples, scores] and the groups that count, bool[groups, scores]."""
    return [
        _interval(point, draw[~np.isnan(draw)], int(groups))
        for point, draw, groups in zip(points, draws.T, counted.sum(axis=0), strict=True)
    ]


def _interval(point: float, draws: NDArray[np.float64], groups: int) -> Interval:
    if np.isnan(point):
        return Interval(None, None, None)
    if groups < 2:
        return Interval(float(point), None, None)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(float(point), float(min(low, point)), float(max(high, point)))
