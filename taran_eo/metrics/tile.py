"""One tile boiled down to integers: pixels, pairs of true and predicted ships, area."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ContractError
from taran_eo.imagery.window import Part, Window
from taran_eo.ships import label_components, oriented_length_px

Bools = NDArray[np.bool_]

KAGGLE_IOU_PERCENT = tuple(range(50, 100, 5))
FOUND_IOU_PERCENT = 30
LARGE_PX = 100
LENGTH_BINS_M = (30.0, 60.0, 120.0)
"""Limits between the size bins: a ship of just 30 m is in the second."""
LENGTH_BIN_NAMES = ("under_30", "30_to_60", "60_to_120", "over_120")


@dataclass(frozen=True)
class TileScore:
    """What one tile adds to the scores.

    Attributes:
        true_positive_px: Ship pixels that were found.
        false_positive_px: Sea pixels taken for ship.
        false_negative_px: Ship pixels that were missed.
        area_m2: Valid area, rounded to a square metre.
        ships: True ships by length, one count for each of `LENGTH_BIN_NAMES`.
        found: Those of `ships` that were found.
        components: Predicted ships.
        hits: Pairs with an IoU above each of `KAGGLE_IOU_PERCENT`.
        large: True ships of more than `LARGE_PX` pixels.
        large_found: Those of them that were found.
        group: Tiles of one group are resampled together; None is a group of its own.
    """

    true_positive_px: int
    false_positive_px: int
    false_negative_px: int
    area_m2: int
    ships: tuple[int, ...]
    found: tuple[int, ...]
    components: int
    hits: tuple[int, ...]
    large: int
    large_found: int
    group: str | None = None

    @property
    def f2(self) -> float:
        """The Kaggle score of this tile."""
        truths = sum(self.ships)
        if truths == self.components == 0:
            return 1.0
        # 5 TP + 4 FN + FP with FN = truths - TP and FP = components - TP.
        return 5 * sum(self.hits) / ((4 * truths + self.components) * len(self.hits))


def score_tile(
    truths: Iterable[Part],
    predicted: Bools,
    valid: Bools | None = None,
    *,
    gsd_m: float,
    group: str | None = None,
) -> TileScore:
    """Compare a predicted mask with the true ships of a tile.

    Args:
        truths: A window of the tile and the ship's pixels in it for each true ship, consumed one by one; they may
            overlap.
        predicted: bool[rows, cols], True where ship.
        valid: bool[rows, cols], False where there was nothing to see; None if all is valid.
        gsd_m: Ground sampling distance in metres a pixel.
        group: See `TileScore`.

    Raises:
        ContractError: `valid` has another shape, or a true ship lies outside of the tile.
    """
    seen = np.ones(predicted.shape, np.bool_) if valid is None else valid
    _check_place((Window(0, 0, *predicted.shape), seen), predicted)
    ships = _seen_ships(truths, seen)
    answer = predicted & seen
    components, partners = _compare(ships, answer)
    truth = np.zeros_like(answer)
    for window, part in ships:
        truth[window.slices] |= part
    lengths_m = [oriented_length_px(part) * gsd_m for _, part in ships]
    bins = [int(np.searchsorted(LENGTH_BINS_M, length, side="right")) for length in lengths_m]
    large = {place for place, (_, part) in enumerate(ships) if np.count_nonzero(part) > LARGE_PX}
    found = {ship for ship, _, same, union in partners if 100 * same > FOUND_IOU_PERCENT * union}
    same_px = int(np.count_nonzero(answer & truth))
    return TileScore(
        true_positive_px=same_px,
        false_positive_px=int(np.count_nonzero(answer)) - same_px,
        false_negative_px=int(np.count_nonzero(truth)) - same_px,
        area_m2=round(np.count_nonzero(seen) * gsd_m**2),
        ships=tuple(bins.count(k) for k in range(len(LENGTH_BIN_NAMES))),
        found=tuple(sum(bins[ship] == k for ship in found) for k in range(len(LENGTH_BIN_NAMES))),
        components=components,
        hits=tuple(sum(100 * same > t * union for _, _, same, union in partners) for t in KAGGLE_IOU_PERCENT),
        large=len(large),
        large_found=len(large & found),
        group=group,
    )


def agreement(first: Bools, second: Bools, valid: Bools) -> TileScore:
    """Compare two predicted masks of a tile by their pixels: the second in place of the truth, no ship told apart.

    Args:
        first: bool[rows, cols], True where ship.
        second: The same of another predictor.
        valid: bool[rows, cols], False where there was nothing to see.
    """
    one, other = first & valid, second & valid
    same_px, none = int(np.count_nonzero(one & other)), (0,) * len(LENGTH_BIN_NAMES)
    return TileScore(
        true_positive_px=same_px,
        false_positive_px=int(np.count_nonzero(one)) - same_px,
        false_negative_px=int(np.count_nonzero(other)) - same_px,
        area_m2=0,
        ships=none,
        found=none,
        components=0,
        hits=(0,) * len(KAGGLE_IOU_PERCENT),
        large=0,
        large_found=0,
    )


def _seen_ships(truths: Iterable[Part], seen: Bools) -> list[Part]:
    """The valid parts of the true ships that have one."""
    ships = []
    for window, ship in truths:
        _check_place((window, ship), seen)
        part = ship & seen[window.slices]
        if part.any():
            ships.append((window, part))
    return ships


def _compare(ships: Sequence[Part], answer: Bools) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Components of an answer, and its one-to-one pairs: true ship, component, intersection, union."""
    labels, components = label_components(answer)
    areas_px = np.bincount(labels[answer], minlength=components + 1)
    pairs = []
    for place, (window, part) in enumerate(ships):
        area_px = int(np.count_nonzero(part))
        touched, overlaps_px = np.unique(labels[window.slices][part & answer[window.slices]], return_counts=True)
        pairs += [
            (place, other, same, int(area_px + areas_px[other] - same))
            for other, same in zip(touched.tolist(), overlaps_px.tolist(), strict=True)
        ]
    return components, _match(pairs)


def _check_place(part: Part, predicted: Bools) -> None:
    window, mask = part
    if mask.shape != (window.rows, window.cols) or window.clipped(*predicted.shape) != window:
        raise ContractError(
            f"A mask of {mask.shape} pixels at {(window.row, window.col)} is compared with a prediction of "
            f"{predicted.shape}",
            remedy="Check that the masks belong to these images and have their height and width",
            mask=mask.shape,
            predicted=predicted.shape,
        )


def _match(pairs: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """One-to-one pairs, greedily by falling IoU; the best pairs above a limit do not depend on the limit."""
    ships: set[int] = set()
    components: set[int] = set()
    chosen = []
    for pair in sorted(pairs, key=lambda pair: (-pair[2] / pair[3], pair[0], pair[1])):
        if pair[0] not in ships and pair[1] not in components:
            ships.add(pair[0])
            components.add(pair[1])
            chosen.append(pair)
    return chosen
