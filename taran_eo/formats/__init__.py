"""Number formats: what a code means, how a real number becomes one, and which integer it really is.

A library of its own, which needs nothing but numpy. A format is a frozen value (`MiniFloat` or `Integer`) and nothing
but the table of its values; `parse_format` makes one of a name. The verbs are free functions on arrays:

* `values` lists what a format can hold; `encode` and `decode` go between real numbers and codes (bit patterns), with
  one documented behaviour for ties, overflow, infinity, NaN and the sign of zero, the same for every format.
* `Scaling` is a scale for a tensor or one a channel, a power of two or any real number; `quantize` and `dequantize` are
  `encode` and `decode` through it. `BlockFormat` and `round_blocks` do the same in blocks, as OCP Microscaling defines.
* `integer_image` and `to_image` show a format as the integers that it is, times one power of two;
  `accumulator_bits` and `exact_terms` say how wide a sum of products must be to stay exact.
* `upper_half` and `spend_sign` are the unsigned formats that suit a signed one behind a ReLU.

`CATALOGUE` has the formats with a name and their sources; any other split is spelled by its bits, with ``u`` for
unsigned: ``e4m3``, ``ue2m4``, ``e4m3fn`` (FP8 of OCP), ``e5m2b10``, ``int6``, ``uint8q4`` (`parse_format` has all).
`oracle` is the slow truth that the tests hold against the fast code, for every code of every format up to 8 bits. The
same rounding as a layer of a torch network, with a gradient, is `taran_eo.nn.fake_quantize`.

Example:
    Three numbers in six bits: ties go to the even code, what is too large becomes the largest.

    >>> e3m2 = parse_format("e3m2")
    >>> e3m2.bits, e3m2.smallest, e3m2.largest
    (6, 0.0625, 28.0)
    >>> codes = encode([0.3, -9.0, 100.0], e3m2)
    >>> [f"{code:06b}" for code in codes.tolist()]
    ['000101', '111000', '011111']
    >>> decode(codes, e3m2).tolist()
    [0.3125, -8.0, 28.0]

    With a scale for each row, the smallest power of two with which nothing saturates:

    >>> reals = [[0.1, -0.2], [30.0, 50.0]]
    >>> scaling = Scaling.covering([0.2, 50.0], e3m2, axis=0)
    >>> scaling.exponents
    (-7, 1)
    >>> dequantize(quantize(reals, e3m2, scaling), e3m2, scaling).tolist()
    [[0.09375, -0.1875], [32.0, 48.0]]

    Every value is an integer times one power of two, so sums of products are exact in integers:

    >>> integer_image(e3m2), to_image(codes, e3m2).tolist()
    (IntegerImage(step_exponent=-4, low=-448, high=448), [5, -128, 448])
    >>> accumulator_bits(e3m2, e3m2, terms=9 * 32)
    27
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
