"""Whether an output folder still holds what was written: digests, products, masks and ship lists agree."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from pydantic import JsonValue
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from taran_eo import journal
from taran_eo.codec import Product, Sighting, unpack
from taran_eo.errors import CorruptDataError, OutputError
from taran_eo.imagery.source import gdal
from taran_eo.outputs import MASK, PRODUCT, SHIPS_IN_PIXELS, SHIPS_ON_EARTH, place
from taran_eo.provenance import sha256_file


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        file: The file that it is about.
        what: What is wrong.
    """

    file: Path
    what: str

    def __str__(self) -> str:
        """The finding as a line."""
        return f"{self.file}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of an output folder gave.

    Attributes:
        scenes: Scenes that were checked.
        files: Files that were checked.
        findings: What is wrong; empty when all is well.
        skipped: Scenes that the run had skipped.
    """

    scenes: int
    files: int
    findings: tuple[Finding, ...]
    skipped: tuple[journal.Skipped, ...]


def verify(folder: Path) -> Verification:
    """Check all that the journal of an output folder tells of; memory is bounded by one tile.

    Raises:
        OutputError: The folder holds no journal.
        CorruptDataError: The journal was changed.
    """
    history = journal.read(folder)
    if history.identity is None:
        raise OutputError(
            f"{folder} holds no journal of a run, no model.toml of a model and no manifest.json of an export",
            remedy="Name a folder that a run has written",
            path=folder,
        )
    findings: list[Finding] = []
    files = 0
    book = folder / journal.NAME
    if history.length < book.stat().st_size:
        findings.append(Finding(book, "ends within a line, as after a kill; run again with --resume to complete it"))
    for scene in history.finished.values():
        files += len(scene.outputs)
        lost = list(_altered(folder, scene))
        findings += lost or _disagreements(folder, scene, history.identity)
    return Verification(len(history.finished), files, tuple(findings), tuple(history.skipped.values()))


def _altered(folder: Path, scene: journal.Finished) -> Iterator[Finding]:
    for output, digest in scene.outputs.items():
        path = folder / output
        try:
            if sha256_file(path) != digest:
                yield Finding(path, "was changed since it was written; run again with --resume to redo it")
        except OSError as error:
            yield Finding(path, f"cannot be read ({error.strerror}); run again with --resume to redo it")


def _disagreements(folder: Path, scene: journal.Finished, identity: dict[str, JsonValue]) -> Iterator[Finding]:
    """Where mask, ships and product do not say the same."""
    path = place(folder, scene.name, PRODUCT)
    try:
        product = unpack(path.read_bytes())
        origin = product.made_by()
        made_by = {"model_digest": origin.model_digest, "threshold": origin.threshold}
        if any(identity.get(key) != value for key, value in made_by.items()):
            yield Finding(path, "was made by another model or with another threshold than the journal says")
        if "mask" in product.header.levels:
            yield from _mask_differences(place(folder, scene.name, MASK), product)
        sighted = product.ships() if "ships" in product.header.levels else None
    except CorruptDataError as error:
        yield Finding(path, str(error))
        return
    on_earth = place(folder, scene.name, SHIPS_ON_EARTH)
    in_pixels = place(folder, scene.name, SHIPS_IN_PIXELS)
    listed = on_earth if on_earth.relative_to(folder).as_posix() in scene.outputs else in_pixels
    content = json.loads(listed.read_bytes())
    features = content.get("features")
    ships = content["ships"] if features is None else [feature["properties"] for feature in features]
    if sighted is not None and [Sighting.of(each["box"], each["score"], each["pixels"]) for each in ships] != [
        *sighted
    ]:
        yield Finding(listed, f"does not list the ships of {path.name}")


def _mask_differences(path: Path, product: Product) -> Iterator[Finding]:
    try:
        with gdal(), rasterio.open(path, driver="GTiff") as dataset:
            if dataset.shape != (product.header.rows, product.header.cols):
                yield Finding(path, f"has {dataset.shape} pixels, not {product.header.rows} x {product.header.cols}")
                return
            for window, labels in product.mask_blocks():
                stored = dataset.read(1, window=RasterWindow.from_slices(*window.slices))
                if labels is None or not np.array_equal(stored, labels):
                    where = f"row {window.row}, column {window.col}"
                    yield Finding(path, f"differs from the product in the block at {where}")
    except RasterioError as error:
        yield Finding(path, f"cannot be read ({error})")
