"""LEB128: whole numbers as bytes of seven bits, lowest first; the top bit says that more follow.

Source: DWARF Debugging Information Format, version 4, section 7.6 (unsigned LEB128).
"""

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import CorruptDataError

LONGEST = 5
"""Bytes of the longest number that we write: 35 bits, more than any count of pixels or bytes here."""

_REMEDY = "Fetch the data again; if it stays so, it was not written by taran_eo"


def encode(values: NDArray[np.int64]) -> bytes:
    """The bytes of whole numbers from 0 to 2**35 - 1, one after the other.

    Args:
        values: int64[count].
    """
    numbers = np.asarray(values, dtype=np.int64).reshape(-1, 1)
    septets = (numbers >> (7 * np.arange(LONGEST))) & 0x7F
    needed = np.ones(septets.shape, dtype=bool)
    needed[:, 1:] = numbers >> (7 * np.arange(1, LONGEST)) > 0
    septets[:, :-1] |= np.where(needed[:, 1:], 0x80, 0)
    return septets[needed].astype(np.uint8).tobytes()


def decode(data: bytes) -> NDArray[np.int64]:
    """The whole numbers that `encode` wrote, int64[count].

    Raises:
        CorruptDataError: A number that is cut off or longer than five bytes.
    """
    septets = np.frombuffer(data, dtype=np.uint8)
    if septets.size == 0:
        return np.zeros(0, dtype=np.int64)
    stops = np.flatnonzero(septets < 0x80) + 1
    if stops.size == 0 or stops[-1] != septets.size:
        raise CorruptDataError("A LEB128 number is cut off at the end of the data", remedy=_REMEDY)
    starts = np.concatenate([[0], stops[:-1]])
    lengths = stops - starts
    if lengths.max() > LONGEST:
        raise CorruptDataError(
            f"A LEB128 number takes {lengths.max()} bytes, more than the {LONGEST} that are ever needed",
            remedy=_REMEDY,
        )
    place = np.arange(septets.size) - np.repeat(starts, lengths)
    return np.add.reduceat((septets & 0x7F).astype(np.int64) << (7 * place), starts)


def read_one(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at byte `position`, and the position behind it.

    Raises:
        CorruptDataError: The number is cut off or longer than five bytes.
    """
    value = 0
    for place, septet in enumerate(data[position : position + LONGEST]):
        value |= (septet & 0x7F) << (7 * place)
        if septet < 0x80:
            return value, position + place + 1
    raise CorruptDataError(f"No LEB128 number at byte {position} of {len(data)}", remedy=_REMEDY)
