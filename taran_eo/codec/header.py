"""Headers: what is known of a scene and of the run that it belongs to, as text that a dictionary of ours shortens."""

import hashlib
from functools import cached_property
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from taran_eo.codec import frame, leb128
from taran_eo.codec.part import KEY_BYTES
from taran_eo.errors import CorruptDataError

_REMEDY = "Fetch the product again; if it stays so, it was not written by this version of taran_eo"
_MOST_BYTES = 1 << 20
MOST_ITEMS = 1 << 20
"""Of a level; far more than any scene of ours has, and few enough to be listed."""
# Holds the names of the fields in their order; part of version 3, and never changes.
_DICTIONARY = (
    b'"layout":[0,1,1,1,0,1,2,1],"levels":{"ships":[1,"0"],"mask":[1,"0"],"chips":[1,"0"],"regions":[1,"0"],"scene":[1,"0"]}'
    b'{"model":"thin_unet32_e2m3","model_digest":"0","threshold":0.7,"software":"taran-eo 0.1.0","gate":"0"}'
    b'"stretch":{"method":"percentile","low":0,"high":2047}'
    b'{"origin":"0","scene":"a","rows":1024,"cols":1024,"bands":3,"crs":"EPSG:32631","transform":[1.5,0.0,'
    b'500000.0,0.0,-1.5,4649776.0],"gsd_m":1.5,"stretch":null,"ships":0,"ship_pixels":0,"nodata_pixels":0,'
    b'"tile":768,"layout":[0,1],"levels":{}}'
    b'","rows":768,"cols":768,"bands":3,"crs":null,"transform":null,"gsd_m":1.5,"stretch":null,"ships":1,"ship_pixels":1'
    b'","rows":768,"cols":768,"bands":3,"crs":null,"transform":null,"gsd_m":null,"stretch":null,"ships":0,"ship_pixels":0,'
    b'"nodata_pixels":0,"tile":768,"layout":[0,1],"levels":{"ships":[0,"e3b0c442"],"mask":[0,"e3b0c442"]}}{"origin":"'
)

_Side = Annotated[int, Field(ge=1, le=1 << 20)]
_Number = Annotated[float, Field(gt=-1e12, lt=1e12)]
_Count = Annotated[int, Field(ge=0, lt=1 << 62)]
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

_Items = Annotated[int, Field(ge=0, le=MOST_ITEMS)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]

Step = Literal["ships", "mask", "chips", "regions", "scene"]
"""What a product may hold above its counts, in the order of the ladder."""


@dataclass(frozen=True, config=_STRICT)
class Origin:
    """What made the products of a run.

    Attributes:
        model: Name of the model.
        model_digest: SHA-256 of the model's program, hexadecimal.
        threshold: Probability from which on a pixel is ship.
        software: Program and version that made the product.
        gate: First digits of the SHA-256 of the gate's program, which decided where the model ran; None where it ran
            everywhere.
    """

    model: str
    model_digest: str
    threshold: float
    software: str
    gate: str | None = None

    @cached_property
    def text(self) -> bytes:
        """The fields as JSON."""
        return bytes(_ORIGIN.dump_json(self))

    @property
    def key(self) -> bytes:
        """What parts and headers know it by."""
        return key_of(self.text)


@dataclass(frozen=True, config=_STRICT)
class Header:
    """What is known of a scene before anything else of its product is opened: level 0 of the ladder.

    Attributes:
        origin: Key of the `Origin`, hexadecimal.
        scene: Name of the scene.
        rows: Rows of the scene in pixels.
        cols: Columns of the scene in pixels.
        bands: Bands of its pixels, as the model saw them.
        crs: Coordinate reference system, ``EPSG:code`` or WKT; None without georeference.
        transform: Affine a, b, c, d, e, f: easting = a * col + b * row + c, northing = d * col + e * row + f,
            col and row at the upper left corner of a pixel; None without georeference.
        gsd_m: Ground sampling distance in metres, None where it is not known.
        stretch: What made 8-bit pixels of the scene, None where they were 8-bit.
        ships: Ships found.
        ship_pixels: Pixels of ship in the mask.
        nodata_pixels: Pixels of the mask without data.
        tile: Side in pixels of the square blocks that the mask is cut into, counted from the scene's origin.
        layout: What the blocks of the mask are, row by row, as pairs of a kind and for how many blocks: 0 all sea,
            1 with an item of its own, 2 all nodata.
        levels: Of each level that the product holds, how many items, and the first digits of the SHA-256 of them all.
    """

    origin: str
    scene: str
    rows: _Side
    cols: _Side
    bands: Annotated[int, Field(ge=1, le=16)]
    crs: str | None
    transform: tuple[_Number, _Number, _Number, _Number, _Number, _Number] | None
    gsd_m: Annotated[float, Field(gt=0, lt=1e9)] | None
    stretch: JsonValue
    ships: _Count
    ship_pixels: _Count
    nodata_pixels: _Count
    tile: Annotated[int, Field(ge=8, le=4096)]
    layout: tuple[_Count, ...]
    levels: dict[
        Step, tuple[Annotated[int, Field(ge=0, le=MOST_ITEMS)], Annotated[str, Field(pattern="^[0-9a-f]{8}$")]]
    ]

    @model_validator(mode="after")
    def _blocks_are_few(self) -> "Header":
        if self.blocks > MOST_ITEMS:
            raise ValueError(f"{self.blocks} blocks of {self.tile} pixels, and {MOST_ITEMS} are accepted")
        return self

    @property
    def blocks(self) -> int:
        """Blocks of the mask."""
        return -(-self.rows // self.tile) * -(-self.cols // self.tile)

    @cached_property
    def text(self) -> bytes:
        """The fields as JSON."""
        return bytes(_HEADER.dump_json(self))

    @property
    def key(self) -> bytes:
        """What parts know it by."""
        return key_of(self.text)


_ORIGIN: TypeAdapter[Origin] = TypeAdapter(Origin)
_HEADER: TypeAdapter[Header] = TypeAdapter(Header)
H = TypeVar("H", Origin, Header)


def key_of(text: bytes) -> bytes:
    """The first bytes of the SHA-256 of a header's text."""
    return hashlib.sha256(text).digest()[:KEY_BYTES]


def close_header(header: Origin | Header) -> bytes:
    """A header as an item."""
    return leb128.encode(np.array([len(header.text)])) + frame.close(header.text, dictionary=_DICTIONARY)


def open_origin(item: bytes, key: bytes) -> Origin:
    """The origin of a part with that key; raises as `open_header`."""
    return _open(_ORIGIN, item, key)


def open_header(item: bytes, key: bytes) -> Header:
    """The header of a scene, of a part with that key.

    Raises:
        CorruptDataError: Any other bytes than `close_header` gave, or those of another key.
    """
    return _open(_HEADER, item, key)


def _open(schema: "TypeAdapter[H]", item: bytes, key: bytes) -> H:
    size, position = leb128.read_one(item, 0)
    if size > _MOST_BYTES:
        raise CorruptDataError(f"A header claims {size} bytes; {_MOST_BYTES} are accepted", remedy=_REMEDY, size=size)
    text = frame.open_(item[position:], size, dictionary=_DICTIONARY)
    if key_of(text) != key:
        raise CorruptDataError(f"A header has another key than its part, {key.hex()}", remedy=_REMEDY)
    try:
        header = schema.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its start"
        raise CorruptDataError(f"A header is not valid at {where}: {first['msg']}", remedy=_REMEDY) from error
    if header.text != text:
        raise CorruptDataError("A header is not spelled as we spell it", remedy=_REMEDY)
    return header
