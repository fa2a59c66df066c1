"""What goes down for one scene, level by level: counts, ships, mask, and pixels of ships, surroundings or all.

A product is packed as parts (`taran_eo.codec.part`), so that a file of one product, a file of many, and whatever of
them survived a bad link are all read the same way, and what is missing is known by name.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from taran_eo.codec import legacy
from taran_eo.codec.header import Header, Origin, Step, close_header, open_header, open_origin
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

Told = Callable[[str, CorruptDataError], None]
"""Takes the name of what cannot be read, and why."""

_REMEDY = "Fetch the product again; if it stays so, it was not written by this version of taran_eo"
_SEA, _CODED, _NODATA = range(3)
K = TypeVar("K")
V = TypeVar("V")


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
        """What has not arrived, or is not what was sent, one line each; empty where all is there."""
        told = [] if self.origin is not None else ["which model made it"]
        for step, (count, digest) in self.header.levels.items():
            held = self.items.get(step, {})
            if len(held) < count:
                told.append(f"{count - len(held)} of {count} items of level {step}: {_gaps(held, count)}")
            elif digest_of(held[number] for number in range(count)) != digest:
                told.append(f"level {step}: what is there is not what was sent")
        return tuple(told)

    def ships(self, told: Told | None = None) -> tuple[Sighting, ...]:
        """The ships of all pages that have arrived, in their order.

        Args:
            told: Takes the name of a page that cannot be read, and why; None to raise.

        Raises:
            CorruptDataError: A page that no encoder of ours wrote.
        """
        found: list[Sighting] = []
        for number, page in sorted(self.items.get("ships", {}).items()):
            try:
                found += read_page(page)
            except CorruptDataError as error:
                if told is None:
                    raise
                told(f"page {number + 1} of the ship list", error)
        return tuple(found)

    def mask_blocks(self, told: Told | None = None) -> Iterator[tuple[Window, NDArray[np.uint8] | None]]:
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


def digest_of(items: Iterable[bytes]) -> str:
    """The first digits of the SHA-256 of items, by which the ground knows that what arrived is what was sent."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(len(item).to_bytes(8, "little") + item)
    return digest.hexdigest()[:8]


def _gaps(present: Iterable[int], count: int) -> str:
    """``0-3, 7`` where of 0 to 8 only 4, 5, 6 and 8 are present; a long list is cut."""
    edges = [-1, *sorted(present), count]
    gaps = [(before + 1, after - 1) for before, after in pairwise(edges) if after - before > 1]
    told = [str(first) if first == last else f"{first}-{last}" for first, last in gaps[:8]]
    return ", ".join(told) + (" ..." if len(gaps) > 8 else "")


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
    coded = sum(count for kind, count in pairs if kind == _CODED)
    sound = len(header.layout) % 2 == 0 and all(kind <= _NODATA for kind, _ in pairs)
    held, _ = header.levels.get("mask", (coded, ""))
    if not sound or sum(count for _, count in pairs) != header.blocks or coded != held:
        raise CorruptDataError(
            f"The layout of the mask of {header.scene} is not that of {header.blocks} blocks", remedy=_REMEDY
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
    """A whole product; the header's counts and digests of items are those of `items`."""
    levels = {step: (len(items[step]), digest_of(items[step])) for step in STEPS if step in items}
    header = replace(header, levels=levels)
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
    """The products that parts belong to; the same part may come twice, and another in its place is a fault."""
    origins: dict[str, Origin] = {}
    headers: dict[bytes, Header] = {}
    items: dict[bytes, dict[Step, dict[int, bytes]]] = defaultdict(lambda: defaultdict(dict))
    faults = []
    for part in found:
        key = part.key.hex()
        try:
            if part.kind == ORIGIN:
                _keep(origins, key, open_origin(_only(part), part.key), f"what made scenes under {key}")
            elif part.kind == 0:
                _keep(headers, part.key, open_header(_only(part), part.key), f"the header of scene {key}")
            elif part.kind < len(LEVELS):
                step = STEPS[part.kind - 1]
                for number, item in enumerate(part.items, start=part.first):
                    _keep(items[part.key][step], number, item, f"item {number} of level {step} of scene {key}")
            else:
                raise CorruptDataError(f"A part is of the unknown kind {part.kind}", remedy=_REMEDY)
        except CorruptDataError as error:
            faults.append(error)
    products = []
    for each, header in headers.items():
        held = items.pop(each, {})
        for step, numbered in held.items():
            count, _ = header.levels.get(step, (0, ""))
            if beyond := [number for number in numbered if number >= count]:
                what = f"{len(beyond)} items of level {step} of {header.scene} are none of the {count} that were sent"
                faults.append(CorruptDataError(what, remedy=_REMEDY))
                held[step] = {number: item for number, item in numbered.items() if number < count}
        arrived = {step: numbered for step, numbered in held.items() if numbered}
        products.append(Product(header, arrived, origins.get(header.origin)))
    return Gathered(tuple(products), tuple(_orphan(key, held) for key, held in items.items()), tuple(faults))


def _keep(kept: dict[K, V], key: K, value: V, what: str) -> None:
    """Keep what comes first.

    Raises:
        CorruptDataError: Another is kept already.
    """
    if kept.setdefault(key, value) != value:
        raise CorruptDataError(f"Twice and not the same: {what}; the first is kept", remedy=_REMEDY)


def _orphan(key: bytes, held: Mapping[Step, Mapping[int, bytes]]) -> str:
    told = ", ".join(f"{len(items)} of level {step}" for step, items in held.items())
    return f"the header of scene {key.hex()}, of which came {told}"


def _only(part: Part) -> bytes:
    if len(part.items) != 1 or part.first:
        raise CorruptDataError(f"A header comes in {len(part.items)} items from {part.first} on", remedy=_REMEDY)
    return part.items[0]


def _from_legacy(old: legacy.Fields) -> Product:
    """The product that an early version wrote; its mask is read to be counted.

    Raises:
        CorruptDataError: A block or a header that cannot be.
    """
    kind = {False: _SEA, True: _CODED}
    layout = tuple(number for coded, run in groupby(map(bool, old.blocks)) for number in (kind[coded], len(list(run))))
    ships = pages([Sighting.of(each.box, each.score, each.pixels) for each in old.ships])
    items: dict[Step, list[bytes]] = {"ships": ships, "mask": [block for block in old.blocks if block]}
    origin = Origin(old.model, old.model_digest, old.threshold, old.software, old.gate)
    try:
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
            ships=len(old.ships),
            ship_pixels=0,
            nodata_pixels=0,
            tile=old.tile,
            layout=layout,
            levels={},
        )
    except ValidationError as error:
        raise CorruptDataError(f"A product of an early version has no sound header: {error}", remedy=_REMEDY) from error
    found = assemble(origin, header, items)
    counts = {SHIP: 0, NODATA: 0}
    for _, labels in found.mask_blocks():
        for value in counts:
            counts[value] += int(np.count_nonzero(labels == value))
    return assemble(origin, replace(header, ship_pixels=counts[SHIP], nodata_pixels=counts[NODATA]), items)
