"""Modes: the published tables, bounds of theory, and the choice among them."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taran_eo.downlink.modcod import CCSDS, DVB_S2, FAMILIES, best_modcod, best_modcods, named, symbol_rate_sym_s
from taran_eo.errors import ConfigError

# EN 302 307-1 V1.4.1, table 13: Es/N0 in dB and spectral efficiency, normal FECFRAME, no pilots.
TABLE_13 = {
    "QPSK 1/4": (-2.35, 0.490243),
    "QPSK 1/3": (-1.24, 0.656448),
    "QPSK 2/5": (-0.30, 0.789412),
    "QPSK 1/2": (1.00, 0.988858),
    "QPSK 3/5": (2.23, 1.188304),
    "QPSK 2/3": (3.10, 1.322253),
    "QPSK 3/4": (4.03, 1.487473),
    "QPSK 4/5": (4.68, 1.587196),
    "QPSK 5/6": (5.18, 1.654663),
    "QPSK 8/9": (6.20, 1.766451),
    "QPSK 9/10": (6.42, 1.788612),
    "8PSK 3/5": (5.50, 1.779991),
    "8PSK 2/3": (6.62, 1.980636),
    "8PSK 3/4": (7.91, 2.228124),
    "8PSK 5/6": (9.35, 2.478562),
    "8PSK 8/9": (10.69, 2.646012),
    "8PSK 9/10": (10.98, 2.679207),
    "16APSK 2/3": (8.97, 2.637201),
    "16APSK 3/4": (10.21, 2.966728),
    "16APSK 4/5": (11.03, 3.165623),
    "16APSK 5/6": (11.61, 3.300184),
    "16APSK 8/9": (12.89, 3.523143),
    "16APSK 9/10": (13.13, 3.567342),
    "32APSK 3/4": (12.73, 3.703295),
    "32APSK 4/5": (13.64, 3.951571),
    "32APSK 5/6": (14.28, 4.119540),
    "32APSK 8/9": (15.69, 4.397854),
    "32APSK 9/10": (16.05, 4.453027),
}
BY_NAME = {mode.name: mode for family in FAMILIES.values() for mode in family}


def test_dvb_s2_is_table_13():
    assert [mode.name for mode in DVB_S2] == list(TABLE_13)
    for mode in DVB_S2:
        es_n0_db, efficiency_bit = TABLE_13[mode.name]
        assert mode.es_n0_db == es_n0_db
        assert mode.efficiency_bit == pytest.approx(efficiency_bit, abs=6e-7)


@pytest.mark.parametrize(
    ("name", "plain", "piloted"),
    [
        ("QPSK 1/2", 32490, 33282),
        ("8PSK 3/4", 21690, 22194),
        ("16APSK 3/4", 16290, 16686),
        ("32APSK 4/5", 13050, 13338),
    ],
)
def test_pilots_lengthen_the_frame_as_in_other_implementations(name, plain, piloted):
    """Symbols of a physical frame, as in the tables of GNU Radio's gr-dtv."""
    mode = BY_NAME[name]
    assert mode.efficiency_bit / mode.pilot_efficiency_bit == pytest.approx(piloted / plain, rel=1e-12)
    assert mode.rate_bit_s(1e6) < mode.rate_bit_s(1e6, pilots=False) == 1e6 * mode.efficiency_bit


@pytest.mark.parametrize("mode", BY_NAME.values(), ids=lambda mode: mode.name)
def test_no_mode_beats_shannon(mode):
    assert mode.es_n0_db > 10.0 * math.log10(2.0**mode.efficiency_bit - 1.0)


def capacity(es_n0_db):
    """Bits that a symbol of +1 or -1 can carry through white noise, by quadrature."""
    snr = 2.0 * 10.0 ** (es_n0_db / 10.0)
    z = np.linspace(-9.0, 9.0, 4001)
    density = np.exp(-(z**2) / 2.0) / math.sqrt(2.0 * math.pi)
    lost = np.logaddexp(0.0, -2.0 * (snr + math.sqrt(snr) * z)) / math.log(2.0)
    return 1.0 - float((density * lost).sum() * (z[1] - z[0]))


MODERN = [
    *(mode for mode in CCSDS if "turbo" in mode.name or "LDPC" in mode.name),
    *(mode for mode in DVB_S2 if mode.modulation == "QPSK"),
]


