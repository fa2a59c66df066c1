"""Formats behind a ReLU, where nothing is below zero: keep a signed format's upper half, or spend its sign bit."""

from dataclasses import replace

from taran_eo.formats.coding import Format
from taran_eo.formats.minifloat import MiniFloat


def upper_half(fmt: Format) -> Format:
    """The unsigned format with exactly the values of `fmt` that are not negative, one bit narrower if it has a sign.

    A signed format behind a ReLU is this one, stored with a sign bit that is always zero.

    Example:
        >>> from taran_eo.formats import parse_format
        >>> str(upper_half(parse_format("e2m3"))), str(upper_half(parse_format("int6")))
        ('ue2m3', 'uint5')
    """
    if not fmt.signed:
        return fmt
    if isinstance(fmt, MiniFloat):
        return replace(fmt, signed=False)
    return replace(fmt, bits=fmt.bits - 1, signed=False, narrow=False)


def spend_sign(fmt: Format) -> Format:
    """The unsigned format of the same width, with the sign bit given to the mantissa, or to an integer's range.

    Example:
        >>> from taran_eo.formats import parse_format
        >>> str(spend_sign(parse_format("e2m3"))), str(spend_sign(parse_format("int6")))
        ('ue2m4', 'uint6')
    """
    if not fmt.signed:
        return fmt
    if isinstance(fmt, MiniFloat):
        return replace(fmt, signed=False, mantissa_bits=fmt.mantissa_bits + 1)
    return replace(fmt, signed=False, narrow=False)
