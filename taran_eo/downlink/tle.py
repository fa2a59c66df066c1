"""The text of two-line element sets: what a line may hold, and its checksum."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from taran_eo.errors import CorruptDataError

_LENGTH = 69
_LINES: Mapping[int, re.Pattern[str]] = MappingProxyType(
    {
        1: re.compile(
            r"1 [A-Z0-9 ]{5}[UCS ] .{8} \d\d[ \d]\d\d\.\d{8} [ +-]\.\d{8} [ +-]\d{5}[+-]\d [ +-]\d{5}[+-]\d [\d ] "
            r"[ \d]{4}\d"
        ),
        2: re.compile(
            r"2 [A-Z0-9 ]{5} [ \d]{3}\.\d{4} [ \d]{3}\.\d{4} [ \d]{7} [ \d]{3}\.\d{4} [ \d]{3}\.\d{4} "
            r"[ \d]\d\.\d{8}[ \d]{5}\d"
        ),
    }
)
"""The columns of both lines (CelesTrak, NORAD Two-Line Element Set Format; catalogue numbers may be Alpha-5)."""
COPY = "Copy the element set again from its source, with all 69 characters of both lines"


def checksum(line: str) -> int:
    """The last digit of a line of a TLE: the sum of its digits, with 1 for each minus sign, modulo 10."""
    return sum(int(letter) if letter.isdigit() else letter == "-" for letter in line[: _LENGTH - 1]) % 10


def check_line(number: int, line: str) -> None:
    """Refuse what is no line of a TLE.

    Args:
        number: Which of both lines it should be, 1 or 2.
        line: The line, without its end.

    Raises:
        CorruptDataError: It is too short or too long, a column holds what it should not, or the checksum is wrong.
    """
    if len(line) != _LENGTH:
        raise CorruptDataError(
            f"Line {number} of the TLE has {len(line)} characters instead of {_LENGTH}",
            remedy=COPY,
            line=number,
            length=len(line),
        )
    if not _LINES[number].fullmatch(line):
        raise CorruptDataError(
            f"Line {number} of the TLE has a column that it should not have: {line!r}", remedy=COPY, line=number
        )
    expected, found = checksum(line), int(line[-1])
    if expected != found:
        raise CorruptDataError(
            f"Line {number} of the TLE ends with the checksum {found}, but its characters add up to {expected}",
            remedy=COPY,
            line=number,
            expected=expected,
            found=found,
        )


def angle(degrees: float) -> str:
    """An angle in its eight columns; what rounds to 360 is 0."""
    return f"{round(degrees % 360.0, 4) % 360.0:8.4f}"
