"""Small floating-point formats of any split, up to 16 bits."""

from dataclasses import dataclass
from typing import Literal

from taran_eo.errors import FormatError

Specials = Literal["none", "ocp", "ieee"]
"""Which codes are not numbers: ``none`` of them; ``ocp``: the one with all exponent and mantissa bits set is NaN
(as in FP8 E4M3); ``ieee``: the top exponent holds infinity (mantissa 0) and NaN."""

MAX_BITS = 16


@dataclass(frozen=True)
class MiniFloat:
    """A floating-point format: sign, exponent and mantissa, from the highest bit to the lowest.

    A code with exponent field ``E`` and mantissa field ``M`` stands for ``2**(E - bias) * (1 + M / 2**m)``, and
    with ``E == 0`` for ``2**(1 - bias) * (M / 2**m)``, or for zero where the format has no subnormals.

    Attributes:
        exponent_bits: At least 1.
        mantissa_bits: Stored mantissa bits, 0 or more.
        signed: Whether there is a sign bit. An unsigned format holds nothing below zero.
        bias: Exponent bias; None is the customary ``2**(exponent_bits - 1) - 1``.
        subnormals: Whether exponent field 0 holds subnormal numbers.
        specials: Which codes are infinity or NaN.

    Raises:
        FormatError: More than 16 bits, no exponent, or values beyond binary64, in which all of them are exact.

    Source:
        IEEE 754-2019, clause 3.3; OCP Microscaling Formats (MX) Specification 1.0, section 5.3.

    Example:
        >>> MiniFloat(2, 3).largest, MiniFloat(2, 3).smallest
        (7.5, 0.125)
    """

    exponent_bits: int
    mantissa_bits: int
    signed: bool = True
    bias: int | None = None
    subnormals: bool = True
    specials: Specials = "none"

    def __post_init__(self) -> None:
        if self.exponent_bits < 1 or self.mantissa_bits < 0:
            raise FormatError(
                f"A minifloat of {self.exponent_bits} exponent and {self.mantissa_bits} mantissa bits does not exist",
                remedy="Give at least 1 exponent bit; without an exponent it is an Integer",
            )
        if self.bits > MAX_BITS:
            raise FormatError(
                f"{self.bits} bits are more than the {MAX_BITS} that a minifloat may have",
                remedy="Take fewer exponent or mantissa bits",
                bits=self.bits,
            )
        if (self.specials == "ieee" and self.exponent_bits < 2) or self.largest_magnitude_code < 1:
            raise FormatError(
                f"With {self.specials} specials {self.exponent_bits} exponent bits leave no normal numbers",
                remedy="Take more exponent bits or other specials",
            )
        if self.bias is None:
            # Frozen, and equal by its fields: the customary bias must be the same value given or not.
            object.__setattr__(self, "bias", 2 ** (self.exponent_bits - 1) - 1)
        # Midpoints lie one binary place below the smallest step.
        if self.step_exponent - 1 < -1074 or self.top_exponent > 1023:
            raise FormatError(
                f"Values from 2**{self.step_exponent} to 2**{self.top_exponent} are not all exact in binary64",
                remedy="Take fewer exponent bits or another bias",
            )

    @property
    def exponent_bias(self) -> int:
        """The bias as a number."""
        assert self.bias is not None  # noqa: S101 - set in __post_init__
        return self.bias

    @property
    def magnitude_bits(self) -> int:
        """Bits of a code below the sign."""
        return self.exponent_bits + self.mantissa_bits

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.magnitude_bits + self.signed

    @property
    def largest_magnitude_code(self) -> int:
        """The magnitude code of the largest finite value."""
        match self.specials:
            case "none":
                return (1 << self.magnitude_bits) - 1
            case "ocp":
                return (1 << self.magnitude_bits) - 2
            case "ieee":
                return (((1 << self.exponent_bits) - 1) << self.mantissa_bits) - 1

    @property
    def step_exponent(self) -> int:
        """Every finite value is an integer multiple of ``2**step_exponent``."""
        return 1 - self.exponent_bias - self.mantissa_bits

    @property
    def top_exponent(self) -> int:
        """The binade of the largest finite value."""
        return (self.largest_magnitude_code >> self.mantissa_bits) - self.exponent_bias

    @property
    def largest(self) -> float:
        """The largest finite value."""
        return self.magnitude(self.largest_magnitude_code)

    @property
    def lowest(self) -> float:
        """The smallest finite value: below zero where there is a sign."""
        return -self.largest if self.signed else 0.0

    @property
    def smallest(self) -> float:
        """The smallest value above zero."""
        return self.magnitude(1 if self.subnormals else 2**self.mantissa_bits)

    def magnitude(self, code: int) -> float:
        """The value of a finite code without its sign bit."""
        field, mantissa = code >> self.mantissa_bits, code & (2**self.mantissa_bits - 1)
        if field == 0:
            return float(mantissa * 2.0**self.step_exponent) if self.subnormals else 0.0
        return float((2**self.mantissa_bits + mantissa) * 2.0 ** (field - 1 + self.step_exponent))

    def __str__(self) -> str:
        name = f"{'' if self.signed else 'u'}e{self.exponent_bits}m{self.mantissa_bits}"
        if self.bias != 2 ** (self.exponent_bits - 1) - 1:
            name += f"b{self.bias}"
        if not self.subnormals:
            name += "z"
        return name + {"none": "", "ocp": "fn", "ieee": "i"}[self.specials]
