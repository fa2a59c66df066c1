"""The on-board story in one screen: a scene goes in; its mask, its ships and its product come out."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pydantic import JsonValue
from rasterio.crs import CRS
from rasterio.windows import Window as RasterWindow

from taran_eo import __version__
from taran_eo.codec import LEVELS, Header, Level, Origin, Product, Sighting, assemble, compress_mask, pack, pages
from taran_eo.codec.header import Step
from taran_eo.codec.image import ImageCodec
from taran_eo.codec.jpeg_ls import JpegLs
from taran_eo.engines import Engine
from taran_eo.errors import ContractError
from taran_eo.gate import Gate, check_model, halo_of, regions
from taran_eo.graph import Graph
from taran_eo.imagery.mask import NODATA, SEA, SHIP
from taran_eo.imagery.scene import Scene
from taran_eo.imagery.source import gdal
from taran_eo.imagery.window import Tile, Window, cover
from taran_eo.imagery.writer import MaskWriter
from taran_eo.model import Model
from taran_eo.onboard.ahead import Turn, side_by_side
from taran_eo.onboard.cutting import cut
from taran_eo.onboard.decision import SCORE_UNIT, Decision
from taran_eo.outputs import (
    MASK,
    PRODUCT,
    SHIPS_IN_PIXELS,
    SHIPS_ON_EARTH,
    place,
    readable,
    together,
    writing,
)
from taran_eo.ships import Component, Components, Ship, feature_collection, ships_of

MOST_SHIPS = 100_000
"""More are not ships; without a limit, memory would grow with the noise of a scene."""

BLOCK_SIZE = 768
"""Side in pixels of the blocks of a product's mask: its own, so that the size of the tiles does not show in it."""

GATE_DIGITS = 16
"""Digits of a gate's digest that go down: enough to tell which it was."""

SOFTWARE = f"taran-eo {__version__}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scene.

    Attributes:
        files: The outputs: mask, ships, product.
        product: What goes down.
        ships: The ships found.
        tiles: Tiles of the scene, those without data included.
        bytes_out: Bytes of the packed product.
    """

    files: tuple[Path, Path, Path]
    product: Product
    ships: tuple[Ship, ...]
    tiles: int
    bytes_out: int


Labelled = tuple[Window, NDArray[np.uint8], NDArray[np.uint16]]
"""A tile's core, its labels, and the score of each of its ship pixels."""


@contextmanager
def labelling(
    scene: Scene,
    model: Model,
    engine: Engine,
    *,
    gate: Gate | None = None,
    threshold: float | None = None,
    tile_size: int | None = None,
    workers: int = 1,
    turn: Turn | None = None,
) -> Iterator[Iterator[Labelled]]:
    """The tiles of a scene with their labels, row-major; begun at once, in threads of its own.

    While tiles are computed, the next is read, and whoever takes them does what is to be done with the last.

    Args:
        scene: An opened scene.
        model: The model whose contract the scene was opened with.
        engine: An engine that runs the model's graph.
        gate: What decides where it runs; None lets it run everywhere.
        threshold: Probability from which a pixel is a ship; None for the model's own.
        tile_size: Side of a tile in pixels, a multiple of the graph's alignment; None for what suits the engine. No
            result depends on it, where the graph is exact.
        workers: Tiles that are given to the engine at the same time.
        turn: When to read them; None for now.

    Raises:
        ImageryError: The scene is damaged.
        ConfigError: The threshold or the tile size makes no sense.
        ModelError: The model does not give one logit a pixel.
    """
    check_model(model)
    decision = Decision.of(model.threshold if threshold is None else threshold, model.graph.logit_scale)
    size = engine.tile_size if tile_size is None else tile_size
    halo = halo_of(model.graph, None if gate is None else gate.graph)
    tiles = scene.tiles(size, halo, model.graph.alignment)

    def label(tile: Tile) -> Labelled:
        return tile.core, *classify(tile, engine, decision, gate)

    with side_by_side(label, tiles, workers, turn) as labelled:
        yield labelled


