"""Products as the first versions of this package wrote them: read for ever, written no more.

Layout (numbers are LEB128)::

    "TEOP" 0x01 | length of the content | content as a zstandard frame | CRC-32 (4 bytes, little endian)
    content: length of the JSON | JSON | length of each block | blocks

A block covers one tile of the scene's grid, row by row; a block without bytes is all sea, so that empty sea
costs a fraction of a byte. The frame uses a text of our own as its dictionary: it holds the field names, and
spares some 300 bytes a product. That text is part of version 1 and never changes.
"""

import dataclasses
import math
import zlib
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from taran_eo.codec import frame, leb128
from taran_eo.codec.part import cut_up
from taran_eo.errors import CorruptDataError

MAGIC = b"TEOP\x01"
_CRC_BYTES = 4
_REMEDY = "Fetch the product again; if it stays so, it was not written by this version of taran_eo"
_DICTIONARY = (
    b'"longitude_deg":-1"latitude_deg":0.{"row":1,"col":1,"box":[[1.5,2.5],[3.5,4.5],[5.5,6.5],[7.5,8.5]],'
    b'"length_px":1,"width_px":1,"length_m":null,"width_m":null,"heading_deg":90.0,"pixels":100,"score":0.9,'
    b'"longitude_deg":null,"latitude_deg":null},{"row":'
    b'{"schema_version":1,"scene":"a","rows":768,"cols":768,"tile":768,"crs":"EPSG:32631","transform":[1.5,0.0,'
    b'500000.0,0.0,-1.5,4649776.0],"gsd_m":1.5,"stretch":null,"model":"thin_unet32_e2m3","model_digest":"0",'
    b'"threshold":0.5,"software":"taran-eo 0.1.0","codec":"run-length","ships":[]}'
    b'"rows":768,"cols":768,"tile":768,"crs":null,"transform":null,"gsd_m":null,"stretch":null,'
    b'"model":"thin_unet32_e2m3","model_digest":"'
)

_Size = Annotated[int, Field(ge=1, lt=1 << 31)]
_Place = Annotated[float, Field(gt=-(1 << 31), lt=1 << 31)]
_Corner = tuple[_Place, _Place]


@dataclass(frozen=True, config=ConfigDict(extra="ignore", allow_inf_nan=False))
class OldShip:
    """What is still read of a ship's record; the rest follows from it.

    Attributes:
        box: Corners (row, col) of the oriented box in pixels.
        pixels: Ship pixels.
        score: Mean probability of them.
    """

    box: Annotated[tuple[_Corner, ...], Field(min_length=2, max_length=4)]
    pixels: Annotated[int, Field(ge=1, lt=1 << 33)]
    score: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Fields:
    """One scene as it was sent down; checked field by field.

    Attributes:
        scene: Name of the scene.
        rows: Rows of the scene in pixels.
        cols: Columns of the scene in pixels.
        tile: Side in pixels of the square blocks that the mask is cut into, counted from the scene's origin.
        crs: Coordinate reference system, ``EPSG:code`` or WKT; None without georeference.
        transform: Affine a, b, c, d, e, f: easting = a * col + b * row + c, northing = d * col + e * row + f,
            col and row at the upper left corner of a pixel; None without georeference.
        gsd_m: Ground sampling distance in metres, None where it is not known.
        stretch: What made 8-bit pixels of the scene, None where they were 8-bit.
        model: Name of the model.
        model_digest: SHA-256 of the model's program, hexadecimal.
        threshold: Probability from which on a pixel is ship.
        gate: First digits of the SHA-256 of the gate's program, which decided where the model ran; None where it ran
            everywhere, as it did in the first version of this list.
        software: Program and version that made the product.
        ships: One record a ship.
        codec: Name of the codec of the blocks.
        blocks: The compressed mask, one block a tile in row-major order; empty bytes are a block of sea.
        schema_version: Version of this list of fields.
    """

    scene: str
    rows: _Size
    cols: _Size
    tile: _Size
    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    gsd_m: float | None
    stretch: JsonValue
    model: str
    model_digest: str
    threshold: float
    software: str
    ships: tuple[OldShip, ...]
    gate: str | None = None
    codec: Literal["run-length"] = "run-length"
    blocks: tuple[bytes, ...] = ()
    schema_version: Literal[1, 2] = 2


_SCHEMA: TypeAdapter[Any] = TypeAdapter(Fields)


def unpack(data: bytes, *, max_bytes: int = 1 << 28) -> Fields:
    """The product that was packed into these bytes.

    The blocks are not expanded here; each carries its own checksum.

    Args:
        data: A packed product.
        max_bytes: The largest content that is accepted; nothing is allocated before this is checked.

    Raises:
        CorruptDataError: Any other bytes, or content of more than `max_bytes`.
    """
    if not data.startswith(MAGIC):
        raise CorruptDataError(f"A product begins with {data[:5].hex()}, not with {MAGIC.hex()}", remedy=_REMEDY)
    body, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if zlib.crc32(body) != int.from_bytes(crc, "little"):
        raise CorruptDataError("A product does not match its checksum", remedy=_REMEDY)
    size, position = leb128.read_one(body, len(MAGIC))
    if size > max_bytes:
        raise CorruptDataError(
            f"A product claims {size} bytes of content, and {max_bytes} are accepted",
            remedy="Raise max_bytes if the product is trusted",
            size=size,
            max_bytes=max_bytes,
        )
    content = frame.open_(body[position:], size, dictionary=_DICTIONARY)
    text_size, position = leb128.read_one(content, 0)
    text = content[position : position + text_size]
    try:
        product: Fields = _SCHEMA.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its start"
        raise CorruptDataError(
            f"The metadata of a product is not valid at {where}: {first['msg']}",
            remedy=_REMEDY,
        ) from error
    count = math.ceil(product.rows / product.tile) * math.ceil(product.cols / product.tile)
    return dataclasses.replace(product, blocks=_blocks(content, position + text_size, count))


def _blocks(content: bytes, position: int, count: int) -> tuple[bytes, ...]:
    """The `count` blocks whose lengths begin at `position`; they must end where the content ends."""
    if count > len(content) - position:
        raise CorruptDataError(f"A product has no room for the lengths of its {count} blocks", remedy=_REMEDY)
    sizes = []
    for _ in range(count):
        size, position = leb128.read_one(content, position)
        sizes.append(size)
    return cut_up(content, position, sizes)
