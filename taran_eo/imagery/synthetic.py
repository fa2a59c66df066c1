"""Synthetic scenes with known truth: seeded, at any size, for the demo and for pre-training.

A scene is drawn once as a value (`synthesis.world`) and then rendered block by block from positions alone,
so that the image in memory and the file of a scene too large for memory are the same pixels.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from taran_eo.imagery.mask import Mask
from taran_eo.imagery.rle import kaggle_encode_part
from taran_eo.imagery.synthesis.vessels import Vessel
from taran_eo.imagery.synthesis.world import World, compose
from taran_eo.imagery.window import Part, Window
from taran_eo.imagery.writer import MaskWriter, RasterWriter

_BLOCK = 256
"""Blocks begin at multiples of this, so that the same sums are taken whoever asks for a pixel."""


@dataclass(frozen=True, eq=False, slots=True)
class SyntheticShip:
    """The truth about one ship that is seen in a scene.

    Attributes:
        row: Row of its centre, in pixels from the scene's top (fractional).
        col: Column of its centre, in pixels from the scene's left side (fractional).
        length_m: From stern to bow.
        width_m: Its beam.
        heading_deg: Where its bow points, clockwise from up.
        kind: What it is, such as "tanker".
        window: The smallest window around its visible pixels.
        mask: bool[rows, cols] over `window`, its visible pixels.
    """

    row: float
    col: float
    length_m: float
    width_m: float
    heading_deg: float
    kind: str
    window: Window
    mask: NDArray[np.bool_]

    def on(self, rows: int, cols: int) -> NDArray[np.bool_]:
        """Its pixels on the grid of the whole scene: bool[rows, cols]."""
        whole = np.zeros((rows, cols), dtype=np.bool_)
        whole[self.window.slices] = self.mask
        return whole

    def kaggle(self, rows: int) -> str:
        """Its pixels as Kaggle run lengths on the grid of a scene of `rows`."""
        return kaggle_encode_part((self.window, self.mask), rows)


@dataclass(frozen=True, eq=False, slots=True)
class SyntheticScene:
    """A scene and the truth about it.

    Attributes:
        image: uint8[rows, cols, 3], red, green, blue; 0 without data.
        ships: The ships of which at least one pixel is seen.
        mask: Classes of all pixels.
        valid: bool[rows, cols], False without data.
        gsd_m: Metres a pixel.
    """

    image: NDArray[np.uint8]
    ships: tuple[SyntheticShip, ...]
    mask: Mask
    valid: NDArray[np.bool_]
    gsd_m: float


def synthesize(
    rows: int,
    cols: int,
    *,
    rng: np.random.Generator,
    gsd_m: float = 1.5,
    ships: int | None = None,
    land: bool | None = None,
    cloudy: bool | None = None,
    swath_edge: bool | None = None,
) -> SyntheticScene:
    """Make a scene in memory; what is None is left to chance.

    Args:
        rows: Rows, at least 1.
        cols: Columns, at least 1.
        rng: Source of all chance: equal generators make equal scenes.
        gsd_m: Metres a pixel.
        ships: Number of ships to try to place; where there is no room left there are fewer.
        land: Whether there is a coast.
        cloudy: Whether there are clouds.
        swath_edge: Whether a slanted border without data crosses the scene.

    Raises:
        ConfigError: A size makes no sense.
    """
    world = compose(rows, cols, rng=rng, gsd_m=gsd_m, ships=ships, land=land, cloudy=cloudy, swath_edge=swath_edge)
    image = np.empty((rows, cols, 3), dtype=np.uint8)
    owner = np.empty((rows, cols), dtype=np.int32)
    valid = np.empty((rows, cols), dtype=np.bool_)
    truth = _Truth(world)
    for window, part_image, part_owner, part_valid in _blocks(world):
        image[window.slices] = part_image
        owner[window.slices] = part_owner
        valid[window.slices] = part_valid
        truth.see(window, part_owner)
    return SyntheticScene(image, truth.ships(), Mask.of(owner > 0, valid), valid, gsd_m)


def write_synthetic_scene(
    path: Path,
    rows: int,
    cols: int,
    *,
    rng: np.random.Generator,
    crs: CRS,
    transform: Any,  # noqa: ANN401 affine has no types
    mask_path: Path | None = None,
    gsd_m: float = 1.5,
    ships: int | None = None,
    land: bool | None = None,
    cloudy: bool | None = None,
    swath_edge: bool | None = None,
) -> tuple[SyntheticShip, ...]:
    """Write a scene of any size as a tiled GeoTIFF in bounded memory: the pixels that `synthesize` makes.

    Args:
        path: The file to write, atomically; nodata is 0.
        rows: Rows, at least 1.
        cols: Columns, at least 1.
        rng: Source of all chance.
        crs: Coordinate reference system of the file.
        transform: affine.Affine from (column, row) to `crs`; its steps should be `gsd_m` long.
        mask_path: Where to write the true mask as well, or None.
        gsd_m: Metres a pixel.
        ships: As in `synthesize`.
        land: As in `synthesize`.
        cloudy: As in `synthesize`.
        swath_edge: As in `synthesize`.

    Returns:
        The ships of which at least one pixel is seen.

    Raises:
        OutputError: The place cannot be written, or the disk is full.
        ConfigError: A size makes no sense.
    """
    world = compose(rows, cols, rng=rng, gsd_m=gsd_m, ships=ships, land=land, cloudy=cloudy, swath_edge=swath_edge)
    truth = _Truth(world)
    with ExitStack() as stack:
        image_file = stack.enter_context(
            RasterWriter(path, rows, cols, crs=crs, transform=transform, bands=3, nodata=0)
        )
        mask_file = (
            None
            if mask_path is None
            else stack.enter_context(MaskWriter(mask_path, rows, cols, crs=crs, transform=transform))
        )
        for window, image, owner, valid in _blocks(world):
            image_file.write(window, image.transpose(2, 0, 1))
            if mask_file is not None:
                mask_file.write(window, Mask.of(owner > 0, valid).labels)
            truth.see(window, owner)
    return truth.ships()


def _blocks(
    world: World,
) -> Iterator[tuple[Window, NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]]:
    """The blocks of a world, row-major. Each is rendered whole, also where it reaches past the scene."""
    for row in range(0, world.rows, _BLOCK):
        for col in range(0, world.cols, _BLOCK):
            whole = Window(row, col, _BLOCK, _BLOCK)
            image, owner, valid = world.render(whole)
            inside = whole.clipped(world.rows, world.cols)
            cut = inside.relative_to(whole).slices
            yield inside, image[cut], owner[cut], valid[cut]


class _Truth:
    """Gathers the visible pixels of each ship from the blocks of a scene."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[int, list[Part]] = {}

    def see(self, block: Window, owner: NDArray[np.int32]) -> None:
        for number in np.unique(owner[owner > 0]).tolist():
            mask = owner == number
            inside = _bounds(mask)
            place = Window(block.row + inside.row, block.col + inside.col, inside.rows, inside.cols)
            self._seen.setdefault(number, []).append((place, mask[inside.slices]))

    def ships(self) -> tuple[SyntheticShip, ...]:
        return tuple(
            self._ship(vessel, self._seen[vessel.number])
            for vessel in self._world.vessels
            if vessel.number in self._seen
        )

    def _ship(self, vessel: Vessel, parts: list[Part]) -> SyntheticShip:
        row, col = min(w.row for w, _ in parts), min(w.col for w, _ in parts)
        window = Window(row, col, max(w.row_stop for w, _ in parts) - row, max(w.col_stop for w, _ in parts) - col)
        mask = np.zeros((window.rows, window.cols), dtype=np.bool_)
        for place, part in parts:
            mask[place.relative_to(window).slices] = part
        gsd_m = self._world.gsd_m
        return SyntheticShip(
            row=vessel.row_m / gsd_m - 0.5,
            col=vessel.col_m / gsd_m - 0.5,
            length_m=vessel.length_m,
            width_m=vessel.width_m,
            heading_deg=vessel.heading_deg,
            kind=vessel.kind.name,
            window=window,
            mask=mask,
        )


def _bounds(mask: NDArray[np.bool_]) -> Window:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Window(int(rows[0]), int(cols[0]), int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1)