def process(
    scene: Scene,
    model: Model,
    engine: Engine,
    folder: Path,
    *,
    gate: Gate | None = None,
    level: Level = "mask",
    pixels: ImageCodec | None = None,
    name: str | None = None,
    threshold: float | None = None,
    tile_size: int | None = None,
    min_ship_pixels: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Turn one scene into its mask, its ships and what is worth sending down: `labelling`, then `deliver`; see there.

    Memory is bounded by one row of tiles, by the number of ships and by the bytes of the product, not by the scene;
    only a product of the whole scene grows with it.
    """
    with labelling(scene, model, engine, gate=gate, threshold=threshold, tile_size=tile_size) as labelled:
        return deliver(
            scene,
            model,
            labelled,
            folder,
            gate=None if gate is None else gate.graph,
            level=level,
            pixels=pixels,
            name=name,
            threshold=threshold,
            min_ship_pixels=min_ship_pixels,
            progress=progress,
        )


def deliver(
    scene: Scene,
    model: Model,
    labelled: Iterator[Labelled],
    folder: Path,
    *,
    gate: Graph | None = None,
    level: Level = "mask",
    pixels: ImageCodec | None = None,
    name: str | None = None,
    threshold: float | None = None,
    min_ship_pixels: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Write the mask, the ships and the product of a scene whose tiles are being labelled; all three files or none.

    Args:
        scene: An opened scene.
        model: The model whose contract the scene was opened with.
        labelled: Its tiles with their labels, from `labelling`.
        folder: Where the outputs go.
        gate: The graph of the gate that decided where the model ran.
        level: How much of the scene the product holds.
        pixels: How its pixels are compressed, if it holds any; None for JPEG-LS without loss.
        name: Name of the outputs within the folder, may have folders of its own; None for the scene's name.
        threshold: Probability from which a pixel was labelled a ship; None for the model's own.
        min_ship_pixels: Smaller ships are left out of the list, never out of the mask.
        progress: Called with the number of tiles done after each tile.

    Raises:
        ImageryError: The scene is damaged.
        ContractError: There are more ships than any sea holds.
        OutputError: An output cannot be written.
    """
    pixels = JpegLs() if pixels is None else pixels
    name = scene.name if name is None else name
    threshold = model.threshold if threshold is None else threshold
    components = Components(scene.cols)
    complete: list[Component] = []
    on_earth = scene.crs is not None and scene.transform is not None
    mask, ships_file, product_file = files = (
        place(folder, name, MASK),
        place(folder, name, SHIPS_ON_EARTH if on_earth else SHIPS_IN_PIXELS),
        place(folder, name, PRODUCT),
    )
    with together(folder, files) as temporaries:
        with MaskWriter(temporaries[mask], scene.rows, scene.cols, crs=scene.crs, transform=scene.transform) as writer:
            ship_pixels = nodata_pixels = 0
            for count, (core, labels, scores) in enumerate(labelled, start=1):
                writer.write(core, labels)
                ship = labels == SHIP
                ship_pixels += int(np.count_nonzero(ship))
                nodata_pixels += int(np.count_nonzero(labels == NODATA))
                _keep(complete, components.feed(core, ship, scores), min_ship_pixels, scene)
                if progress is not None:
                    progress(count)
        _keep(complete, components.finish(), min_ship_pixels, scene)
        ships = ships_of(
            complete,
            score_unit=SCORE_UNIT,
            gsd_m=scene.gsd_m,
            crs=scene.crs,
            transform=scene.transform,
        )
        complete.clear()
        # One after the other: where there are very many ships, each of their forms is larger than all else.
        with writing(ships_file):
            listed = (
                feature_collection(ships, scene.crs, scene.transform) if on_earth else _in_pixels(scene, name, ships)
            )
            temporaries[ships_file].write_bytes(_json(listed))
            del listed
        with writing(mask):
            # What holds nothing but sea is known without reading it.
            layout, blocks = _mask(temporaries[mask]) if ship_pixels or nodata_pixels else (_all_sea(scene), [])
        origin = Origin(
            model=model.name,
            model_digest=model.graph.digest,
            threshold=threshold,
            software=SOFTWARE,
            gate=None if gate is None else gate.digest[:GATE_DIGITS],
        )
        header = Header(
            origin=origin.key.hex(),
            scene=readable(name),
            rows=scene.rows,
            cols=scene.cols,
            bands=len(model.contract.bands),
            crs=None if scene.crs is None else _short(scene.crs),
            transform=None if scene.transform is None else tuple(scene.transform[:6]),
            gsd_m=scene.gsd_m,
            stretch=None if scene.stretch is None else asdict(scene.stretch),
            ships=len(ships),
            ship_pixels=ship_pixels,
            nodata_pixels=nodata_pixels,
            tile=BLOCK_SIZE,
            layout=layout,
            levels={},
        )
        sightings = [Sighting.of(ship.box, ship.score, ship.pixels) for ship in ships]
        product = assemble(
            origin, header, _up_to(level, pages(sightings), blocks) | cut(scene, header, sightings, level, pixels)
        )
        packed = pack(product)
        with writing(product_file):
            temporaries[product_file].write_bytes(packed)
    return Outcome(files, product, ships, count, len(packed))


def _keep(ships: list[Component], found: Iterable[Component], min_pixels: int, scene: Scene) -> None:
    """Add what is large enough to the ships of a scene.

    Raises:
        ContractError: There are more than any sea holds.
    """
    ships += (component for component in found if component.pixels >= min_pixels)
    if len(ships) > MOST_SHIPS:
        raise ContractError(
            f"{scene.path} seems to hold more than {MOST_SHIPS:,} ships, as noise or imagery of another kind does",
            remedy="Look at the scene; a higher --threshold or --min-ship-pixels leaves out specks",
            limit=MOST_SHIPS,
        )


def classify(
    tile: Tile, engine: Engine, decision: Decision, gate: Gate | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """The labels uint8[rows, cols] of a tile's core, and the score of each ship pixel in row-major order.

    With a gate, the model runs in rectangles around what passes, and what it says beside that is not told: labels are
    those without a gate where it lets pass, and sea elsewhere.
    """
    core = tile.core.relative_to(tile.window)
    valid = tile.valid[core.slices]
    labels = np.where(valid, np.uint8(SEA), np.uint8(NODATA))
    if not valid.any():
        return labels, np.zeros(0, dtype=np.uint16)
    if gate is None:
        looked, parts = valid, iter((Window(0, 0, core.rows, core.cols),))
    else:
        cells = gate.passing(tile.pixels, core)
        looked = valid & gate.in_pixels(cells, core.rows, core.cols)
        parts = regions(cells, gate.cell)
    scores = np.zeros(labels.shape, dtype=np.uint16)
    for part in parts:
        place = part.clipped(core.rows, core.cols)
        logits = engine.run(tile.pixels, Window(core.row + place.row, core.col + place.col, place.rows, place.cols))[0]
        ship = (logits >= decision.threshold) & looked[place.slices]
        labels[place.slices][ship] = SHIP
        scores[place.slices][ship] = decision.score(logits[ship])
    return labels, scores[labels == SHIP]


def _all_sea(scene: Scene) -> tuple[int, ...]:
    return 0, sum(1 for _ in cover(scene.rows, scene.cols, BLOCK_SIZE, halo=0, alignment=1))


def _mask(mask: Path) -> tuple[tuple[int, ...], list[bytes]]:
    """The written mask as a layout and compressed blocks."""
    with gdal():
        dataset = rasterio.open(mask, driver="GTiff")

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for block, _ in cover(dataset.height, dataset.width, BLOCK_SIZE, halo=0, alignment=1):
            with gdal():
                labels = dataset.read(1, window=RasterWindow.from_slices(*block.slices))
            # While this is compressed, another scene may be read.
            yield labels

    try:
        return compress_mask(blocks())
    finally:
        with gdal():
            dataset.close()


def _up_to(level: Level, ship_pages: list[bytes], blocks: list[bytes]) -> dict[Step, list[bytes]]:
    """What a product holds without any pixels of the scene."""
    steps: dict[Step, list[bytes]] = {"ships": ship_pages, "mask": blocks}
    return {step: items for step, items in steps.items() if LEVELS.index(step) <= LEVELS.index(level)}


def _in_pixels(scene: Scene, name: str, ships: Iterable[Ship]) -> dict[str, JsonValue]:
    """The ships of a scene that has no place on Earth, in pixels, and in metres where the scale is known."""
    return {
        "scene": readable(name),
        "rows": scene.rows,
        "cols": scene.cols,
        "gsd_m": scene.gsd_m,
        "ships": [ship.record() for ship in ships],
    }


def _json(content: JsonValue) -> bytes:
    return json.dumps(content, allow_nan=False).encode() + b"\n"


def _short(crs: CRS) -> str:
    """``EPSG:code`` where that says exactly the same, else WKT."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code is not None and CRS.from_epsg(code) == crs else crs.to_wkt()
