"""Number formats: what a code means, how a real number becomes one, and which integer it really is.

A format is a frozen value (`MiniFloat` or `Integer`) and nothing but the table of its values; the verbs are
free functions. `encode` and `decode` go between real numbers and codes, `quantize` and `dequantize` do so
through a `Scaling`, `to_image` and `from_image` go between codes and exact integers. `oracle` is the slow
truth that the tests hold against the fast code, for every code of every format up to 8 bits.
"""

from taran_eo.formats.blocks import BlockFormat, round_blocks
from taran_eo.formats.catalogue import CATALOGUE, Entry, parse_any_format, parse_format
from taran_eo.formats.coding import Format, Rounding, decode, encode, values
from taran_eo.formats.image import (
    IntegerImage,
    accumulator_bits,
    exact_terms,
    from_image,
    integer_image,
    product_bits,
    to_image,
)
from taran_eo.formats.integer import Integer
from taran_eo.formats.minifloat import MiniFloat
from taran_eo.formats.scaling import Scaling, dequantize, quantize
from taran_eo.formats.unsigned import spend_sign, upper_half

__all__ = [
    "CATALOGUE",
    "BlockFormat",
    "Entry",
    "Format",
    "Integer",
    "IntegerImage",
    "MiniFloat",
    "Rounding",
    "Scaling",
    "accumulator_bits",
    "decode",
    "dequantize",
    "encode",
    "exact_terms",
    "from_image",
    "integer_image",
    "parse_any_format",
    "parse_format",
    "product_bits",
    "quantize",
    "round_blocks",
    "spend_sign",
    "to_image",
    "upper_half",
    "values",
]
