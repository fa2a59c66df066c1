"""All pixels of a scene, on demand: opened, checked against the contract, and cut into tiles."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.errors import ContractError, ImageryError
from taran_eo.imagery.contract import Contract
from taran_eo.imagery.geodesy import pixel_steps_m
from taran_eo.imagery.mask import MASK_SUFFIX
from taran_eo.imagery.radiometry import Stretch
from taran_eo.imagery.resampling import Grid
from taran_eo.imagery.source import Source, open_source
from taran_eo.imagery.window import Tile, Window, cover

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".jp2", ".j2k")
"""Endings, in lower case, of the files that are looked for in folders."""

_MOST_FINER = 4.0
"""Finer than this many times along a side there is nothing left to see, and the grid grows without bound."""


class Scene:
    """An opened image, read window by window. A context manager; not safe to share between threads.

    Attributes:
        path: The file.
        rows: Rows of the grid that is served (after resampling, if asked for).
        cols: Columns of that grid.
        gsd_m: Ground sampling distance of that grid in true metres, or None where no scale is known.
        crs: Coordinate reference system, or None.
        transform: affine.Affine from (column, row) to `crs`, or None.
        stretch: The stretch to 8 bits, fixed for the scene, or None for 8-bit files.
        warnings: What the user should know about this scene.
        raw_bytes: Bytes of the chosen bands as the file stores them, before compression.
    """

    def __init__(
        self, path: Path, source: Source, grid: Grid | None, gsd_m: float | None, warnings: tuple[str, ...]
    ) -> None:
        self.path = path
        self._source = source
        self._grid = grid
        self.rows = source.rows if grid is None else grid.rows
        self.cols = source.cols if grid is None else grid.cols
        self.gsd_m = gsd_m
        self.crs: CRS | None = source.crs
        self.transform: Any = source.transform
        if grid is not None and self.transform is not None:
            a, b, c, d, e, f = source.transform[:6]
            wide, high = source.cols / grid.cols, source.rows / grid.rows
            self.transform = Affine(a * wide, b * high, c, d * wide, e * high, f)
        self.stretch: Stretch | None = source.stretch
        self.warnings = warnings
        self.raw_bytes = source.raw_bytes

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The pixels of a window that lies inside the scene.

        Returns:
            uint8[bands, rows, cols], 0 where not valid, and the valid pixels, bool[rows, cols].

        Raises:
            ImageryError: The file is damaged there.
        """
        if self._grid is None:
            return self._source.read(window)
        return self._grid.read(self._source.read, window)

    def tiles(self, tile_size: int, halo: int, alignment: int) -> Iterator[Tile]:
        """The tiles that cover this scene, row-major, read one by one; see `cover` for the laws they keep.

        After the last of them nothing decoded stays in memory.

        Args:
            tile_size: Side of a core in pixels, a multiple of `alignment`.
            halo: Margin around a core in pixels, a multiple of `alignment`.
            alignment: Sides of all windows are multiples of it.

        Raises:
            ImageryError: The file is damaged.
            ConfigError: The sizes do not fit together.
        """
        for core, window in cover(self.rows, self.cols, tile_size, halo, alignment):
            pixels, valid = self.read(window.clipped(self.rows, self.cols))
            past_rows, past_cols = window.rows - valid.shape[0], window.cols - valid.shape[1]
            if past_rows or past_cols:
                pixels = np.pad(pixels, ((0, 0), (0, past_rows), (0, past_cols)))
                valid = np.pad(valid, ((0, past_rows), (0, past_cols)))
            yield Tile(core, window, pixels, valid)
        self._source.rest()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def __enter__(self) -> "Scene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_scene(
    path: Path,
    contract: Contract,
    *,
    bands: tuple[int, ...] | None = None,
    gsd_m: float | None = None,
    resample: bool = False,
) -> Scene:
    """Open an image of any kind that we read, and hold it against the contract of a model.

    Args:
        path: A JPEG, PNG, TIFF (GeoTIFF, COG) or JPEG 2000 file.
        contract: What the model expects.
        bands: 1-based bands of the file in the contract's order, or a single one to be repeated.
        gsd_m: Ground sampling distance in metres, for scenes that do not say where on the Earth they are.
        resample: Serve the scene at the contract's ground sampling distance; without it a scene of another
            one is served as it is, with a warning.

    Raises:
        ImageryError: The file cannot be read, is no image, is damaged, or is too large to open safely.
        ContractError: It cannot be brought to the contract.
        ConfigError: `bands` or `gsd_m` makes no sense.
    """
    contract.check_request(bands, gsd_m)
    source = open_source(path, contract, bands)
    try:
        row_step_m, col_step_m, scale_m, notes = _scale(path, source, gsd_m)
        grid = None
        if resample and scale_m is not None:
            grid = _grid(path, source, row_step_m / contract.gsd_m, col_step_m / contract.gsd_m)
        elif resample:
            notes += (f"{path.name} has no known ground sampling distance, so it is not resampled",)
        elif scale_m is not None and abs(scale_m / contract.gsd_m - 1) > contract.gsd_tolerance:
            notes += (
                f"{path.name} has {scale_m:.3g} m a pixel, and the model expects {contract.gsd_m:.3g} m; "
                "ask for resampling, or expect a lower accuracy",
            )
        served_m = scale_m if grid is None else contract.gsd_m
        return Scene(path, source, grid, served_m, source.warnings + notes)
    except BaseException:
        source.close()
        raise


