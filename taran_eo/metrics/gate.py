"""What a gate lets pass of labelled tiles: the ships that nobody looks at, and the work that is spared."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import exp, fsum, lgamma, log, log1p
from typing import Any

import numpy as np

from taran_eo.imagery.window import Part
from taran_eo.metrics.tile import LARGE_PX, Bools

CONFIDENCE = 0.95


@dataclass(frozen=True)
class GateTile:
    """What a gate does to one tile.

    Attributes:
        ships: True ships, of which a pixel is valid.
        unseen: Those of which less than half of the pixels pass.
        large: Ships of more than `LARGE_PX` pixels.
        large_unseen: Those of them of which less than half of the pixels pass.
        valid_px: Valid pixels.
        looked_px: Those of them that pass.
        macs: Multiplications of the gate and of the model behind it.
        dense_macs: Multiplications of the model without a gate.
    """

    ships: int
    unseen: int
    large: int
    large_unseen: int
    valid_px: int
    looked_px: int
    macs: int
    dense_macs: int


@dataclass(frozen=True)
class GateScores:
    """What a gate does to a set of tiles.

    Attributes:
        tiles: Tiles in the set.
        empty_tiles: Those without a ship.
        passed_tiles: Tiles of which anything passes.
        passed_empty_tiles: Those of them without a ship.
        passed_area: Share of the valid pixels that pass.
        work: Multiplications of gate and model, as a share of those of the model alone.
        work_empty: That of the tiles without a ship; None if there are none.
        work_with_ships: That of the tiles with ships; None if there are none.
        ships: True ships.
        ships_unseen: Those that nobody looks at.
        large_ships: True ships of more than 100 pixels.
        large_ships_unseen: Those of them that nobody looks at.
        large_ships_unseen_at_most: Share that is not exceeded with a confidence of 95 % (Clopper and Pearson,
            one-sided): about 3 / n where none of n is unseen; None without large ships.
    """

    tiles: int
    empty_tiles: int
    passed_tiles: int
    passed_empty_tiles: int
    passed_area: float
    work: float
    work_empty: float | None
    work_with_ships: float | None
    ships: int
    ships_unseen: int
    large_ships: int
    large_ships_unseen: int
    large_ships_unseen_at_most: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return asdict(self)


def score_gate(truths: Iterable[Part], looked: Bools, valid: Bools, *, macs: int, dense_macs: int) -> GateTile:
    """Hold what passes of a tile against its true ships.

    Args:
        truths: A window of the tile and the ship's pixels in it for each true ship.
        looked: bool[rows, cols], True where it passes.
        valid: bool[rows, cols], False where there was nothing to see.
        macs: Multiplications of the gate and of the model behind it.
        dense_macs: Multiplications of the model without a gate.
    """
    sizes, seen = [], []
    for window, part in truths:
        ship = part & valid[window.slices]
        if ship.any():
            sizes.append(int(np.count_nonzero(ship)))
            seen.append(2 * int(np.count_nonzero(ship & looked[window.slices])) >= sizes[-1])
    large = [size > LARGE_PX for size in sizes]
    return GateTile(
        ships=len(sizes),
        unseen=seen.count(False),
        large=sum(large),
        large_unseen=sum(one and not other for one, other in zip(large, seen, strict=True)),
        valid_px=int(np.count_nonzero(valid)),
        looked_px=int(np.count_nonzero(valid & looked)),
        macs=macs,
        dense_macs=dense_macs,
    )


def aggregate_gate(tiles: Sequence[GateTile]) -> GateScores:
    """The sums of a set of tiles, at least one."""
    empty = [tile for tile in tiles if not tile.ships]
    large, unseen = sum(tile.large for tile in tiles), sum(tile.large_unseen for tile in tiles)
    work = _work(tiles)
    return GateScores(
        tiles=len(tiles),
        empty_tiles=len(empty),
        passed_tiles=sum(tile.looked_px > 0 for tile in tiles),
        passed_empty_tiles=sum(tile.looked_px > 0 for tile in empty),
        passed_area=sum(tile.looked_px for tile in tiles) / max(1, sum(tile.valid_px for tile in tiles)),
        work=1.0 if work is None else work,
        work_empty=_work(empty),
        work_with_ships=_work([tile for tile in tiles if tile.ships]),
        ships=sum(tile.ships for tile in tiles),
        ships_unseen=sum(tile.unseen for tile in tiles),
        large_ships=large,
        large_ships_unseen=unseen,
        large_ships_unseen_at_most=upper_bound(unseen, large) if large else None,
    )


def upper_bound(events: int, trials: int) -> float:
    """The probability of an event that is not exceeded, with a confidence of 95 %, after so many in so many trials.

    Exact, one-sided (Clopper and Pearson, Biometrika 26, 1934); without an event nearly ``3 / trials``, the rule of
    three (Hanley and Lippman-Hand, JAMA 249, 1983).

    Example:
        >>> round(upper_bound(0, 100), 4)
        0.0295
    """
    if events == trials:
        return 1.0
    # In logarithms, as the ways to choose are soon beyond all floats.
    ways = [lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1) for k in range(events + 1)]
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        chance = fsum(exp(each + k * log(middle) + (trials - k) * log1p(-middle)) for k, each in enumerate(ways))
        low, high = (middle, high) if chance > 1 - CONFIDENCE else (low, middle)
    return high


def _work(tiles: Sequence[GateTile]) -> float | None:
    return sum(tile.macs for tile in tiles) / sum(tile.dense_macs for tile in tiles) if tiles else None
