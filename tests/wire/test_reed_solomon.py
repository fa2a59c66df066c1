"""The Reed-Solomon code of CCSDS: its algebra, a slow peer, and its promise of 16 symbols."""

import numpy as np
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo.wire.reed_solomon import FROM_DUAL, TO_DUAL, check_symbols, correct

PEER = reedsolo.RSCodec(32, fcr=112, prim=0x187, generator=0xAD)


def codewords(rng, count, data_symbols=223):
    data = rng.integers(0, 256, (count, data_symbols), dtype=np.uint8)
    return np.hstack([data, check_symbols(data)])


def product(left, right):
    """Of two symbols, bit by bit: x^8 = x^7 + x^2 + x + 1."""
    result = 0
    for bit in range(8):
        result ^= left * (right >> bit & 1)
        left = left << 1 ^ (0x187 if left & 0x80 else 0)
    return result


def power(value, exponent):
    result = 1
    for _ in range(exponent):
        result = product(result, value)
    return result


def test_the_dual_basis_is_the_published_one():
    # CCSDS 131.0-B-5, annex F: the rows of both matrices, highest bit first.
    assert [TO_DUAL[0x80 >> bit] for bit in range(8)] == [0x8D, 0xEF, 0xEC, 0x86, 0xFA, 0x99, 0xAF, 0x7B]
    assert [FROM_DUAL[0x80 >> bit] for bit in range(8)] == [0xC5, 0x42, 0x2E, 0xFD, 0xF0, 0x79, 0xAC, 0xCC]
    # And the beginning of the table that libfec, the usual implementation, is distributed with.
    assert bytes(TO_DUAL[:16]).hex() == "007bafd499e2364dfa81552e6318ccb7"
    np.testing.assert_array_equal(FROM_DUAL[TO_DUAL], np.arange(256))


def test_the_bases_are_dual():
    """The trace of basis element i times alpha^(117 j) is 1 where i = j, else 0; a trace is 0 or 1."""
    for i in range(8):
        element = int(FROM_DUAL[0x80 >> i])
        for j in range(8):
            term = product(element, power(2, 117 * j % 255))
            trace = 0
            for _ in range(8):
                trace ^= term
                term = product(term, term)
            assert trace == (i == j)


def test_codewords_vanish_at_the_roots_of_the_standard():
    """CCSDS 131.0-B-5, 4.3.4: at alpha^(11 j) for j = 112 to 143, by Horner's rule and slow products."""
    word = FROM_DUAL[codewords(np.random.default_rng(1), 1)[0]].tolist()
    for j in range(110, 146):
        root = power(2, 11 * j % 255)
        value = 0
        for symbol in word:
            value = product(value, root) ^ symbol
        assert (value == 0) == (112 <= j < 144)


@given(data=st.binary(min_size=1, max_size=223))
@settings(max_examples=20)
def test_check_symbols_are_those_of_the_peer(data):
    symbols = np.frombuffer(data, dtype=np.uint8)
    theirs = np.frombuffer(bytes(PEER.encode(FROM_DUAL[symbols].tobytes())), dtype=np.uint8)
    np.testing.assert_array_equal(check_symbols(symbols[None])[0], TO_DUAL[theirs[-32:]])


def test_the_peer_corrects_our_codewords():
    rng = np.random.default_rng(2)
    for word in codewords(rng, 3):
        bad = word.copy()
        bad[rng.choice(255, 16, replace=False)] ^= rng.integers(1, 256, 16, dtype=np.uint8)
        assert bytes(PEER.decode(FROM_DUAL[bad].tobytes())[1]) == FROM_DUAL[word].tobytes()


@given(
    seed=st.integers(0, 2**32 - 1),
    data_symbols=st.integers(1, 223),
    wrong=st.lists(st.integers(0, 16), min_size=1, max_size=12),
)
@settings(max_examples=50)
def test_up_to_16_wrong_symbols_are_corrected_and_counted(seed, data_symbols, wrong):
    rng = np.random.default_rng(seed)
    words = codewords(rng, len(wrong), data_symbols)
    received = words.copy()
    wrong = np.minimum(wrong, words.shape[1])
    for word, count in zip(received, wrong, strict=True):
        word[rng.choice(word.size, count, replace=False)] ^= rng.integers(1, 256, count, dtype=np.uint8)
    result = correct(received)
    assert result.valid.all()
    np.testing.assert_array_equal(result.codewords, words)
    np.testing.assert_array_equal(result.errors, wrong)


def test_a_wrong_symbol_anywhere_is_corrected():
    word = codewords(np.random.default_rng(4), 1)
    for place in range(255):
        received = np.repeat(word, 255, axis=0)
        received[:, place] ^= np.arange(1, 256, dtype=np.uint8)
        result = correct(received)
        assert result.valid.all()
        assert (result.errors == 1).all()
        assert (result.codewords == word).all()


@given(seed=st.integers(0, 2**32 - 1), wrong=st.integers(17, 255), data_symbols=st.sampled_from([1, 40, 223]))
@settings(max_examples=50)
def test_more_are_refused_or_become_another_codeword(seed, wrong, data_symbols):
    rng = np.random.default_rng(seed)
    words = codewords(rng, 20, data_symbols)
    wrong = min(wrong, words.shape[1])
    received = words.copy()
    for word in received:
        word[rng.choice(word.size, wrong, replace=False)] ^= rng.integers(1, 256, wrong, dtype=np.uint8)
    result = correct(received)
    refused = ~result.valid
    np.testing.assert_array_equal(result.codewords[refused], received[refused])
    taken = result.codewords[result.valid]
    np.testing.assert_array_equal(check_symbols(taken[:, :-32]), taken[:, -32:])
    assert (np.count_nonzero(taken != received[result.valid], axis=1) <= 16).all()
    assert (result.errors <= 16).all()


def test_a_word_near_another_codeword_becomes_that_one():
    """16 symbols off one codeword may be many off the other: the nearest one is taken, as it must."""
    rng = np.random.default_rng(9)
    sent, other = codewords(rng, 2)
    apart = np.flatnonzero(sent != other)
    received = sent.copy()
    received[apart[16:]] = other[apart[16:]]
    result = correct(received[None])
    assert result.valid.all()
    np.testing.assert_array_equal(result.codewords[0], other)


def test_many_codewords_at_once_are_each_their_own():
    """More than are looked up together, with damaged and sound ones in turns."""
    rng = np.random.default_rng(11)
    words = codewords(rng, 5000, 60)
    received = words.copy()
    received[::3, 5:12] ^= 0x55
    received[1::50, 20:60] ^= rng.integers(1, 256, (100, 40), dtype=np.uint8)
    result = correct(received)
    hopeless = np.zeros(5000, bool)
    hopeless[1::50] = True
    np.testing.assert_array_equal(result.valid, ~hopeless)
    np.testing.assert_array_equal(result.codewords[~hopeless], words[~hopeless])
    assert correct(received[:0]).codewords.shape == (0, 92)
