"""What goes down for one scene, level by level: counts, ships, mask, and pixels of ships, surroundings or all.

A product is packed as parts (`taran_eo.codec.part`), so that a file of one product, a file of many, and whatever of
them survived a bad link are all read the same way, and what is missing is known by name.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from taran_eo.codec import legacy
from taran_eo.codec.header import MOST_ITEMS, Header, Origin, Step, close_header, open_header, open_origin
from taran_eo.codec.part import ORIGIN, Part, in_parts, pack_part, unpack_part
from taran_eo.codec.run_length import RunLength
from taran_eo.codec.ship_list import Sighting, pages, read_page
from taran_eo.errors import CorruptDataError
from taran_eo.imagery.mask import NODATA, SEA, SHIP
from taran_eo.imagery.window import Window

Level = Literal["counts", "ships", "mask", "chips", "regions", "scene"]
"""How much of a scene goes down; each holds the ones before it, but of the last three a product has one at most."""

LEVELS: tuple[Level, ...] = get_args(Level)
STEPS: tuple[Step, ...] = get_args(Step)

_REMEDY = "Fetch the product again; if it stays so, it was not written by this version of taran_eo"
_SEA, _CODED, _NODATA = range(3)


@dataclass(frozen=True)
class Product:
    """One scene as it is sent down, or as much of it as has arrived.

    Attributes:
        header: Counts, and where the scene lies.
        items: Of each level above the counts, what has arrived by number.
        origin: What made it; None where that has not arrived.
    """

    header: Header
    items: Mapping[Step, Mapping[int, bytes]]
    origin: Origin | None

    def made_by(self) -> Origin:
        """What made it.

        Raises:
            CorruptDataError: That has not arrived.
        """
        if self.origin is None:
            raise CorruptDataError(f"What made {self.header.scene} is missing", remedy="Ask for it again")
        return self.origin

    def missing(self) -> tuple[str, ...]:
        """What has not arrived, one line each; empty where all has."""
        told = [] if self.origin is not None else ["which model made it"]
        for step, count in self.header.levels.items():
            absent = [number for number in range(count) if number not in self.items.get(step, {})]
            if absent:
                told.append(f"{len(absent)} of {count} items of level {step}: {_ranges(absent)}")
        return tuple(told)

    def ships(self) -> tuple[Sighting, ...]:
        """The ships of all pages that have arrived, in their order.

        Raises:
            CorruptDataError: A page that no encoder of ours wrote.
        """
        return tuple(ship for _, page in sorted(self.items.get("ships", {}).items()) for ship in read_page(page))

    def mask_blocks(
        self, told: Callable[[str, CorruptDataError], None] | None = None
    ) -> Iterator[tuple[Window, NDArray[np.uint8] | None]]:
        """Each block's window and labels uint8[rows, cols], or None where it has not arrived.

        Args:
            told: Takes the name of a block that cannot be read, and why; it counts as not arrived. None to raise.

        Raises:
            CorruptDataError: The layout is none, or a block cannot be expanded, or is of another size than its window.
        """
        header, coded = self.header, 0
        blocks = self.items.get("mask", {})
        for window, kind in zip(windows(header), kinds(header), strict=True):
            shape = (window.rows, window.cols)
            if kind != _CODED:
                yield window, np.full(shape, SEA if kind == _SEA else NODATA, dtype=np.uint8)
                continue
            block = blocks.get(coded)
            coded += 1
            if block is None:
                yield window, None
                continue
            try:
                yield window, _labels(block, window)
            except CorruptDataError as error:
                if told is None:
                    raise
                told(f"the mask at row {window.row}, column {window.col}", error)
                yield window, None


def _labels(block: bytes, window: Window) -> NDArray[np.uint8]:
    labels = RunLength().expand(block, max_pixels=window.rows * window.cols)
    if labels.shape != (window.rows, window.cols):
        raise CorruptDataError(
            f"The block at row {window.row}, column {window.col} has the shape {labels.shape}, "
            f"not {(window.rows, window.cols)}",
            remedy=_REMEDY,
        )
    return labels


def _ranges(numbers: Sequence[int]) -> str:
    """``0-3, 7`` for 0, 1, 2, 3, 7; a long list is cut."""
    runs = [list(run) for _, run in groupby(enumerate(numbers), key=lambda each: each[1] - each[0])]
    told = [str(run[0][1]) if len(run) == 1 else f"{run[0][1]}-{run[-1][1]}" for run in runs]
    return ", ".join(told[:8]) + (" ..." if len(told) > 8 else "")


def windows(header: Header, side: int | None = None) -> Iterator[Window]:
    """Where square pieces of a scene lie in it, row by row: those of a side in pixels, or the blocks of the mask."""
    side = header.tile if side is None else side
    for row in range(0, header.rows, side):
        for col in range(0, header.cols, side):
            yield Window(row, col, min(side, header.rows - row), min(side, header.cols - col))


def kinds(header: Header) -> Iterator[int]:
    """What each block of the mask is.

    Raises:
        CorruptDataError: The header's layout is none.
    """
    pairs = list(zip(header.layout[::2], header.layout[1::2], strict=False))
    blocks = -(-header.rows // header.tile) * -(-header.cols // header.tile)
    if blocks > MOST_ITEMS:
        raise CorruptDataError(
            f"{header.scene} is cut into {blocks} blocks, and {MOST_ITEMS} are accepted", remedy=_REMEDY, blocks=blocks
        )
    coded = sum(count for kind, count in pairs if kind == _CODED)
    sound = len(header.layout) % 2 == 0 and all(kind <= _NODATA for kind, _ in pairs)
    if not sound or sum(count for _, count in pairs) != blocks or coded != header.levels.get("mask", coded):
        raise CorruptDataError(
            f"The layout of the mask of {header.scene} is not that of {blocks} blocks", remedy=_REMEDY
        )
    for kind, count in pairs:
        for _ in range(count):
            yield kind


def compress_mask(blocks: Iterable[NDArray[np.uint8]]) -> tuple[tuple[int, ...], list[bytes]]:
    """The layout of a mask, and an item for each block that is not all sea or all nodata.

    Args:
        blocks: The labels uint8[rows, cols] of each block, row by row.
    """
    codec, items, found = RunLength(), list[bytes](), list[int]()
    for labels in blocks:
        low, high = labels.min(), labels.max()
        found.append(_CODED if low != high or low not in (SEA, NODATA) else _SEA if low == SEA else _NODATA)
        if found[-1] == _CODED:
            items.append(codec.compress(labels))
    return tuple(number for kind, run in groupby(found) for number in (kind, len(list(run)))), items


def assemble(origin: Origin, header: Header, items: Mapping[Step, Sequence[bytes]]) -> Product:
    """A whole product; the header's counts of items are those of `items`."""
    header = replace(header, levels={step: len(items[step]) for step in STEPS if step in items})
    return Product(header, {step: dict(enumerate(items[step])) for step in header.levels}, origin)


