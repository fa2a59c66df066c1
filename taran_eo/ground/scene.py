"""One scene on the ground: mask, ships, pixels and preview from what has arrived of its product."""

import json
import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from taran_eo.codec import Product, windows
from taran_eo.codec.chip import COARSE, PIECE, open_chip
from taran_eo.codec.header import Step
from taran_eo.codec.image import expand
from taran_eo.codec.ship_list import PER_PIXEL, TOP_SCORE
from taran_eo.errors import CorruptDataError
from taran_eo.ground.preview import Preview
from taran_eo.imagery.mask import NODATA
from taran_eo.imagery.source import gdal
from taran_eo.imagery.window import Window
from taran_eo.imagery.writer import MaskWriter, RasterWriter
from taran_eo.outputs import MASK, SHIPS_IN_PIXELS, SHIPS_ON_EARTH, place, together
from taran_eo.ships import Ship, feature_collection, ships_in

PREVIEW = ".preview.png"
CHIP = ".chip_"
REGIONS = ".regions.tif"
SCENE = ".scene.tif"

MOST_PIXELS = 1 << 34
"""A header that claims more is not followed: no scene of ours has 131,072 pixels a side."""

T = TypeVar("T")
Pixels = NDArray[np.uint8]


def settle(product: Product, folder: Path, name: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write what has arrived of a product; all files or none.

    Args:
        product: The product, whole or not.
        folder: Where the outputs go.
        name: Name of the outputs within the folder.

    Returns:
        The files, and what of the product could not be read, a line each.

    Raises:
        CorruptDataError: The header cannot be that of a scene.
        OutputError: An output cannot be written.
    """
    header = product.header
    if header.rows * header.cols > MOST_PIXELS:
        raise CorruptDataError(
            f"The header claims {header.rows} x {header.cols} pixels, and {MOST_PIXELS} are accepted",
            remedy="Look at where the frames came from",
        )
    scene = _Scene(product)
    writers: dict[Path, Callable[[Path], None]] = {
        place(folder, name, ending): write for ending, write in scene.writers().items()
    }
    with together(folder, tuple(writers)) as temporaries:
        for file, write in writers.items():
            write(temporaries[file])
    return tuple(writers), tuple(scene.unreadable)


class _Scene:
    """What is written of one product, and what of it cannot be read."""

    def __init__(self, product: Product) -> None:
        self.product, self.header = product, product.header
        self.unreadable: list[str] = []
        self.crs, self.transform = self._georeference()
        self.preview = Preview(self.header.rows, self.header.cols)
        self.ships = self._ships()

    def writers(self) -> dict[str, Callable[[Path], None]]:
        """What writes each file, by its ending, in the order in which a preview is painted."""
        levels = self.header.levels
        found: dict[str, Callable[[Path], None]] = {}
        if "ships" in levels:
            found[SHIPS_IN_PIXELS if self.crs is None else SHIPS_ON_EARTH] = self._write_ships
        if "scene" in levels:
            found[SCENE] = lambda path: self._write_pixels(path, PIECE, self._scene_block)
        if "regions" in levels:
            found[REGIONS] = lambda path: self._write_pixels(path, self.header.tile, self._region_block)
        for number, item in sorted(self.product.items.get("chips", {}).items()):
            # Opened twice rather than all held: a harbour has thousands.
            if self._read(f"chip {number + 1}", partial(self._chip, item)) is not None:
                found[f"{CHIP}{number + 1:05d}.tif"] = partial(self._write_chip, item)
        if "mask" in levels:
            found[MASK] = self._write_mask
        return found | {PREVIEW: self._write_preview}

    def _georeference(self) -> tuple[CRS | None, Affine | None]:
        header = self.header
        if header.crs is None or header.transform is None:
            return None, None
        try:
            with gdal():
                return CRS.from_user_input(header.crs), Affine(*header.transform)
        except (CRSError, ValueError):  # "EPSG:" without a number is a ValueError
            self.unreadable.append(f"its coordinate reference system {header.crs[:60]!r} is none that is known here")
            return None, None

    def _ships(self) -> tuple[Ship, ...]:
        sightings = self._read("the ship list", self.product.ships) or ()
        if not sightings:
            return ()
        return ships_in(
            np.stack([each.corners() for each in sightings]),
            np.array([(each.row, each.col) for each in sightings]) / PER_PIXEL,
            [each.pixels for each in sightings],
            [each.score / TOP_SCORE for each in sightings],
            gsd_m=self.header.gsd_m,
            crs=self.crs,
            transform=self.transform,
        )

    def _read(self, what: str, read: Callable[[], T]) -> T | None:
        """What `read` gives, or None where it finds that no encoder of ours wrote that."""
        try:
            return read()
        except CorruptDataError as error:
            self._told(what, error)
            return None

    def _told(self, what: str, error: CorruptDataError) -> None:
        self.unreadable.append(f"{what} cannot be read: {error.what}")

    def _write_ships(self, path: Path) -> None:
        header = self.header
        if self.crs is not None and self.transform is not None:
            content = feature_collection(self.ships, self.crs, self.transform)
        else:
            size: dict[str, JsonValue] = {"scene": header.scene, "rows": header.rows, "cols": header.cols}
            content = size | {"gsd_m": header.gsd_m, "ships": [ship.record() for ship in self.ships]}
        path.write_bytes(json.dumps(content, allow_nan=False).encode() + b"\n")

    def _write_mask(self, path: Path) -> None:
        header = self.header
        over_pixels = not {"scene", "regions"}.isdisjoint(header.levels)
        with MaskWriter(path, header.rows, header.cols, crs=self.crs, transform=self.transform) as writer:
            for window, arrived in self.product.mask_blocks(self._told):
                labels = arrived
                if labels is None:
                    labels = np.full((window.rows, window.cols), NODATA, dtype=np.uint8)
                writer.write(window, labels)
                self.preview.labels(window, labels, over_pixels=over_pixels)

    def _write_chip(self, item: bytes, path: Path) -> None:
        row, col, pixels = self._chip(item)
        transform = None if self.transform is None else self.transform @ Affine.translation(col, row)
        _, rows, cols = pixels.shape
        with RasterWriter(path, rows, cols, crs=self.crs, transform=transform, bands=self.header.bands) as writer:
            writer.write(Window(0, 0, rows, cols), pixels)

    def _write_pixels(self, path: Path, side: int, block: Callable[[int, Window], Pixels]) -> None:
        """Pixels in squares of a side; black where they are missing."""
        header = self.header
        with RasterWriter(
            path, header.rows, header.cols, crs=self.crs, transform=self.transform, bands=header.bands
        ) as writer:
            for number, window in enumerate(windows(header, side)):
                pixels = block(number, window)
                writer.write(window, pixels)
                self.preview.pixels(window, pixels)

    def _scene_block(self, number: int, window: Window) -> Pixels:
        return self._image("scene", number, window.rows, window.cols)

    def _region_block(self, number: int, window: Window) -> Pixels:
        """The coarse image of a block, and what is fine in it upon that."""
        coarse = self._image("regions", number, -(-window.rows // COARSE), -(-window.cols // COARSE))
        pixels = coarse.repeat(COARSE, axis=1).repeat(COARSE, axis=2)[:, : window.rows, : window.cols]
        for chip in self._fine:
            top, left = max(window.row, chip.row), max(window.col, chip.col)
            bottom, right = min(window.row_stop, chip.row_stop), min(window.col_stop, chip.col_stop)
            if top < bottom and left < right:
                shown = Window(top, left, bottom - top, right - left)
                inside = shown.relative_to(chip)
                _, _, fine = self._chip(self.product.items["regions"][self._fine[chip]])
                pixels[:, *shown.relative_to(window).slices] = fine[:, *inside.slices]
        return pixels

    @cached_property
    def _fine(self) -> dict[Window, int]:
        """Where the fine parts of a region-of-interest image lie, and which items they are."""
        blocks = sum(1 for _ in windows(self.header))
        found = {}
        for number, item in sorted(self.product.items.get("regions", {}).items()):
            if number >= blocks:
                opened = self._read(f"region {number - blocks + 1}", partial(self._chip, item))
                if opened is not None:
                    row, col, pixels = opened
                    found[Window(row, col, *pixels.shape[1:])] = number
        return found

    def _image(self, step: Step, number: int, rows: int, cols: int) -> Pixels:
        """The image of an item, uint8[bands, rows, cols], black where it is missing or cannot be read."""
        shape = (self.header.bands, rows, cols)
        item = self.product.items.get(step, {}).get(number)
        read = None if item is None else self._read(f"piece {number + 1} of level {step}", lambda: _opened(item, shape))
        return np.zeros(shape, dtype=np.uint8) if read is None else read

    def _chip(self, item: bytes) -> tuple[int, int, Pixels]:
        """Row, column and pixels of a chip.

        Raises:
            CorruptDataError: It cannot be read, or is none of this scene.
        """
        header = self.header
        row, col, pixels = open_chip(item)
        inside = row + pixels.shape[1] <= header.rows and col + pixels.shape[2] <= header.cols
        if pixels.dtype != np.uint8 or pixels.shape[0] != header.bands or not inside:
            raise _foreign()
        return row, col, np.asarray(pixels, dtype=np.uint8)

    def _write_preview(self, path: Path) -> None:
        for ship in self.ships:
            self.preview.box(np.array(ship.box))
        self.preview.write(path)


def _opened(item: bytes, shape: tuple[int, int, int]) -> Pixels:
    pixels = expand(item, max_samples=math.prod(shape))
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise _foreign()
    return np.asarray(pixels, dtype=np.uint8)


def _foreign() -> CorruptDataError:
    return CorruptDataError("It has another size than its place in the scene", remedy="Ask for it again")
