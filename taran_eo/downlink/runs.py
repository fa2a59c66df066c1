"""Scenes that were really looked at: read from a run with the bytes of its products, or from a model fitted to one."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field, model_validator

from taran_eo import journal
from taran_eo.codec.chip import CELL, COARSE, chip_window, fine_cells
from taran_eo.codec.header import Header
from taran_eo.codec.part import ORIGIN, pack_part
from taran_eo.codec.product import LEVELS, Product, parts, unpack
from taran_eo.codec.ship_list import Sighting
from taran_eo.config import Settings, load_json
from taran_eo.downlink.traffic import Alike, Traffic
from taran_eo.errors import ConfigError, CorruptDataError

DISPLAY_BYTES_PIXEL = 3
"""Chips and regions are cut from the pixels that the model saw: three bands of 8 bits."""

JPEG_LS_CHIPS, JPEG_LS_REGIONS = 3.6, 4.2
"""How many times smaller JPEG-LS makes such pixels: of 48 ships found in tiles of the Airbus Ship Detection Challenge,
and around them (`pipelines/traffic.py`). These had been JPEGs, which flatters; products that hold pixels are taken as
they are."""

USUAL = Path(__file__).with_name("traffic.json")
"""Fitted to 21 tiles of the Airbus Ship Detection Challenge (2018) that no model was trained on, by
`pipelines/traffic.py`."""


class Source(Settings):
    """Which scenes the satellite sees.

    Attributes:
        run: Output folder of ``taran-eo run``, whose scenes and products are drawn; relative to where the command runs.
        model: File of a traffic model that was fitted to a run; without both, the one that comes with the package.
        ships_km2: Ships for each km2 of sea without clouds; None for as many as there are in those scenes, which are
            as a rule of busy waters.
        gsd_m: Metres a pixel of scenes that do not tell.
    """

    run: Path | None = None
    model: Path | None = None
    ships_km2: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gsd_m: float = Field(default=1.5, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_source(self) -> "Source":
        if self.run is not None and self.model is not None:
            raise ValueError("traffic.run and traffic.model are both given; one of them must go")
        return self

    def open(self) -> Traffic:
        """The scenes.

        Raises:
            ConfigError: A run without a finished scene, or a model that is none.
            CorruptDataError: A journal or a product that was changed.
        """
        if self.run is not None:
            return read_run(self.run, gsd_m=self.gsd_m)
        return load_json(USUAL if self.model is None else self.model, Traffic)


def read_run(folder: Path, *, gsd_m: float) -> Traffic:
    """The scenes of a finished run, with the bytes of their real products.

    Levels that were not packed in the run are estimated: a mask not at all, chips and regions by their pixels.

    Args:
        folder: Output folder of ``taran-eo run``.
        gsd_m: Metres a pixel of scenes that do not tell.

    Raises:
        ConfigError: There is no finished scene.
        CorruptDataError: A journal or a product that was changed.
    """
    finished = journal.read(folder).finished
    paths = [folder / name for each in finished.values() for name in each.outputs if name.endswith(".product")]
    if not paths:
        raise ConfigError(
            f"{folder} holds no finished scene of a run",
            remedy="Run `taran-eo run IMAGES -o FOLDER` first, and name that FOLDER",
            path=folder,
        )
    return fit([_open(path) for path in paths], source=folder.name, gsd_m=gsd_m)


def _open(path: Path) -> Product:
    try:
        return unpack(path.read_bytes())
    except OSError as error:
        raise CorruptDataError(f"{path} cannot be read: {error.strerror}", remedy="Run these scenes again") from error
    except CorruptDataError as error:
        raise CorruptDataError(f"{path} is damaged: {error.what}", remedy="Run these scenes again") from error


def fit(products: Sequence[Product], *, source: str, gsd_m: float) -> Traffic:
    """Put scenes of equally many ships together; what is left is a small table that draws like them on average.

    Args:
        products: At least one.
        source: What they are.
        gsd_m: Metres a pixel of scenes that do not tell.
    """
    alike: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    headers, origins, areas, scales = [], [], [], []
    for product in products:
        sizes: dict[int, int] = defaultdict(int)
        for part in parts(product):
            sizes[part.kind] += len(pack_part(part))
        ships = product.ships()
        header = product.header
        scale_m = gsd_m if header.gsd_m is None else header.gsd_m
        chips = sizes[LEVELS.index("chips")] or chip_pixels(ships, header) * DISPLAY_BYTES_PIXEL / JPEG_LS_CHIPS
        regions = sizes[LEVELS.index("regions")] or region_pixels(ships, header) * DISPLAY_BYTES_PIXEL / JPEG_LS_REGIONS
        alike[len(ships)].append((sizes[LEVELS.index("ships")], sizes[LEVELS.index("mask")], chips, regions))
        headers.append(sizes[0])
        origins.append(sizes[ORIGIN])
        areas.append(header.rows * header.cols * scale_m**2 / 1e6)
        scales.append(scale_m)
    return Traffic(
        source=source,
        scene_km2=_mean(areas),
        pixel_m=_mean(scales),
        header_bytes=_mean(headers),
        origin_bytes=_mean(origins),
        alike=tuple(
            Alike(
                scenes=len(rows),
                ships=ships,
                ships_bytes=_mean(row[0] for row in rows),
                mask_bytes=_mean(row[1] for row in rows),
                chips_bytes=_mean(row[2] for row in rows),
                regions_bytes=_mean(row[3] for row in rows),
            )
            for ships, rows in sorted(alike.items())
        ),
    )


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    # Rounded once: in whatever order scenes were finished, the mean is the same.
    return math.fsum(held) / len(held)


def chip_pixels(ships: Iterable[Sighting], header: Header) -> int:
    """Pixels of the chips of ships."""
    windows = (chip_window(ship, header.rows, header.cols) for ship in ships)
    return sum(window.rows * window.cols for window in windows)


def region_pixels(ships: Iterable[Sighting], header: Header) -> int:
    """Pixels of the squares around ships, and of the coarse image of all; rectangles of them hold some more."""
    fine = int(fine_cells(ships, header.rows, header.cols).sum()) * CELL**2
    return fine + -(-header.rows // COARSE) * -(-header.cols // COARSE)
