"""Pixels as a file stores them, window by window, brought to 8 bits: a JPEG in memory, or a GDAL raster."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite, prod
from pathlib import Path
from threading import RLock
from typing import Any, Protocol
from warnings import catch_warnings, simplefilter

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from taran_eo.errors import ContractError
from taran_eo.imagery.bands import choose_bands
from taran_eo.imagery.contract import Contract
from taran_eo.imagery.guard import DRIVERS, check_size, damaged, sniff
from taran_eo.imagery.jpeg import jpeg_header, read_jpeg
from taran_eo.imagery.radiometry import Stretch
from taran_eo.imagery.window import Window

Pixels = NDArray[np.uint8]
Valid = NDArray[np.bool_]

GDAL_CACHE_BYTES = 128 * 2**20
"""GDAL's default cache, a twentieth of the machine's memory, would break the promise of bounded memory."""

_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    # Its short cut for whole images takes a PNG that is cut short for a good one, and memory for its pixels.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # Threads of its own tell their errors on stderr; and how many cores we take is said by the user.
    "GDAL_NUM_THREADS": "1",
}

_TURN = RLock()

_SAMPLE = 1024
"""Rows and columns, at most, of the decimated read that measures the stretch."""


@contextmanager
def gdal() -> Iterator[None]:
    """Set GDAL up: a bounded cache, no listing of folders, and errors as exceptions, not on stderr.

    One thread at a time: filters of warnings are the whole process's, and so are the habits of GDAL's drivers.
    """
    with _TURN, catch_warnings(), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES, **_GDAL):
        simplefilter("ignore", NotGeoreferencedWarning)
        yield


class Source(Protocol):
    """An opened file.

    Attributes:
        rows: Rows of the file.
        cols: Columns of the file.
        crs: Coordinate reference system, or None without georeference.
        transform: affine.Affine from (column, row) to `crs`, or None without georeference.
        stretch: The recorded stretch to 8 bits, or None for 8-bit files.
        warnings: What the user should know.
        raw_bytes: Bytes of the chosen bands as stored, before compression.
    """

    rows: int
    cols: int
    crs: CRS | None
    transform: Any
    stretch: Stretch | None
    warnings: tuple[str, ...]
    raw_bytes: int

    def read(self, window: Window) -> tuple[Pixels, Valid]:
        """Pixels uint8[bands, rows, cols], 0 where not valid, and bool[rows, cols]; `window` lies inside."""

    def rest(self) -> None:
        """Let go of what can be read again, for nobody will read for now."""

    def close(self) -> None:
        """Let go of the file."""


def open_source(path: Path, contract: Contract, bands: tuple[int, ...] | None) -> Source:
    """Open a file of any kind that we read.

    Raises:
        ImageryError: The file cannot be read, is no image, is damaged, or is too large to open safely.
        ContractError: Its bands do not serve the contract.
    """
    if sniff(path) == "jpeg":
        return _JpegSource(path, contract, bands)
    return _RasterSource(path, contract, bands)


class _JpegSource:
    """A JPEG: decoded whole on the first read, by the decoder that training uses."""

    stretch: Stretch | None = None

    def __init__(self, path: Path, contract: Contract, bands: tuple[int, ...] | None) -> None:
        self.rows, self.cols, stored = jpeg_header(path)
        choice = choose_bands(path, ("red", "green", "blue") if stored == 3 else ("gray",), bands, contract)
        self._path, self._need, self._indexes = path, len(contract.bands), choice.indexes
        self._decoded: Pixels | None = None
        self.warnings = choice.warnings
        self.raw_bytes = self.rows * self.cols * len(choice.indexes)
        self.crs, self.transform = _jpeg_georeference(path)

    def read(self, window: Window) -> tuple[Pixels, Valid]:
        if self._decoded is None:
            self._decoded = read_jpeg(self._path)
        cut = self._decoded[window.slices][..., [index - 1 for index in self._indexes]]
        pixels = np.ascontiguousarray(cut.transpose(2, 0, 1))
        return _repeated(pixels, self._need), np.ones((window.rows, window.cols), dtype=np.bool_)

    def rest(self) -> None:
        self._decoded = None

    def close(self) -> None:
        self.rest()


def _jpeg_georeference(path: Path) -> tuple[CRS | None, Any]:
    # GDAL keeps the georeference of a JPEG in a file beside it; most JPEGs have none, and cost nothing here.
    if not path.with_name(path.name + ".aux.xml").exists():
        return None, None
    try:
        with gdal(), rasterio.open(path, driver="JPEG") as dataset:
            return _georeference(dataset)
    except (RasterioError, CPLE_BaseError) as error:
        raise damaged(path, error.__cause__ or error) from error


def _georeference(dataset: Any) -> tuple[CRS | None, Any]:  # noqa: ANN401 rasterio has no types
    transform = dataset.transform
    if dataset.crs is None or transform.is_identity or transform.is_degenerate or not all(map(isfinite, transform)):
        return None, None
    return dataset.crs, transform


class _RasterSource:
    """A PNG, TIFF or JPEG 2000 through GDAL."""

    def __init__(self, path: Path, contract: Contract, bands: tuple[int, ...] | None) -> None:
        kind = sniff(path)
        self._path, self._need = path, len(contract.bands)
        try:
            with gdal():
                self._dataset = rasterio.open(path, driver=DRIVERS[kind])
        except (RasterioError, CPLE_BaseError) as error:
            raise damaged(path, error.__cause__ or error) from error
        try:
            self._prepare(kind == "png", contract, bands)
        except BaseException:
            self.close()
            raise

    def _prepare(self, whole: bool, contract: Contract, bands: tuple[int, ...] | None) -> None:
        dataset = self._dataset
        self.rows, self.cols = dataset.shape
        dtype = np.dtype(dataset.dtypes[0]) if len(set(dataset.dtypes)) == 1 else None
        if dtype is None or dtype.kind not in "uif":
            raise ContractError(
                f"{self._path} has pixels of the type {', '.join(sorted(set(dataset.dtypes)))}",
                remedy="Convert it to bands of one real type, 8 or 16 bits or float",
                path=self._path,
            )
        raw = self.rows * self.cols * dataset.count * dtype.itemsize
        block = max(prod(shape) for shape in dataset.block_shapes) * dataset.count * dtype.itemsize
        check_size(self._path, raw, raw if whole else block)

        meanings = [meaning.name for meaning in dataset.colorinterp]
        self._palette = _palette(dataset) if meanings[0] == "palette" and dtype == np.uint8 else None
        choice = choose_bands(
            self._path, meanings if self._palette is None else ("red", "green", "blue"), bands, contract
        )
        self._chosen, self.warnings = choice.indexes, choice.warnings
        self._indexes = self._chosen if self._palette is None else (1,)
        self._masked = any(MaskFlags.all_valid not in dataset.mask_flag_enums[i - 1] for i in self._indexes)
        self.raw_bytes = self.rows * self.cols * len(self._indexes) * dtype.itemsize
        self.crs, self.transform = _georeference(dataset)
        self.stretch = None if dtype == np.uint8 else self._measure()

    def _measure(self) -> Stretch:
        shape = (min(self.rows, _SAMPLE), min(self.cols, _SAMPLE))
        return Stretch.measured(*self._native(out_rows_cols=shape))

    def _native(
        self, window: Window | None = None, out_rows_cols: tuple[int, int] | None = None
    ) -> tuple[NDArray[Any], Valid]:
        part: dict[str, Any] = {}
        if window is not None:
            part["window"] = RasterWindow(window.col, window.row, window.cols, window.rows)
        if out_rows_cols is not None:
            part["out_shape"] = (len(self._indexes), *out_rows_cols)
        indexes = list(self._indexes)
        try:
            with gdal():
                values: NDArray[Any] = self._dataset.read(indexes, **part)
                # A pixel is without data where every chosen band is: single bands of dark water reach 0.
                valid = (
                    self._dataset.read_masks(indexes, **part).any(axis=0)
                    if self._masked
                    else np.ones(values.shape[1:], dtype=np.bool_)
                )
        except (RasterioError, CPLE_BaseError) as error:
            raise damaged(self._path, error.__cause__ or error) from error
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        return values, valid

    def read(self, window: Window) -> tuple[Pixels, Valid]:
        values, valid = self._native(window)
        if self._palette is not None:
            colours = self._palette[values[0]].transpose(2, 0, 1)
            pixels = colours[[index - 1 for index in self._chosen]]
            valid &= colours[3] > 0
        else:
            pixels = values if self.stretch is None else self.stretch.apply(values)
        pixels *= valid
        return _repeated(pixels, self._need), valid

    def rest(self) -> None:
        """Nothing: GDAL's cache is bounded as it is."""

    def close(self) -> None:
        with gdal():
            self._dataset.close()


def _palette(dataset: Any) -> Pixels:  # noqa: ANN401 rasterio has no types
    """uint8[256, 4]: red, green, blue and alpha of each index."""
    table = np.zeros((256, 4), dtype=np.uint8)
    for index, colour in dataset.colormap(1).items():
        table[index] = colour
    return table


def _repeated(pixels: Pixels, need: int) -> Pixels:
    return np.repeat(pixels, need, axis=0) if len(pixels) == 1 and need > 1 else pixels
