"""Where ships go: free and visible water, berths, and the sides of other ships."""

from dataclasses import dataclass, replace
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from taran_eo.imagery.synthesis.clouds import Clouds
from taran_eo.imagery.synthesis.shore import Coast, Structure
from taran_eo.imagery.synthesis.vessels import Vessel, expected_spacing_m

_CLOUD_LIMIT = 0.5
"""Ships under thicker cloud could not be labelled by anyone, so none are put there."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The border of a swath, as a slanted line: no data where down * cos + right * sin exceeds `limit_m`."""

    turn_deg: float
    limit_m: float

    def beyond(self, rows_m: NDArray[np.float64], cols_m: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether places lie past the border; the arguments are broadcast."""
        turn = radians(self.turn_deg)
        return rows_m * cos(turn) + cols_m * sin(turn) > self.limit_m


class Fleet:
    """Places ships one by one where there is free and visible water."""

    def __init__(
        self,
        rng: np.random.Generator,
        coast: Coast | None,
        clouds: Clouds | None,
        edges: tuple[Edge, ...],
        structures: tuple[Structure, ...],
        rows_m: float,
        cols_m: float,
    ) -> None:
        self._rng, self._coast, self._clouds, self._edges = rng, coast, clouds, edges
        self._structures, self._rows_m, self._cols_m = structures, rows_m, cols_m
        self._vessels: list[Vessel] = []
        self._taken: NDArray[np.float64] = np.empty((0, 3))  # down, right, half length
        self._sun_deg = float(rng.uniform(0, 360))

    def placed(self, count: int) -> tuple[Vessel, ...]:
        """Up to `count` ships: some moored, some in small groups, most alone."""
        berths = [s for s in self._structures if s.kind in ("quay", "pier")]
        for _ in range(count * 6):
            if len(self._vessels) >= count:
                break
            if berths and self._rng.random() < 0.5:
                self._moor(berths[int(self._rng.integers(len(berths)))])
            else:
                place_m = (float(self._rng.uniform(0, self._rows_m)), float(self._rng.uniform(0, self._cols_m)))
                vessel = self._drawn(place_m)
                self._take(vessel, moored=False)
                if self._rng.random() < 0.08 and self._vessels and self._vessels[-1] is vessel:
                    self._raft(vessel, int(self._rng.integers(1, 4)), count)
        return tuple(self._vessels)

    def _drawn(self, place_m: tuple[float, float], heading_deg: float | None = None, moored: bool = False) -> Vessel:
        return Vessel.drawn(
            self._rng,
            len(self._vessels) + 1,
            place_m,
            heading_deg=heading_deg,
            sun_deg=self._sun_deg,
            moored=moored,
        )

    def _moor(self, berth: Structure) -> None:
        turn_deg = berth.heading_deg + 180 * int(self._rng.integers(2))
        side = 1 if self._rng.random() < 0.5 else -1
        vessel = self._drawn((0.0, 0.0), turn_deg, moored=True)
        off_m = berth.width_m / 2 + vessel.width_m / 2 + float(self._rng.uniform(0.5, 2.5))
        along_m = float(self._rng.uniform(-0.45, 0.45)) * berth.length_m
        turn = radians(berth.heading_deg)
        row_m = berth.row_m - along_m * cos(turn) + side * off_m * sin(turn)
        col_m = berth.col_m + along_m * sin(turn) + side * off_m * cos(turn)
        self._take(_moved(vessel, row_m, col_m), moored=True)

    def _raft(self, first: Vessel, count: int, most: int) -> None:
        """Lay ships side by side with one that lies still."""
        beside_m = first.width_m / 2
        for _ in range(count if first.wake_m == 0 else 0):
            vessel = self._drawn((0.0, 0.0), first.heading_deg, moored=True)
            if len(self._vessels) >= most or vessel.length_m > 1.5 * first.length_m:
                return
            beside_m += vessel.width_m / 2 + 1.5
            place = first.at(float(self._rng.uniform(-0.1, 0.1)) * first.length_m, beside_m)
            self._take(_moved(vessel, *place), moored=True)
            beside_m += vessel.width_m / 2

    def _take(self, vessel: Vessel, *, moored: bool) -> None:
        if self._free(vessel, moored):
            self._vessels.append(vessel)
            here = [[vessel.row_m, vessel.col_m, vessel.length_m / 2]]
            self._taken = np.concatenate([self._taken, here])

    def _free(self, vessel: Vessel, moored: bool) -> bool:
        half_m, side_m = vessel.length_m / 2, vessel.width_m / 2
        outline = [
            vessel.at(along * half_m, across * side_m)
            for along in (-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1)
            for across in (-1, 0, 1)
        ]
        down, right = (np.array(values) for values in zip(*outline, strict=True))
        if self._coast is not None and (self._coast.inland_at(down, right) > (-2 if moored else -8)).any():
            return False
        if self._clouds is not None and float(self._clouds.opacity_at(down, right).mean()) > _CLOUD_LIMIT:
            return False
        if any(bool(edge.beyond(down, right).any()) for edge in self._edges):
            return False
        least_m = 0.0 if moored else 6.0
        if any((structure.gap_at(down, right) < least_m).any() for structure in self._structures):
            return False
        return not any(_touch(vessel, other, 0.5 if moored else 4.0) for other in self._near(vessel))

    def _near(self, vessel: Vessel) -> list[Vessel]:
        distance_m = np.hypot(self._taken[:, 0] - vessel.row_m, self._taken[:, 1] - vessel.col_m)
        close = distance_m < self._taken[:, 2] + expected_spacing_m(vessel.length_m) + 10
        return [self._vessels[index] for index in np.flatnonzero(close)]


def _moved(vessel: Vessel, row_m: float, col_m: float) -> Vessel:
    return replace(vessel, row_m=row_m, col_m=col_m)


def _touch(one: Vessel, other: Vessel, margin_m: float) -> bool:
    """Whether the rectangles around two ships come nearer than a margin (separating axes)."""
    between = np.array([other.row_m - one.row_m, other.col_m - one.col_m])
    axes, halves = [], []
    for ship in (one, other):
        turn = radians(ship.heading_deg)
        axes += [np.array([-cos(turn), sin(turn)]), np.array([sin(turn), cos(turn)])]
        halves += [ship.length_m / 2, ship.width_m / 2]
    for axis in axes:
        reach = sum(half * abs(float(axis @ side)) for half, side in zip(halves, axes, strict=True))
        if abs(float(axis @ between)) > reach + margin_m:
            return False
    return True