def parts(product: Product, levels: Collection[Level] = LEVELS) -> Iterator[Part]:
    """The parts of a whole product, in the order of the ladder; with the counts comes first what made it."""
    header = product.header
    if "counts" in levels:
        origin = product.made_by()
        yield Part(ORIGIN, origin.key, 0, (close_header(origin),))
        yield Part(0, header.key, 0, (close_header(header),))
    for step in header.levels:
        if step in levels:
            items = product.items.get(step, {})
            yield from in_parts(LEVELS.index(step), header.key, [items[number] for number in range(len(items))])


def pack(product: Product) -> bytes:
    """The bytes of a whole product."""
    return b"".join(map(pack_part, parts(product)))


def unpack(data: bytes) -> Product:
    """The product that `pack` made these bytes of, or the first versions of this package.

    Items are not expanded here; what is in them is checked where they are.

    Raises:
        CorruptDataError: Any other bytes.
    """
    if data.startswith(legacy.MAGIC):
        return _from_legacy(legacy.unpack(data))
    found, position = list[Part](), 0
    while position < len(data):
        part, position = unpack_part(data, position)
        found.append(part)
    gathered = gather(found)
    if gathered.faults:
        raise gathered.faults[0]
    if len(gathered.products) != 1 or gathered.orphans or gathered.products[0].missing():
        raise CorruptDataError("The bytes are not those of one whole product", remedy=_REMEDY)
    return gathered.products[0]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What parts came to.

    Attributes:
        products: Products, whole or not, in the order in which their headers came.
        orphans: What came of scenes whose header did not, a line each.
        faults: Parts that no encoder of ours wrote.
    """

    products: tuple[Product, ...]
    orphans: tuple[str, ...]
    faults: tuple[CorruptDataError, ...]


def gather(found: Iterable[Part]) -> Gathered:
    """The products that parts belong to; the same part may come twice."""
    origins: dict[str, Origin] = {}
    headers: dict[bytes, Header] = {}
    items: dict[bytes, dict[Step, dict[int, bytes]]] = defaultdict(lambda: defaultdict(dict))
    faults = []
    for part in found:
        try:
            if part.kind == ORIGIN:
                origins[part.key.hex()] = open_origin(_only(part), part.key)
            elif part.kind == 0:
                headers[part.key] = open_header(_only(part), part.key)
            elif part.kind < len(LEVELS):
                items[part.key][STEPS[part.kind - 1]] |= dict(enumerate(part.items, start=part.first))
            else:
                raise CorruptDataError(f"A part is of the unknown kind {part.kind}", remedy=_REMEDY)
        except CorruptDataError as error:
            faults.append(error)
    products = (
        Product(header, dict(items.pop(key, {})), origins.get(header.origin)) for key, header in headers.items()
    )
    return Gathered(tuple(products), tuple(_orphan(key, held) for key, held in items.items()), tuple(faults))


def _orphan(key: bytes, held: Mapping[Step, Mapping[int, bytes]]) -> str:
    told = ", ".join(f"{len(items)} of level {step}" for step, items in held.items())
    return f"the header of scene {key.hex()}, of which came {told}"


def _only(part: Part) -> bytes:
    if len(part.items) != 1 or part.first:
        raise CorruptDataError(f"A header comes in {len(part.items)} items from {part.first} on", remedy=_REMEDY)
    return part.items[0]


def _from_legacy(old: legacy.Fields) -> Product:
    kind = {False: _SEA, True: _CODED}
    layout = tuple(number for coded, run in groupby(map(bool, old.blocks)) for number in (kind[coded], len(list(run))))
    ships = [Sighting.of(each.box, each.score, each.pixels) for each in old.ships]
    blocks = [block for block in old.blocks if block]
    labels = [RunLength().expand(block, max_pixels=old.tile**2) for block in blocks]
    origin = Origin(old.model, old.model_digest, old.threshold, old.software, old.gate)
    header = Header(
        origin=origin.key.hex(),
        scene=old.scene,
        rows=old.rows,
        cols=old.cols,
        crs=old.crs,
        transform=old.transform,
        bands=3,
        gsd_m=old.gsd_m,
        stretch=old.stretch,
        ships=len(ships),
        ship_pixels=sum(int((each == SHIP).sum()) for each in labels),
        nodata_pixels=sum(int((each == NODATA).sum()) for each in labels),
        tile=old.tile,
        layout=layout,
        levels={},
    )
    return assemble(origin, header, {"ships": pages(ships), "mask": blocks})
