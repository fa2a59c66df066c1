"""A whole synthetic scene as a value: what is where. Rendering it reads it and changes nothing."""

from dataclasses import dataclass
from math import ceil, cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ConfigError
from taran_eo.imagery.synthesis.canvas import Canvas
from taran_eo.imagery.synthesis.clouds import Clouds
from taran_eo.imagery.synthesis.fleet import Edge, Fleet
from taran_eo.imagery.synthesis.noise import white
from taran_eo.imagery.synthesis.sea import Sea
from taran_eo.imagery.synthesis.shore import Coast, Structure
from taran_eo.imagery.synthesis.vessels import Vessel
from taran_eo.imagery.window import Window

_TILE_M = 768 * 1.5
"""Side of the usual tile in metres: what is counted is counted per square of this side."""


@dataclass(frozen=True, slots=True)
class World:
    """What is where in a scene of `rows` x `cols` pixels of `gsd_m` metres.

    Attributes:
        rows: Rows of the scene.
        cols: Columns of the scene.
        gsd_m: Metres a pixel.
        seed: Seed of the sensor's noise.
        sea: The water.
        coast: The land, or None.
        clouds: The clouds, or None.
        structures: What is built, in the order of painting.
        vessels: The ships, numbered from 1 in this order.
        edges: Borders of the swath.
        noise: Standard deviation of the sensor's noise in grey levels.
        haze: Part of the light that is veil, 0 to 1.
    """

    rows: int
    cols: int
    gsd_m: float
    seed: int
    sea: Sea
    coast: Coast | None
    clouds: Clouds | None
    structures: tuple[Structure, ...]
    vessels: tuple[Vessel, ...]
    edges: tuple[Edge, ...]
    noise: float
    haze: float

    def render(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
        """Render a block, from absolute positions alone.

        Returns:
            uint8[rows, cols, 3], 0 without data; int32[rows, cols], the number of the ship seen there, or 0;
            and bool[rows, cols], False without data.
        """
        canvas = Canvas.blank(window, self.gsd_m)
        self.sea.paint(canvas)
        if self.coast is not None:
            self.coast.paint(canvas, self.sea.colour)
        for structure in self.structures:
            structure.paint(canvas)
        for vessel in self.vessels:
            vessel.paint_wake(canvas)
        for vessel in self.vessels:
            vessel.paint_hull(canvas)
        if self.clouds is not None:
            self.clouds.paint(canvas)
        canvas.colour *= np.float32(1 - self.haze)
        canvas.colour += np.array([92, 104, 116], dtype=np.float32)[:, None, None] * np.float32(self.haze)
        rows, cols = np.arange(window.row, window.row_stop), np.arange(window.col, window.col_stop)
        common = white(self.seed, rows, cols) * np.float32(0.75 * self.noise)
        for band in range(3):
            canvas.colour[band] += common
            canvas.colour[band] += white(self.seed + 1 + band, rows, cols) * np.float32(0.55 * self.noise)
        valid = np.ones((window.rows, window.cols), dtype=np.bool_)
        for edge in self.edges:
            valid &= ~edge.beyond(canvas.rows_m[:, None], canvas.cols_m[None, :])
        image = np.rint(np.clip(canvas.colour, 1, 255)).astype(np.uint8)
        image *= valid
        return np.ascontiguousarray(image.transpose(1, 2, 0)), canvas.owner * valid, valid


def compose(
    rows: int,
    cols: int,
    *,
    rng: np.random.Generator,
    gsd_m: float,
    ships: int | None,
    land: bool | None,
    cloudy: bool | None,
    swath_edge: bool | None,
) -> World:
    """Draw a world; what is None is left to chance.

    Args:
        rows: Rows of the scene.
        cols: Columns of the scene.
        rng: Source of all chance.
        gsd_m: Metres a pixel.
        ships: Number of ships to try to place; where there is no room left there are fewer.
        land: Whether there is a coast.
        cloudy: Whether there are clouds.
        swath_edge: Whether a slanted border without data crosses the scene.
    """
    if rows < 1 or cols < 1 or not 0.1 <= gsd_m <= 30 or (ships is not None and ships < 0):
        raise ConfigError(
            f"A synthetic scene of {rows} x {cols} pixels of {gsd_m} m with {ships} ships makes no sense",
            remedy="Give at least 1 x 1 pixels of 0.1 to 30 m, and 0 ships or more",
        )
    rows_m, cols_m = rows * gsd_m, cols * gsd_m
    squares = rows_m * cols_m / _TILE_M**2
    sea = Sea.drawn(rng)
    coast = Coast.drawn(rng, rows_m, cols_m) if _chance(rng, 0.38, land) else None
    clouds = Clouds.drawn(rng) if _chance(rng, 0.22, cloudy) else None
    edges = (_edge(rng, rows_m, cols_m),) if _chance(rng, 0.04, swath_edge) else ()
    structures = _built(rng, coast, rows_m, cols_m)
    structures += _afloat(rng, coast, rows_m, cols_m, squares)
    if ships is None:
        mean = 0.0 if rng.random() < 0.25 else float(rng.gamma(1.2, 3.0)) * squares
        ships = int(rng.poisson(mean))
    fleet = Fleet(rng, coast, clouds, edges, structures, rows_m, cols_m)
    return World(
        rows=rows,
        cols=cols,
        gsd_m=gsd_m,
        seed=int(rng.integers(2**31)),
        sea=sea,
        coast=coast,
        clouds=clouds,
        structures=structures,
        vessels=fleet.placed(ships),
        edges=edges,
        noise=float(rng.uniform(0.6, 2.2)),
        haze=float(rng.uniform(0.05, 0.35)) if rng.random() < 0.2 else 0.0,
    )


def _chance(rng: np.random.Generator, share: float, given: bool | None) -> bool:
    # Drawn even where given, so that an option changes what it names and not the rest of the scene.
    drawn = bool(rng.random() < share)
    return drawn if given is None else given


def _edge(rng: np.random.Generator, rows_m: float, cols_m: float) -> Edge:
    turn_deg = float(rng.choice([0, 90, 180, 270]) + rng.uniform(-15, 15))
    turn = radians(turn_deg)
    centre = rows_m / 2 * cos(turn) + cols_m / 2 * sin(turn)
    half = (rows_m * abs(cos(turn)) + cols_m * abs(sin(turn))) / 2
    return Edge(turn_deg, centre + half * float(rng.uniform(0.3, 0.9)))


def _built(rng: np.random.Generator, coast: Coast | None, rows_m: float, cols_m: float) -> tuple[Structure, ...]:
    """Quays, piers, breakwaters and tanks along a coast."""
    if coast is None or rng.random() < 0.35:
        return ()
    made: list[Structure] = []
    turn = radians(coast.inland_deg)
    span_m = float(np.hypot(rows_m, cols_m))
    for _ in range(max(1, round(span_m / 700 * float(rng.uniform(0.4, 1.6))))):
        along_m = float(rng.uniform(-0.5, 0.5)) * span_m
        # From the straight line, walk inland to where the shore really is.
        walk_m = np.linspace(-1.2, 1.2, 81) * (coast.rough_m + 5)
        down = coast.row_m + along_m * sin(turn) - walk_m * cos(turn)
        right = coast.col_m + along_m * cos(turn) + walk_m * sin(turn)
        ashore = np.flatnonzero(coast.inland_at(down, right) > 0)
        if not ashore.size:
            continue
        row_m, col_m = float(down[ashore[0]]), float(right[ashore[0]])
        seed, tilt_deg = int(rng.integers(2**31)), float(rng.normal(0, 8))
        kind = str(rng.choice(["quay", "pier", "piers", "breakwater", "tank"], p=[0.35, 0.2, 0.2, 0.15, 0.1]))
        shore_deg = coast.inland_deg + 90 + tilt_deg
        if kind == "quay":
            made.append(
                Structure(
                    kind, seed, row_m, col_m, float(rng.uniform(120, 700)), float(rng.uniform(60, 320)), shore_deg
                )
            )
        elif kind == "breakwater":
            made.append(
                _seaward(
                    coast,
                    "breakwater",
                    seed,
                    row_m,
                    col_m,
                    float(rng.uniform(80, 500)),
                    float(rng.uniform(8, 18)),
                    30 * tilt_deg / 8,
                )
            )
        elif kind == "tank":
            for step in range(int(rng.integers(2, 9))):
                wide_m = float(rng.uniform(15, 55))
                made.append(
                    Structure(
                        kind,
                        seed + step,
                        row_m - cos(turn) * (60 + 70 * (step % 2)) + sin(turn) * 65 * step,
                        col_m + sin(turn) * (60 + 70 * (step % 2)) + cos(turn) * 65 * step,
                        wide_m,
                        wide_m,
                        shore_deg,
                    )
                )
        else:
            wide_m, long_m = float(rng.uniform(3, 24)), float(rng.uniform(40, 350))
            count = 1 if kind == "pier" else int(rng.integers(2, 8))
            gap_m = float(rng.uniform(28, 90))
            for along_m in np.arange(count) * gap_m:
                foot_m = row_m + sin(turn) * float(along_m), col_m + cos(turn) * float(along_m)
                made.append(_seaward(coast, "pier", seed, *foot_m, long_m, wide_m, tilt_deg))
    return tuple(made)


def _seaward(
    coast: Coast, kind: str, seed: int, row_m: float, col_m: float, length_m: float, width_m: float, tilt_deg: float
) -> Structure:
    """A structure that stands out from the shore at a place into the sea."""
    out_deg = coast.inland_deg + 180 + tilt_deg
    reach_m = length_m / 2 - 15
    return Structure(
        kind,
        seed,
        row_m - cos(radians(out_deg)) * reach_m,
        col_m + sin(radians(out_deg)) * reach_m,
        length_m,
        width_m,
        out_deg,
    )


def _afloat(
    rng: np.random.Generator, coast: Coast | None, rows_m: float, cols_m: float, squares: float
) -> tuple[Structure, ...]:
    """Rocks with surf, fish farms and buoys: small things at sea that are no ships."""
    made: list[Structure] = []
    for kind, share, low_m, high_m in (("rock", 0.12, 4, 45), ("farm", 0.08, 40, 220), ("buoy", 0.1, 2.5, 5)):
        if rng.random() >= share * (1.6 if coast is not None else 1):
            continue
        for _ in range(min(int(rng.poisson(2.5 * ceil(squares))), 400)):
            long_m = float(rng.uniform(low_m, high_m))
            made.append(
                Structure(
                    kind,
                    int(rng.integers(2**31)),
                    float(rng.uniform(0, rows_m)),
                    float(rng.uniform(0, cols_m)),
                    long_m,
                    long_m * float(rng.uniform(0.4, 1)),
                    float(rng.uniform(0, 360)),
                )
            )
    return tuple(made)
