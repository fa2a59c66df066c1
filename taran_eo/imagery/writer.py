"""Masks on disk: 8-bit GeoTIFFs in the scene's own georeference, written atomically in bounded memory."""

from contextlib import suppress
from errno import ENOSPC
from os import fsync, strerror
from pathlib import Path
from shutil import disk_usage
from types import TracebackType
from typing import Any
from zlib import crc32

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from taran_eo.errors import ImageryError, OutputError
from taran_eo.imagery.guard import check_size, damaged, sniff
from taran_eo.imagery.mask import NODATA, Mask
from taran_eo.imagery.source import gdal
from taran_eo.imagery.window import Window

_BLOCK = 256
"""Of 768 x 768 pixels no block is in part outside, and so compressed in vain."""

_RESERVE_BYTES = 2**20


class RasterWriter:
    """Writes one 8-bit GeoTIFF from pieces in row-major order; the file appears under its name when complete.

    A context manager: leaving it without an error checks the file, makes its bytes durable and renames it into
    place; leaving it with one removes what was written. Memory holds one row of pieces, never the scene.

    Args:
        path: The file to write; an existing one is replaced at the end, in one step.
        rows: Rows of the raster.
        cols: Columns of the raster.
        crs: Coordinate reference system, or None.
        transform: affine.Affine from (column, row) to `crs`, or None.
        bands: Number of bands.
        nodata: Value that stands for no data, or None.

    Raises:
        OutputError: The place cannot be written, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        rows: int,
        cols: int,
        *,
        crs: CRS | None,
        transform: Any,  # noqa: ANN401 affine has no types
        bands: int = 1,
        nodata: int | None = None,
    ) -> None:
        self.path, self.rows, self.cols = path, rows, cols
        self._temporary = path.with_name(f".{path.name}.partial")
        self._strip = np.zeros((bands, 0, cols), dtype=np.uint8)
        self._strip_row = 0  # the scene row of the strip's first row: everything above is written
        self._next = (0, 0)  # where the next piece must begin
        self._piece_rows = 0
        self._checksums: list[tuple[RasterWindow, int]] = []
        profile = {"photometric": "rgb", "interleave": "pixel"} if bands == 3 else {}
        try:
            with gdal():
                self._dataset = rasterio.open(
                    self._temporary,
                    "w",
                    driver="GTiff",
                    height=rows,
                    width=cols,
                    count=bands,
                    dtype="uint8",
                    crs=crs,
                    transform=transform,
                    nodata=nodata,
                    tiled=True,
                    blockxsize=_BLOCK,
                    blockysize=_BLOCK,
                    compress="deflate",
                    bigtiff="if_safer",
                    **profile,
                )
        except (RasterioError, CPLE_BaseError, OSError, UnicodeEncodeError) as error:
            raise self._failed(error) from error

    def write(self, core: Window, pixels: NDArray[np.uint8]) -> None:
        """Take the next piece.

        Args:
            core: Its place; pieces come row-major and partition the raster, as the cores of `Scene.tiles` do.
            pixels: uint8[rows, cols], or uint8[bands, rows, cols], over `core`.

        Raises:
            OutputError: The piece is not the next one, or the disk is full.
        """
        if core.col == 0:
            self._piece_rows = core.rows
        if (core.row, core.col) != self._next or core.rows != self._piece_rows or core.col_stop > self.cols:
            raise OutputError(
                f"{self.path} was given the pixels at row {core.row}, column {core.col} out of turn; "
                f"the next ones begin at row {self._next[0]}, column {self._next[1]}",
                remedy="Write the tiles of a scene in the order in which it gives them",
                path=self.path,
            )
        missing = core.row_stop - self._strip_row - self._strip.shape[1]
        if missing > 0:
            self._strip = np.pad(self._strip, ((0, 0), (0, missing), (0, 0)))
        place = core.relative_to(Window(self._strip_row, 0, 0, 0))
        self._strip[:, *place.slices] = pixels
        if core.col_stop < self.cols:
            self._next = (core.row, core.col_stop)
            return
        self._next = (core.row_stop, 0)
        # Only whole blocks go to GDAL: a compressed block that is written twice leaves a hole in the file.
        complete = core.row_stop if core.row_stop == self.rows else core.row_stop // _BLOCK * _BLOCK
        self._flush(complete)

    def _flush(self, row_stop: int) -> None:
        try:
            # Asked first, because libtiff tells of a full disk on stderr, and GDAL late or not at all.
            if disk_usage(self.path.parent).free < self._strip.nbytes + _RESERVE_BYTES:
                raise OSError(ENOSPC, strerror(ENOSPC))
            with gdal():
                for row in range(self._strip_row, row_stop, _BLOCK):
                    band = self._strip[:, row - self._strip_row : min(row + _BLOCK, row_stop) - self._strip_row]
                    for col in range(0, self.cols, _BLOCK):
                        block = np.ascontiguousarray(band[:, :, col : col + _BLOCK])
                        window = RasterWindow(col, row, block.shape[2], block.shape[1])
                        self._dataset.write(block, window=window)
                        self._checksums.append((window, crc32(block.data)))
        except (RasterioError, CPLE_BaseError, OSError) as error:
            raise self._failed(error) from error
        self._strip = self._strip[:, row_stop - self._strip_row :].copy()
        self._strip_row = row_stop

    def __enter__(self) -> "RasterWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        if self._next != (self.rows, 0):
            raise OutputError(
                f"{self.path} was given only the pixels before row {self._next[0]}, column {self._next[1]} "
                f"of {self.rows} x {self.cols}",
                remedy="Write all tiles of the scene before closing its mask",
                path=self.path,
            )
        try:
            with gdal():
                self._dataset.close()
                # GDAL may report a full disk only in its log when it flushes: what counts is what is there.
                with rasterio.open(self._temporary) as written:
                    for window, checksum in self._checksums:
                        if crc32(np.ascontiguousarray(written.read(window=window)).data) != checksum:
                            raise OSError("what was written does not read back")
            with self._temporary.open("rb") as file:
                fsync(file.fileno())
            self._temporary.replace(self.path)
        except (RasterioError, CPLE_BaseError, OSError) as error:
            raise self._failed(error) from error

    def _discard(self) -> None:
        # The error that brought us here is the one to report.
        with suppress(RasterioError, CPLE_BaseError, OSError), gdal():
            self._dataset.close()
        with suppress(OSError):
            self._temporary.unlink()

    def _failed(self, error: BaseException) -> OutputError:
        with suppress(OSError):
            self._temporary.unlink()
        reason = error.__cause__ or error
        return OutputError(
            f"{self.path} cannot be written: {getattr(reason, 'strerror', None) or reason}",
            remedy="Check that its folder exists and may be written, and that the disk has room; then run again",
            path=self.path,
            errno=getattr(reason, "errno", None),
        )


class MaskWriter(RasterWriter):
    """A `RasterWriter` for the labels of a `Mask`: one band, nodata 255."""

    def __init__(self, path: Path, rows: int, cols: int, *, crs: CRS | None, transform: Any) -> None:  # noqa: ANN401
        super().__init__(path, rows, cols, crs=crs, transform=transform, nodata=NODATA)


def write_mask(path: Path, mask: Mask, *, crs: CRS | None, transform: Any) -> None:  # noqa: ANN401 affine has no types
    """Write a whole mask atomically; `read_mask` is the inverse.

    Raises:
        OutputError: The place cannot be written, or the disk is full.
    """
    with MaskWriter(path, mask.rows, mask.cols, crs=crs, transform=transform) as writer:
        writer.write(Window(0, 0, mask.rows, mask.cols), mask.labels)


def read_mask(path: Path) -> Mask:
    """Read a mask that `MaskWriter` or `write_mask` wrote.

    Raises:
        ImageryError: The file cannot be read, is damaged, or is no 8-bit single-band GeoTIFF.
        CorruptDataError: It holds other values than labels.
    """
    if sniff(path) != "tiff":
        raise ImageryError(f"{path} is no TIFF file", remedy="Give a mask that taran_eo wrote", path=path)
    try:
        with gdal(), rasterio.open(path, driver="GTiff") as dataset:
            if dataset.count != 1 or dataset.dtypes[0] != "uint8":
                raise ImageryError(
                    f"{path} has {dataset.count} bands of {dataset.dtypes[0]}, and a mask has one of uint8",
                    remedy="Give a mask that taran_eo wrote",
                    path=path,
                )
            check_size(path, dataset.height * dataset.width, 0)
            return Mask(dataset.read(1))
    except (RasterioError, CPLE_BaseError) as error:
        raise damaged(path, error.__cause__ or error) from error
