"""The Reed-Solomon code (255, 223) of CCSDS 131.0-B, all codewords of a batch at once.

It corrects 16 wrong symbols of 8 bits in a codeword. Symbols go in and out as they are on the wire, in the dual basis
of Berlekamp; the arithmetic is in the conventional basis, and both changes of basis are linear over bits, as are the
check symbols, the syndromes and the values of a polynomial. So each of those is one table, looked up symbol by symbol
and summed by exclusive or, with the changes of basis folded in.

Source: CCSDS 131.0-B-5, section 4 and annex F.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

FIELD = 0x187
"""The field generator x^8 + x^7 + x^2 + x + 1 (CCSDS 131.0-B-5, 4.3.3)."""

STEP = 11
"""The code's roots are powers of alpha^11 (4.3.4)."""

FIRST_ROOT = 112
"""The roots are (alpha^11)^j for j = 112 to 143 (4.3.4)."""

CHECKS = 32
"""Check symbols of a codeword."""

MOST_ERRORS = CHECKS // 2
"""Wrong symbols that can be corrected, E."""

LONGEST = 255
"""Symbols of a codeword; shorter ones are as if they began with zeros (virtual fill, 4.3.7)."""

DUAL_STEP = 117
"""Bit i of the dual basis, the highest being bit 0, is the trace of the symbol times alpha^(117 i) (annex F)."""

_BATCH = 2048
"""Codewords that are looked up together: their sums stay within the processor's cache."""


def _powers() -> NDArray[np.uint8]:
    """Powers 0 to 254 of alpha, uint8[255]."""
    powers = np.empty(LONGEST, dtype=np.uint8)
    value = 1
    for exponent in range(LONGEST):
        powers[exponent] = value
        value = value << 1 ^ (FIELD if value & 0x80 else 0)
    return powers


_ALPHA = _powers()
POWERS = _ALPHA[np.arange(LONGEST) * STEP % LONGEST]
"""Powers 0 to 254 of alpha^11, which generates the field as well, uint8[255]; all exponents below are of this one."""

_LOGARITHMS = np.argsort(np.concatenate([[0], POWERS]))[1:] - 1  # of 1 to 255
_SYMBOLS = np.arange(256, dtype=np.uint8)


def _table_of_products() -> NDArray[np.uint8]:
    products = np.zeros((256, 256), dtype=np.uint8)
    products[1:, 1:] = POWERS[(_LOGARITHMS[:, None] + _LOGARITHMS) % LONGEST]
    return products


PRODUCTS = _table_of_products()
"""Products of all symbols in the conventional basis, uint8[256, 256]."""

_PRODUCTS_IN_LINE = PRODUCTS.ravel()

INVERSES = np.concatenate([[0], POWERS[-_LOGARITHMS % LONGEST]]).astype(np.uint8)
"""The inverse of each symbol, and 0 for 0, uint8[256]."""


def _dual() -> NDArray[np.uint8]:
    dual = np.zeros(256, dtype=np.uint8)
    for bit in range(8):
        power = PRODUCTS[_SYMBOLS, _ALPHA[DUAL_STEP * bit % LONGEST]]
        trace = np.zeros(256, dtype=np.uint8)
        for _ in range(8):
            trace ^= power
            power = PRODUCTS[power, power]
        dual |= trace << (7 - bit)
    return dual


TO_DUAL = _dual()
"""Each symbol of the conventional basis in the dual one, uint8[256]."""

FROM_DUAL = np.argsort(TO_DUAL).astype(np.uint8)
"""Each symbol of the dual basis in the conventional one, uint8[256]."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What became of received codewords.

    Attributes:
        codewords: uint8[count, symbols]; those that could not be corrected are as they came.
        errors: int64[count], symbols that were wrong; 0 where that is not known.
        valid: bool[count], False where more was wrong than the code corrects.
    """

    codewords: NDArray[np.uint8]
    errors: NDArray[np.int64]
    valid: NDArray[np.bool_]