@pytest.mark.parametrize("mode", MODERN, ids=lambda mode: mode.name)
def test_modern_codes_come_near_the_capacity(mode):
    """The one check on those that are only approximate: a quarter to 1.6 decibels away."""
    bits = 1 if mode.modulation == "BPSK" else 2
    each_db = mode.es_n0_db - 10.0 * math.log10(bits)
    rate = mode.efficiency_bit / bits
    assert capacity(each_db - 1.6) < rate < capacity(each_db - 0.25)


def bit_errors(eb_n0_db, rate=1.0):
    return NormalDist().cdf(-math.sqrt(2.0 * rate * 10.0 ** (eb_n0_db / 10.0)))


@pytest.mark.parametrize("modulation", ["BPSK", "QPSK"])
def test_ccsds_modes_take_what_theory_says(modulation):
    uncoded = BY_NAME[f"{modulation} uncoded"]
    assert bit_errors(uncoded.eb_n0_db) == pytest.approx(1e-5, rel=0.02)

    # More than 16 of 255 symbols of 8 bits wrong: the decoder of RS(255,223) gives up.
    wrong = 1.0 - (1.0 - bit_errors(BY_NAME[f"{modulation} RS(255,223)"].eb_n0_db, 223 / 255)) ** 8
    lost = sum(math.comb(255, n) * wrong**n * (1.0 - wrong) ** (255 - n) for n in range(17, 256))
    assert lost == pytest.approx(1e-4, rel=0.05)

    # Bit errors by weight of the code (171, 133): the distance spectrum that is tabulated for it everywhere.
    weights = {10: 36, 12: 211, 14: 1404, 16: 11633, 18: 77433, 20: 502690}
    eb_n0_db = BY_NAME[f"{modulation} convolutional 1/2"].eb_n0_db
    bound = sum(
        count * NormalDist().cdf(-math.sqrt(weight * 10.0 ** (eb_n0_db / 10.0))) for weight, count in weights.items()
    )
    assert bound == pytest.approx(1e-5, rel=0.2)


def test_better_codes_take_less():
    eb_n0_db = {mode.name.partition(" ")[2]: mode.eb_n0_db for mode in CCSDS}
    order = ["uncoded", "RS(255,223)", "convolutional 1/2", "LDPC 7/8", "LDPC 4/5", "convolutional 1/2 + RS(255,223)"]
    assert sorted(order, key=eb_n0_db.__getitem__, reverse=True) == order


@given(
    es_n0_db=st.lists(st.floats(-20, 40), min_size=1, max_size=8),
    margin_db=st.floats(0, 10),
    family=st.sampled_from(sorted(FAMILIES)),
    apsk_db=st.floats(0, 6),
)
def test_many_choices_at_once_are_the_single_ones(es_n0_db, margin_db, family, apsk_db):
    modcods = FAMILIES[family]
    losses = {"BPSK": 0.0, "QPSK": 0.1, "8PSK": 0.5, "16APSK": apsk_db, "32APSK": 2 * apsk_db}
    many = best_modcods(np.array(es_n0_db), margin_db, modcods, losses)
    for place, signal in zip(many.tolist(), es_n0_db, strict=True):
        single = best_modcod(signal, margin_db, modcods, losses)
        if single is None:
            assert place == -1
        else:
            # Two modes may carry the same; then either is right.
            assert modcods[place].efficiency_bit == single.efficiency_bit


@given(low=st.floats(-10, 30), more=st.floats(0, 10))
def test_more_signal_never_carries_less(low, more):
    def carried(signal):
        mode = best_modcod(signal)
        return 0.0 if mode is None else mode.efficiency_bit

    assert carried(low) <= carried(low + more)


def test_the_amplifier_and_the_margin_count():
    linear = dict.fromkeys(("QPSK", "8PSK", "16APSK", "32APSK"), 0.0)
    assert best_modcod(16.05, 0.0, DVB_S2, linear).name == "32APSK 9/10"
    assert best_modcod(16.05, 0.0).name == "32APSK 3/4"
    assert best_modcod(16.05, 6.0, DVB_S2, linear).name == "16APSK 2/3"
    assert best_modcod(-2.36, 0.0, DVB_S2, linear) is None


def test_refusals_name_the_value():
    with pytest.raises(ConfigError, match=r"no modulation and coding 'QPSK 5/8'.*QPSK 5/6"):
        named("QPSK 5/8")
    with pytest.raises(ConfigError, match=r"symbol rate of -1\.0 is not above 0"):
        DVB_S2[0].rate_bit_s(-1.0)
    with pytest.raises(ConfigError, match="bandwidth of nan"):
        symbol_rate_sym_s(math.nan, 0.2)
    with pytest.raises(ConfigError, match=r"roll-off of 1\.5"):
        symbol_rate_sym_s(1e6, 1.5)
