"""The product ladder: counts, ships, mask, and pixels of ships, of their surroundings or of all, to bytes and back.

A `Product` is one scene as it goes down; `pack` and `unpack` put it on the wire and take it from there, `bundles` puts
many of them together, and `scan` and `gather` find what is left of them after a bad link. `RunLength` compresses
masks. Whatever the bytes, they either give what was written or raise `CorruptDataError`; sizes are checked before
anything is allocated.
"""

from taran_eo.codec.bundle import Bundle, bundles
from taran_eo.codec.header import Header, Origin
from taran_eo.codec.part import Part, scan
from taran_eo.codec.product import (
    LEVELS,
    Level,
    Product,
    assemble,
    compress_mask,
    gather,
    kinds,
    pack,
    parts,
    unpack,
    windows,
)
from taran_eo.codec.run_length import RunLength
from taran_eo.codec.ship_list import Sighting, pages

__all__ = [
    "LEVELS",
    "Bundle",
    "Header",
    "Level",
    "Origin",
    "Part",
    "Product",
    "RunLength",
    "Sighting",
    "assemble",
    "bundles",
    "compress_mask",
    "gather",
    "kinds",
    "pack",
    "pages",
    "parts",
    "scan",
    "unpack",
    "windows",
]