def _times(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`PRODUCTS` of two arrays, three times as fast as by two indices."""
    return _PRODUCTS_IN_LINE.take(left.astype(np.uint16) << 8 | right)


def check_symbols(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The check symbols uint8[count, 32] of data uint8[count, 1 to 223], both in the dual basis."""
    return _sum(_check_table()[-data.shape[1] :], data)


def correct(received: NDArray[np.uint8]) -> Corrected:
    """Correct codewords of up to 16 wrong symbols; more are mostly, not always, recognized.

    Args:
        received: uint8[count, 33 to 255] in the dual basis, the check symbols last.
    """
    remainders = check_symbols(received[:, :-CHECKS]) ^ received[:, -CHECKS:]
    errors = np.zeros(len(received), dtype=np.int64)
    valid: NDArray[np.bool_] = ~np.any(remainders, axis=1)
    codewords = received.copy()
    for start in range(0, len(received), _BATCH):
        damaged = start + np.flatnonzero(~valid[start : start + _BATCH])
        if damaged.size:
            wrong = _errors(_sum(_syndrome_table(), remainders[damaged]), received.shape[1])
            mended = received[damaged] ^ wrong
            sound = (check_symbols(mended[:, :-CHECKS]) == mended[:, -CHECKS:]).all(axis=1)
            mended_at = damaged[sound]
            codewords[mended_at] = mended[sound]
            errors[mended_at] = np.count_nonzero(wrong[sound], axis=1)
            valid[mended_at] = True
    return Corrected(codewords, errors, valid)


def _errors(syndromes: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """What to add to codewords of these syndromes, uint8[count, length] in the dual basis; zeros where nobody knows.

    Args:
        syndromes: uint8[count, 32], the received polynomial at each root of the code.
        length: Symbols of a codeword.
    """
    locator, degree = _locator(syndromes)
    # The evaluator: the product of syndromes and locator, its lowest 16 coefficients.
    evaluator = np.zeros((len(syndromes), MOST_ERRORS), dtype=np.uint8)
    for power in range(MOST_ERRORS):
        evaluator[:, power:] ^= _times(locator[:, power, None], syndromes[:, : MOST_ERRORS - power])
    table = _value_table()
    at = _sum(table, locator)[:, :LONGEST] == 0
    # Forney: the error at X is X^(1 - 112) evaluator(1/X) / locator'(1/X); the odd terms of the locator are
    # locator'(1/X) / X.
    odd = _sum(table[1::2], locator[:, 1::2])[:, :LONGEST]
    value = _sum(table[:MOST_ERRORS], evaluator)[:, :LONGEST]
    known = (degree <= MOST_ERRORS) & (at.sum(axis=1) == degree) & ~at[:, : LONGEST - length].any(axis=1)
    word, place = np.nonzero(at & known[:, None])
    shift = POWERS[-FIRST_ROOT * (LONGEST - 1 - place) % LONGEST]
    found = PRODUCTS[PRODUCTS[value[word, place], INVERSES[odd[word, place]]], shift]
    errors = np.zeros((len(syndromes), LONGEST), dtype=np.uint8)
    errors[word, place] = TO_DUAL[found]
    return errors[:, LONGEST - length :]


def _locator(syndromes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The error locator polynomials, uint8[count, 17] lowest coefficient first, and their degrees, int64[count].

    Where the degree is above 16 nothing can be corrected, and the coefficients mean nothing.

    Source: J. L. Massey, Shift-register synthesis and BCH decoding, IEEE Transactions on Information Theory 15 (1969).
    """
    count = len(syndromes)
    locator = np.zeros((count, MOST_ERRORS + 1), dtype=np.uint8)
    locator[:, 0] = 1
    before = locator.copy()  # the last locator of a lower degree, over its discrepancy, times x at each step
    degree = np.zeros(count, dtype=np.int64)
    for step in range(CHECKS):
        terms = min(step, MOST_ERRORS) + 1
        window = syndromes[:, step - terms + 1 : step + 1][:, ::-1]
        discrepancy = np.bitwise_xor.reduce(_times(locator[:, :terms], window), axis=1)
        before[:, 1:] = before[:, :-1].copy()
        before[:, 0] = 0
        if not discrepancy.any():
            continue
        grows = (discrepancy != 0) & (2 * degree <= step)
        next_locator = locator ^ _times(before, discrepancy[:, None])
        before[grows] = _times(locator[grows], INVERSES[discrepancy[grows], None])
        locator = next_locator
        degree = np.where(grows, step + 1 - degree, degree)
    return locator, degree


def _sum(table: NDArray[np.uint64], symbols: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """For each row of symbols, what the table says of each at its place, summed.

    Args:
        table: uint64[places, 256, words].
        symbols: uint8[count, places].

    Returns:
        uint8[count, 8 * words].
    """
    count, places = symbols.shape
    words = table.shape[2]
    sums = np.zeros((count, words), dtype=np.uint64)
    term = np.empty((min(count, _BATCH), words), dtype=np.uint64)
    for start in range(0, count, _BATCH):
        batch = sums[start : start + _BATCH]
        looked_up = term[: len(batch)]
        index = symbols[start : start + _BATCH].T.astype(np.intp)
        for place in range(places):
            np.take(table[place], index[place], axis=0, out=looked_up, mode="clip")
            batch ^= looked_up
    return sums.view(np.uint8)


def _words(table: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(table).view(np.uint64)


@cache
def _check_table() -> NDArray[np.uint64]:
    """The check symbols that a symbol at each place asks for, uint64[223, 256, 4], dual basis in and out."""
    generator = np.zeros(CHECKS + 1, dtype=np.uint8)  # highest coefficient first
    generator[0] = 1
    for root in range(FIRST_ROOT, FIRST_ROOT + CHECKS):
        generator[1:] ^= PRODUCTS[generator[:-1], POWERS[root % LONGEST]]
    table = np.empty((LONGEST - CHECKS, 256, CHECKS), dtype=np.uint8)
    # x^32 leaves the generator without its highest term; each place further left multiplies by x once more.
    remainder = generator[1:]
    for place in range(LONGEST - CHECKS - 1, -1, -1):
        table[place] = TO_DUAL[PRODUCTS[FROM_DUAL[:, None], remainder]]
        carried = PRODUCTS[remainder[0], generator[1:]]
        remainder = np.append(remainder[1:], np.uint8(0)) ^ carried
    return _words(table)


@cache
def _syndrome_table() -> NDArray[np.uint64]:
    """What a symbol of the remainder adds to the syndromes, uint64[32, 256, 4], from the dual to the conventional."""
    powers = np.arange(CHECKS - 1, -1, -1)[:, None] * (FIRST_ROOT + np.arange(CHECKS))
    return _words(PRODUCTS[FROM_DUAL[:, None], POWERS[powers % LONGEST][:, None, :]])


@cache
def _value_table() -> NDArray[np.uint64]:
    """What a coefficient adds to the values of its polynomial, uint64[17, 256, 32], in the conventional basis.

    Byte n of a value is that at 1/X where X = (alpha^11)^(254 - n) stands for place n of a codeword; byte 255 is fill.
    """
    powers = np.arange(MOST_ERRORS + 1)[:, None] * np.arange(1, LONGEST + 1)
    table = np.zeros((MOST_ERRORS + 1, 256, 256), dtype=np.uint8)
    table[:, :, :LONGEST] = PRODUCTS[_SYMBOLS[:, None], POWERS[powers % LONGEST][:, None, :]]
    return _words(table)