def _scale(path: Path, source: Source, gsd_m: float | None) -> tuple[float, float, float | None, tuple[str, ...]]:
    """Metres from row to row and from column to column, the distance in one number, and warnings."""
    steps = None
    notes: tuple[str, ...] = ()
    if source.crs is not None:
        steps = pixel_steps_m(source.crs, source.transform, source.rows, source.cols)
        if steps is None:
            notes = (f"{path.name} has coordinates without a known place on the Earth, so no scale of its own",)
        elif gsd_m is not None and abs(gsd_m / steps[2] - 1) > 0.01:
            notes = (f"{path.name} has {steps[2]:.4g} m a pixel by its georeference; {gsd_m:.4g} m is ignored",)
    if steps is not None:
        return (*steps, notes)
    if gsd_m is not None:
        return gsd_m, gsd_m, gsd_m, notes
    return 1.0, 1.0, None, notes


def _grid(path: Path, source: Source, row_factor: float, col_factor: float) -> Grid | None:
    if max(row_factor, col_factor) > _MOST_FINER:
        raise ContractError(
            f"{path} would have to be made {max(row_factor, col_factor):.3g} times finer, "
            f"more than {_MOST_FINER:.0f} times",
            remedy="Take imagery nearer to the model's ground sampling distance, or do not resample it",
            path=path,
        )
    grid = Grid(
        max(1, round(source.rows * row_factor)),
        max(1, round(source.cols * col_factor)),
        source.rows,
        source.cols,
    )
    return None if (grid.rows, grid.cols) == (source.rows, source.cols) else grid


def find_scenes(paths: Sequence[Path]) -> list[Path]:
    """The image files behind a list of files and folders.

    Args:
        paths: Files, kept whatever their ending, and folders, searched recursively for the endings in
            `SUFFIXES` without regard to case; hidden files and folders are left out, and masks that we wrote.

    Returns:
        Paths without duplicates, sorted.

    Raises:
        ImageryError: A path does not exist, or a folder holds no image.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = [
                file
                for file in path.rglob("*")
                if file.suffix.lower() in SUFFIXES
                and not file.name.endswith(MASK_SUFFIX)
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
                and file.is_file()
            ]
            if not inside:
                raise ImageryError(
                    f"The folder {path} holds no image",
                    remedy=f"Give a folder with files that end in {', '.join(SUFFIXES)}",
                    path=path,
                )
        elif path.exists():
            inside = [path]
        else:
            raise ImageryError(f"{path} does not exist", remedy="Check the path", path=path)
        for file in inside:
            found.setdefault(file.resolve(), file)
    return sorted(found.values())
