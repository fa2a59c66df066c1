"""One scene on the ground: mask, ships, pixels and preview from what has arrived of its product."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from taran_eo.codec import Product, kinds, windows
from taran_eo.codec.chip import COARSE, PIECE, open_chip
from taran_eo.codec.header import Step
from taran_eo.codec.image import expand
from taran_eo.codec.ship_list import PER_PIXEL, TOP_SCORE
from taran_eo.errors import CorruptDataError, MissingExtraError, TaranError
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

MOST_PIXELS = 1 << 32
"""A header that claims more is not followed: no scene of ours has 65,536 pixels a side."""

MOST_STRIP = 1 << 31
"""Samples of a row of blocks, which are held at a time."""

_CHIPS_HELD = 32

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
    if header.rows * header.cols > MOST_PIXELS or header.tile * header.cols * header.bands > MOST_STRIP:
        raise CorruptDataError(
            f"The header claims {header.rows} x {header.cols} pixels, {header.bands} bands, blocks of {header.tile}; "
            f"{MOST_PIXELS} pixels, and {MOST_STRIP} samples in a row of blocks, are accepted",
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
        # A fine part lies in up to four blocks, one after the other.
        self._opened_chip = lru_cache(maxsize=_CHIPS_HELD)(self._chip)

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
        if "mask" in levels:
            found[MASK] = self._write_mask
        for number, item in sorted(self.product.items.get("chips", {}).items()):
            # Opened twice rather than all held: a harbour has thousands.
            if self._read(f"chip {number + 1}", partial(self._chip, item)) is not None:
                found[f"{CHIP}{number + 1:05d}.tif"] = partial(self._write_chip, item)
        return found | {PREVIEW: self._write_preview}

    def _georeference(self) -> tuple[CRS | None, Affine | None]:
        header = self.header
        if header.crs is None or header.transform is None:
            return None, None
        # Only what we write ourselves: an address would be fetched, and other text may name files.
        code = re.fullmatch(r"EPSG:(\d{1,6})", header.crs)
        try:
            with gdal():
                crs = CRS.from_wkt(header.crs) if code is None else CRS.from_epsg(int(code[1]))
        except (CRSError, ValueError):
            self.unreadable.append(f"its coordinate reference system {header.crs[:60]!r} is none that is known here")
            return None, None
        return crs, Affine(*header.transform)

    def _ships(self) -> tuple[Ship, ...]:
        sightings = self.product.ships(self._told)
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
        """What `read` gives, or None where no encoder of ours wrote that, or what would read it is not installed."""
        try:
            return read()
        except (CorruptDataError, MissingExtraError) as error:
            self._told(what, error)
            return None

    def _told(self, what: str, error: TaranError) -> None:
        self.unreadable.append(f"{what} cannot be read: {error}")

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
            for window, labels in self._mask_blocks():
                writer.write(window, labels)
                self.preview.labels(window, labels, over_pixels=over_pixels)

    def _mask_blocks(self) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """The labels of each block, no data where they have not arrived or nobody can tell where they belong."""
        blocks: Iterable[tuple[Window, NDArray[np.uint8] | None]] = self.product.mask_blocks(self._told)
        if self._read("the layout of the mask", lambda: sum(1 for _ in kinds(self.header))) is None:
            blocks = ((window, None) for window in windows(self.header))
        for window, labels in blocks:
            yield window, np.full((window.rows, window.cols), NODATA, np.uint8) if labels is None else labels

    def _write_chip(self, item: bytes, path: Path) -> None:
        row, col, pixels = self._chip(item)
        # Without a place on Earth, the place in the scene.
        transform = (self.transform or Affine.identity()) @ Affine.translation(col, row)
        _, rows, cols = pixels.shape
        with RasterWriter(path, rows, cols, crs=self.crs, transform=transform, bands=self.header.bands) as writer:
            writer.write(Window(0, 0, rows, cols), pixels)
        self.preview.pixels(Window(row, col, rows, cols), pixels)

    def _write_pixels(self, path: Path, side: int, block: Callable[[int, Window], Pixels | None]) -> None:
        """Pixels in squares of a side; black where they are missing, which the report tells and the preview shows."""
        header = self.header
        with RasterWriter(
            path, header.rows, header.cols, crs=self.crs, transform=self.transform, bands=header.bands
        ) as writer:
            for number, window in enumerate(windows(header, side)):
                pixels = block(number, window)
                if pixels is None:
                    writer.write(window, np.zeros((header.bands, window.rows, window.cols), dtype=np.uint8))
                    self.preview.unknown(window)
                else:
                    writer.write(window, pixels)
                    self.preview.pixels(window, pixels)

    def _scene_block(self, number: int, window: Window) -> Pixels | None:
        return self._image("scene", number, window.rows, window.cols)

    def _region_block(self, number: int, window: Window) -> Pixels | None:
        """The coarse image of a block, and what is fine in it upon that; None where nothing of both has arrived."""
        coarse = self._image("regions", number, -(-window.rows // COARSE), -(-window.cols // COARSE))
        if coarse is None:
            pixels = np.zeros((self.header.bands, window.rows, window.cols), dtype=np.uint8)
        else:
            pixels = coarse.repeat(COARSE, axis=1).repeat(COARSE, axis=2)[:, : window.rows, : window.cols]
        seen = coarse is not None
        for chip, item in self._fine.items():
            top, left = max(window.row, chip.row), max(window.col, chip.col)
            bottom, right = min(window.row_stop, chip.row_stop), min(window.col_stop, chip.col_stop)
            if top < bottom and left < right:
                shown = Window(top, left, bottom - top, right - left)
                inside = shown.relative_to(chip)
                _, _, fine = self._opened_chip(item)
                pixels[:, *shown.relative_to(window).slices] = fine[:, *inside.slices]
                seen = True
        return pixels if seen else None

    @cached_property
    def _fine(self) -> dict[Window, bytes]:
        """Where the fine parts of a region-of-interest image lie, and their items."""
        blocks, found = self.header.blocks, {}
        for number, item in sorted(self.product.items.get("regions", {}).items()):
            if number >= blocks:
                opened = self._read(f"region {number - blocks + 1}", partial(self._chip, item))
                if opened is not None:
                    row, col, pixels = opened
                    found[Window(row, col, *pixels.shape[1:])] = item
        return found

    def _image(self, step: Step, number: int, rows: int, cols: int) -> Pixels | None:
        """The image of an item, uint8[bands, rows, cols]; None where it is missing or cannot be read."""
        shape = (self.header.bands, rows, cols)
        item = self.product.items.get(step, {}).get(number)
        if item is None:
            return None
        return self._read(f"piece {number + 1} of level {step}", lambda: _opened(item, shape))

    def _chip(self, item: bytes) -> tuple[int, int, Pixels]:
        """Row, column and pixels of a chip.

        Raises:
            CorruptDataError: It cannot be read, or is none of this scene.
        """
        header = self.header
        row, col, pixels = open_chip(item, header.bands)
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
