"""Modulation and coding: what a symbol carries, and which signal it takes to be read.

Two families: DVB-S2, of which a satellite may change the mode from frame to frame, and the codes of CCSDS, of
which a mission has one. A mode is chosen by the signal at hand; see `Coding` for who knows that signal.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ConfigError

Floats = NDArray[np.float64]

_BITS: Mapping[str, int] = MappingProxyType({"BPSK": 1, "QPSK": 2, "8PSK": 3, "16APSK": 4, "32APSK": 5})
"""Coded bits of a symbol."""

_FRAME_BITS = 64800
_HEADER_BITS = 80
_SLOT = 90
_PILOT_SLOTS, _PILOT = 16, 36
"""Normal FECFRAME and BBHEADER in bits, slot in symbols, and a block of 36 pilots after each 16 slots but the last:
EN 302 307-1 V1.4.1, clauses 5.1.6, 5.3 and 5.5."""

AMPLIFIER_LOSS_DB: Mapping[str, float] = MappingProxyType(
    {"BPSK": 0.5, "QPSK": 0.5, "8PSK": 0.6, "16APSK": 1.5, "32APSK": 2.8}
)
"""What a saturated amplifier costs each modulation, back-off and distortion together. Defaults of ours, of the size of
published simulations of DVB-S2 through a travelling-wave tube with pre-distortion: give those of your amplifier."""


class Coding(StrEnum):
    """Who decides on the mode, and when."""

    CONSTANT = "constant"
    """One mode for the whole mission: that which closes at the worst point of all passes."""
    VARIABLE = "variable"
    """By range and elevation, known beforehand: open loop, with a margin for the weather that nobody tells."""
    ADAPTIVE = "adaptive"
    """By the signal that the station measures: takes a return link, and the margin is only for the delay."""


@dataclass(frozen=True, slots=True)
class ModCod:
    """A mode: a modulation with a code.

    Attributes:
        name: As its standard writes it.
        modulation: On which the loss in the amplifier depends.
        efficiency_bit: Bits of data in a symbol, without pilots.
        pilot_efficiency_bit: Likewise, with pilots; equal where the mode has none.
        es_n0_db: Energy of a symbol over noise density that it takes, ideal receiver, white noise.
        quality: At which rate of errors.
        source: Where both figures are from.
    """

    name: str
    modulation: str
    efficiency_bit: float
    pilot_efficiency_bit: float
    es_n0_db: float
    quality: str
    source: str

    @property
    def eb_n0_db(self) -> float:
        """Energy of a bit of data over noise density that it takes."""
        return self.es_n0_db - 10.0 * math.log10(self.efficiency_bit)

    def rate_bit_s(self, symbol_rate_sym_s: float, *, pilots: bool = True) -> float:
        """Bits of data a second.

        Raises:
            ConfigError: A symbol rate that is not above 0.
        """
        _positive("symbol rate", symbol_rate_sym_s)
        return symbol_rate_sym_s * (self.pilot_efficiency_bit if pilots else self.efficiency_bit)


def symbol_rate_sym_s(bandwidth_hz: float, roll_off: float) -> float:
    """The symbol rate that fills a bandwidth: bandwidth / (1 + roll-off).

    Args:
        bandwidth_hz: The bandwidth.
        roll_off: Of the root raised cosine filter, 0 to 1; DVB-S2 has 0.20, 0.25 and 0.35.

    Raises:
        ConfigError: A bandwidth that is not above 0, or a roll-off out of range.

    Example:
        >>> symbol_rate_sym_s(135e6, 0.35)
        100000000.0
    """
    _positive("bandwidth", bandwidth_hz)
    if not 0.0 <= roll_off <= 1.0:
        raise ConfigError(
            f"A roll-off of {roll_off} is not between 0 and 1",
            remedy="Give 0.20, 0.25 or 0.35 for DVB-S2",
            roll_off=roll_off,
        )
    return bandwidth_hz / (1.0 + roll_off)


def _dvb_s2(name: str, bch_bits: int, es_n0_db: float) -> ModCod:
    modulation = name.partition(" ")[0]
    slots = _FRAME_BITS // _BITS[modulation] // _SLOT
    data = bch_bits - _HEADER_BITS
    symbols = (slots + 1) * _SLOT
    return ModCod(
        name,
        modulation,
        data / symbols,
        data / (symbols + (slots - 1) // _PILOT_SLOTS * _PILOT),
        es_n0_db,
        "quasi error free: packet error rate 1e-7",
        "EN 302 307-1 V1.4.1, tables 5a and 13, normal FECFRAME",
    )


DVB_S2 = (
    _dvb_s2("QPSK 1/4", 16008, -2.35),
    _dvb_s2("QPSK 1/3", 21408, -1.24),
    _dvb_s2("QPSK 2/5", 25728, -0.30),
    _dvb_s2("QPSK 1/2", 32208, 1.00),
    _dvb_s2("QPSK 3/5", 38688, 2.23),
    _dvb_s2("QPSK 2/3", 43040, 3.10),
    _dvb_s2("QPSK 3/4", 48408, 4.03),
    _dvb_s2("QPSK 4/5", 51648, 4.68),
    _dvb_s2("QPSK 5/6", 53840, 5.18),
    _dvb_s2("QPSK 8/9", 57472, 6.20),
    _dvb_s2("QPSK 9/10", 58192, 6.42),
    _dvb_s2("8PSK 3/5", 38688, 5.50),
    _dvb_s2("8PSK 2/3", 43040, 6.62),
    _dvb_s2("8PSK 3/4", 48408, 7.91),
    _dvb_s2("8PSK 5/6", 53840, 9.35),
    _dvb_s2("8PSK 8/9", 57472, 10.69),
    _dvb_s2("8PSK 9/10", 58192, 10.98),
    _dvb_s2("16APSK 2/3", 43040, 8.97),
    _dvb_s2("16APSK 3/4", 48408, 10.21),
    _dvb_s2("16APSK 4/5", 51648, 11.03),
    _dvb_s2("16APSK 5/6", 53840, 11.61),
    _dvb_s2("16APSK 8/9", 57472, 12.89),
    _dvb_s2("16APSK 9/10", 58192, 13.13),
    _dvb_s2("32APSK 3/4", 48408, 12.73),
    _dvb_s2("32APSK 4/5", 51648, 13.64),
    _dvb_s2("32APSK 5/6", 53840, 14.28),
    _dvb_s2("32APSK 8/9", 57472, 15.69),
    _dvb_s2("32APSK 9/10", 58192, 16.05),
)
"""All modes of DVB-S2 with normal frames."""


def _ccsds(modulation: str, code: str, code_rate: float, eb_n0_db: float, quality: str, source: str) -> ModCod:
    efficiency = _BITS[modulation] * code_rate
    es_n0_db = eb_n0_db + 10.0 * math.log10(efficiency)
    return ModCod(f"{modulation} {code}", modulation, efficiency, efficiency, es_n0_db, quality, source)


_RS = 223 / 255
_WORDS = "codeword error rate 1e-4"
_CURVES = "approximate to 0.3 dB, after the curves of CCSDS 130.1-G; checked against the capacity only"
_CODES = (
    ("uncoded", 1.0, 9.59, "bit error rate 1e-5", "exact: Q(sqrt(2 Eb/N0))"),
    ("RS(255,223)", _RS, 6.39, _WORDS, "exact: more than 16 of 255 symbols wrong, CCSDS 130.1-G-2, section 5"),
    ("convolutional 1/2", 0.5, 4.2, "bit error rate 1e-5", "union bound over the weights of CCSDS 131.0-B, section 3"),
    ("convolutional 1/2 + RS(255,223)", 0.5 * _RS, 2.4, _WORDS, "simulated, interleaving depth 5, unquantized Viterbi"),
    ("turbo 1/2", 0.5, 1.1, "frame error rate 1e-4, 8920 bits", _CURVES),
    ("LDPC 1/2", 0.5, 1.1, "frame error rate 1e-4, 16384 bits", _CURVES),
    ("LDPC 2/3", 2 / 3, 1.8, "frame error rate 1e-4, 16384 bits", _CURVES),
    ("LDPC 4/5", 4 / 5, 2.7, "frame error rate 1e-4, 16384 bits", _CURVES),
    ("LDPC 7/8", 7136 / 8160, 3.9, "frame error rate 1e-4, 7136 bits", _CURVES),
)
"""Code, rate, Eb/N0 that it takes, at which quality, and the source of the latter two."""

CCSDS = tuple(_ccsds(modulation, *code) for modulation in ("BPSK", "QPSK") for code in _CODES)
"""The codes of CCSDS 131.0-B-5. Their check symbols are counted here and not again in the frames; OQPSK is as QPSK."""

CCSDS_WHOLE_FRAMES = tuple(mode for mode in CCSDS if not mode.quality.startswith("bit"))
"""Those of them that a mode may be chosen from: where one bit of 100,000 is wrong, so is every twelfth frame."""

FAMILIES: Mapping[str, tuple[ModCod, ...]] = MappingProxyType({"dvb-s2": DVB_S2, "ccsds": CCSDS})
"""Modes that one transmitter and receiver share."""


def named(name: str) -> ModCod:
    """The mode of a name, as ``QPSK 1/2``.

    Raises:
        ConfigError: There is none; the nearest are named.
    """
    known = {mode.name: mode for family in FAMILIES.values() for mode in family}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise ConfigError(
            f"There is no modulation and coding {name!r}", remedy=f"Name one such as {', '.join(near)}", modcod=name
        )
    return known[name]


def best_modcod(
    es_n0_db: float,
    margin_db: float = 0.0,
    modcods: Sequence[ModCod] = DVB_S2,
    losses_db: Mapping[str, float] = AMPLIFIER_LOSS_DB,
) -> ModCod | None:
    """The mode that carries most of those that close; of several that carry as much, the sturdiest.

    Args:
        es_n0_db: Symbol energy over noise density with the amplifier saturated.
        margin_db: What is to be left over.
        modcods: The modes to choose from.
        losses_db: What the amplifier takes off for each modulation.

    Returns:
        The mode; None where not even the sturdiest closes.

    Example:
        >>> best_modcod(8.0, 1.0).name
        'QPSK 9/10'
        >>> best_modcod(-5.0) is None
        True
    """
    closing = [mode for mode in modcods if mode.es_n0_db + losses_db[mode.modulation] + margin_db <= es_n0_db]
    return max(closing, key=lambda mode: (mode.efficiency_bit, -mode.es_n0_db), default=None)


def best_modcods(
    es_n0_db: Floats,
    margin_db: float = 0.0,
    modcods: Sequence[ModCod] = DVB_S2,
    losses_db: Mapping[str, float] = AMPLIFIER_LOSS_DB,
) -> NDArray[np.int64]:
    """`best_modcod` for many signals at once.

    Returns:
        int64 in the shape given: the place of the mode in `modcods`, -1 where none closes.
    """
    # Only modes that no sturdier one outdoes are ever chosen: along them, needs and carries grow together.
    needs = np.array([mode.es_n0_db + losses_db[mode.modulation] + margin_db for mode in modcods])
    carries = np.array([mode.efficiency_bit for mode in modcods])
    order = np.lexsort((-carries, needs))
    leads = carries[order] > np.maximum.accumulate(np.append(-np.inf, carries[order][:-1]))
    ladder = order[leads]
    rungs = np.searchsorted(needs[ladder], es_n0_db, side="right")
    result: NDArray[np.int64] = np.append(-1, ladder)[rungs]
    return result


def _positive(what: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ConfigError(f"A {what} of {value} is not above 0", remedy=f"Give a {what} above 0", value=value)
