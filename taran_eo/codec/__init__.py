"""Masks and products to bytes and back.

`RunLength` compresses and expands a mask; `Product` is a scene's metadata, ships and mask blocks, which
`pack` and `unpack` put on the wire and take from it. Whatever the bytes, they either give what was written or
raise `CorruptDataError`; sizes are checked before anything is allocated.
"""

from taran_eo.codec.product import Product, pack, unpack
from taran_eo.codec.run_length import RunLength

CODECS = (RunLength(),)
"""The mask codecs, by which products may be compressed."""

__all__ = ["CODECS", "Product", "RunLength", "pack", "unpack"]
