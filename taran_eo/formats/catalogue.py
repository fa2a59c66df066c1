"""Formats with a name, each with its source; any other split can be named by its bits."""

import re
from dataclasses import dataclass

from taran_eo.errors import FormatError
from taran_eo.formats.blocks import MX_BLOCK, BlockFormat
from taran_eo.formats.coding import Format
from taran_eo.formats.integer import Integer
from taran_eo.formats.minifloat import MiniFloat


@dataclass(frozen=True)
class Entry:
    """A format as people call it, and where it is defined."""

    name: str
    format: Format
    source: str


_MX = "OCP Microscaling Formats (MX) Specification 1.0, 2023"
_FP8 = "OCP 8-bit Floating Point Specification (OFP8) 1.0, 2023"
_IEEE = "IEEE 754-2019, table 3.5"
_SPLIT = "exponent/mantissa split with the customary bias and no specials, as in arXiv 2311.12359"
_UNSIGNED = "the sign bit that a ReLU leaves unused, given to the mantissa (ours)"
_TWOS = "two's complement or unsigned integer"

CATALOGUE: tuple[Entry, ...] = (
    Entry("e2m1", MiniFloat(2, 1), _MX + ", FP4"),
    Entry("e1m2", MiniFloat(1, 2), _SPLIT),
    Entry("e3m0", MiniFloat(3, 0), _SPLIT),
    Entry("e2m2", MiniFloat(2, 2), _SPLIT),
    Entry("e3m1", MiniFloat(3, 1), _SPLIT),
    Entry("e2m3", MiniFloat(2, 3), _MX + ", FP6"),
    Entry("e3m2", MiniFloat(3, 2), _MX + ", FP6"),
    Entry("e4m1", MiniFloat(4, 1), _SPLIT),
    Entry("e3m3", MiniFloat(3, 3), _SPLIT),
    Entry("e4m2", MiniFloat(4, 2), _SPLIT),
    Entry("e3m4", MiniFloat(3, 4), _SPLIT),
    Entry("e4m3", MiniFloat(4, 3), _SPLIT),
    Entry("e5m2", MiniFloat(5, 2), _SPLIT),
    Entry("e4m3fn", MiniFloat(4, 3, specials="ocp"), _FP8 + ", E4M3; " + _MX),
    Entry("e5m2i", MiniFloat(5, 2, specials="ieee"), _FP8 + ", E5M2; " + _MX),
    Entry("ue2m2", MiniFloat(2, 2, signed=False), _UNSIGNED),
    Entry("ue1m3", MiniFloat(1, 3, signed=False), _UNSIGNED),
    Entry("ue2m3", MiniFloat(2, 3, signed=False), _UNSIGNED),
    Entry("ue3m2", MiniFloat(3, 2, signed=False), _UNSIGNED),
    Entry("ue2m4", MiniFloat(2, 4, signed=False), _UNSIGNED),
    Entry("ue3m3", MiniFloat(3, 3, signed=False), _UNSIGNED),
    Entry("ue4m2", MiniFloat(4, 2, signed=False), _UNSIGNED),
    Entry("float16", MiniFloat(5, 10, specials="ieee"), _IEEE + ", binary16"),
    Entry("bfloat16", MiniFloat(8, 7, specials="ieee"), "the upper half of binary32"),
    Entry("int4", Integer(4), _TWOS),
    Entry("int5", Integer(5), _TWOS),
    Entry("int6", Integer(6), _TWOS),
    Entry("int7", Integer(7), _TWOS),
    Entry("int8", Integer(8), _TWOS),
    Entry("int16", Integer(16), _TWOS),
    Entry("int32", Integer(32), _TWOS),
    Entry("uint4", Integer(4, signed=False), _TWOS),
    Entry("uint5", Integer(5, signed=False), _TWOS),
    Entry("uint6", Integer(6, signed=False), _TWOS),
    Entry("uint7", Integer(7, signed=False), _TWOS),
    Entry("uint8", Integer(8, signed=False), _TWOS),
)

_MINIFLOAT = re.compile(r"(u?)e(\d+)m(\d+)(?:b(-?\d+))?(z?)(fn|i|)")
_BLOCKS = re.compile(r"mx(.*?)(?:x(\d+))?")
_MX_NAMES = {"mxfp4": "mxe2m1", "mxint8": "mxint8q6n"}
_INTEGER = re.compile(r"(u?)int(\d+)(?:q(-?\d+))?(n?)")


def parse_format(name: str) -> Format:
    """The format of a name: of the catalogue, or spelled like ``ue2m4``, ``e4m3b8``, ``int6``, ``uint8q4``.

    ``u`` is unsigned, ``b`` another bias, ``z`` no subnormals, ``fn`` and ``i`` the OCP and IEEE specials,
    ``q`` binary places, a last ``n`` a symmetric range. Upper and lower case are the same. It is the inverse of
    ``str(format)``.

    Args:
        name: Of one number; those of blocks are for `parse_any_format`.

    Returns:
        A `MiniFloat` or an `Integer`.

    Raises:
        FormatError: No format is called so, or it has more bits than a minifloat or an integer may have.

    Example:
        >>> parse_format("e4m3").largest, parse_format("E4M3FN").largest  # that of OCP spends its last code on NaN
        (480.0, 448.0)
    """
    word = name.lower()
    for entry in CATALOGUE:
        if entry.name == word:
            return entry.format
    if match := _MINIFLOAT.fullmatch(word):
        unsigned, exponent, mantissa, bias, flushed, specials = match.groups()
        return MiniFloat(
            int(exponent),
            int(mantissa),
            signed=not unsigned,
            bias=None if bias is None else int(bias),
            subnormals=not flushed,
            specials="ocp" if specials == "fn" else "ieee" if specials == "i" else "none",
        )
    if match := _INTEGER.fullmatch(word):
        unsigned, bits, fraction, narrow = match.groups()
        return Integer(int(bits), not unsigned, 0 if fraction is None else int(fraction), bool(narrow))
    raise FormatError(
        f"{name!r} is no number format",
        remedy="Write a split like e2m3 or ue2m4, an integer like int8 or uint6, or a name of the catalogue: "
        + ", ".join(entry.name for entry in CATALOGUE)
        + "; blocks like mxfp4 are read by parse_any_format, where they are possible",
        name=name,
    )


def parse_any_format(name: str) -> Format | BlockFormat:
    """The format of a name, also of a block format: ``mx`` before its element, ``x`` and its size after it if not 32.

    ``mxfp4`` and ``mxint8`` are the formats that the OCP Microscaling specification calls so; its two FP6 formats are
    ``mxe2m3`` and ``mxe3m2``.

    Args:
        name: As for `parse_format`, or of a block format.

    Returns:
        A `MiniFloat`, an `Integer` or a `BlockFormat`.

    Raises:
        FormatError: No format is called so.

    Example:
        >>> str(parse_any_format("mxe3m2")), parse_any_format("mxint8").element.largest
        ('mxe3m2', 1.984375)
    """
    word = name.lower()
    if match := _BLOCKS.fullmatch(_MX_NAMES.get(word, word)):
        element, size = match.groups()
        return BlockFormat(parse_format(element), MX_BLOCK if size is None else int(size))
    return parse_format(name)
