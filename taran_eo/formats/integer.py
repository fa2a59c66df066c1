"""Integers and fixed point: a uniform grid of any width."""

from dataclasses import dataclass

from taran_eo.errors import FormatError

MAX_BITS = 53


@dataclass(frozen=True)
class Integer:
    """A two's complement or unsigned integer, read as fixed point where it has fraction bits.

    Attributes:
        bits: Width, 1 to 53 (so that every value is exact in binary64), at least 2 where signed.
        signed: Two's complement, or nothing below zero.
        fraction_bits: Binary places: a code ``k`` stands for ``k * 2**-fraction_bits``.
        narrow: Leave out the most negative value, so that the range is symmetric.

    Raises:
        FormatError: A width that cannot be.

    Example:
        >>> Integer(6).largest, Integer(6).lowest, Integer(8, fraction_bits=4).largest
        (31.0, -32.0, 7.9375)
    """

    bits: int
    signed: bool = True
    fraction_bits: int = 0
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 1 + self.signed <= self.bits <= MAX_BITS:
            raise FormatError(
                f"An integer of {self.bits} bits is not possible",
                remedy=f"Take {1 + self.signed} to {MAX_BITS} bits",
                bits=self.bits,
            )
        if abs(self.fraction_bits) > 512:
            raise FormatError(
                f"{self.fraction_bits} binary places leave binary64", remedy="Take between -512 and 512 of them"
            )
        if self.narrow and not self.signed:
            raise FormatError("Only a signed integer has a most negative value", remedy="Leave out `narrow`")

    @property
    def step_exponent(self) -> int:
        """Every value is an integer multiple of ``2**step_exponent``."""
        return -self.fraction_bits

    @property
    def highest_integer(self) -> int:
        """The largest value in steps."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def lowest_integer(self) -> int:
        """The smallest value in steps."""
        return self.narrow - (1 << (self.bits - 1)) if self.signed else 0

    @property
    def largest(self) -> float:
        """The largest value."""
        return self.highest_integer * 2.0**self.step_exponent

    @property
    def lowest(self) -> float:
        """The smallest value."""
        return self.lowest_integer * 2.0**self.step_exponent

    def __str__(self) -> str:
        name = f"{'' if self.signed else 'u'}int{self.bits}"
        if self.fraction_bits:
            name += f"q{self.fraction_bits}"
        return name + ("n" if self.narrow else "")
