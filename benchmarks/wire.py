"""Each stage of the way down and back in MB of packets a second of processor time, and Reed-Solomon beside a peer.

Usage: python benchmarks/wire.py [ROUNDS]
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import reedsolo

from taran_eo.provenance import environment
from taran_eo.wire import Channel, Decoded, Demultiplexer, Framing, decode, encode, frames, packet, transmit
from taran_eo.wire.reed_solomon import check_symbols, correct

PACKETS, PACKET_DATA_BYTES = 5000, 1000
CODEWORDS, PEER_CODEWORDS = 5000, 20


def seconds(run: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median, least and most of a run's processor time, after one run to warm up."""
    run()
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        run()
        taken.append(time.process_time() - begin)
    return statistics.median(taken), min(taken), max(taken)


def told(name: str, unit: str, amount: float, run: Callable[[], object], rounds: int) -> float:
    """Print a rate with its spread, return the median."""
    middle, least, most = (amount / taken for taken in seconds(run, rounds))
    print(f"{name:<56} {middle:8.1f} {unit} ({most:.1f} to {least:.1f})")
    return middle


def main(rounds: int = 7) -> None:
    """Print the rates: medians, least and most."""
    rng = np.random.default_rng(1)
    framing = Framing(spacecraft=1)
    sent = [packet(1, n, rng.bytes(PACKET_DATA_BYTES)) for n in range(PACKETS)]
    size_mb = sum(map(len, sent)) / 1e6
    print(f"{environment().cpu}, processor time of one core, {rounds} rounds")
    print(f"{size_mb:.1f} MB of packets of {PACKET_DATA_BYTES + 6} bytes")
    print(f"TM frames of {framing.frame_bytes} bytes, RS(255,223) interleaved {framing.interleaving} times, randomized")

    def multiplex() -> list[bytes]:
        return list(frames(sent, framing))

    made = multiplex()

    def demultiplex(arrived: list[bytes]) -> list[object]:
        demultiplexer = Demultiplexer(framing)
        return [item for frame in arrived for item in demultiplexer.feed(frame)]

    def back(stream: bytes) -> list[bytes]:
        return [item.frame for item in decode(stream, framing) if isinstance(item, Decoded)]

    stream = encode(made, framing)
    noisy = Channel(bit_error_rate=1e-3)
    arrived = transmit(stream, framing.cadu_bytes, noisy, np.random.default_rng(2))
    assert back(stream) == made
    assert back(arrived) == made
    assert demultiplex(made) == sent

    def packets() -> list[bytes]:
        return [packet(1, n, data) for n, data in enumerate(contents)]

    contents = [one[6:] for one in sent]
    told("packets", "MB/s", size_mb, packets, rounds)
    told("packets into frames, error control", "MB/s", size_mb, multiplex, rounds)
    told("frames into the stream", "MB/s", size_mb, lambda: encode(made, framing), rounds)
    channel_rng = np.random.default_rng(3)
    told(
        "channel, 1e-3 of the bits wrong",
        "MB/s",
        size_mb,
        lambda: transmit(stream, framing.cadu_bytes, noisy, channel_rng),
        rounds,
    )
    told("the stream into frames, nothing wrong", "MB/s", size_mb, lambda: back(stream), rounds)
    told("the stream into frames, 1e-3 of the bits wrong", "MB/s", size_mb, lambda: back(arrived), rounds)
    told("frames into packets, error control", "MB/s", size_mb, lambda: demultiplex(made), rounds)

    print()
    data = rng.integers(0, 256, (CODEWORDS, 223), dtype=np.uint8)
    words = np.hstack([data, check_symbols(data)])
    mbit = data.size * 8 / 1e6
    encoding = told("Reed-Solomon, encode", "Mbit/s", mbit, lambda: check_symbols(data), rounds)
    told("Reed-Solomon, decode, nothing wrong", "Mbit/s", mbit, lambda: correct(words), rounds)
    decoding = 0.0
    for errors in (1, 8, 16, 17):
        received = words.copy()
        places = rng.random(words.shape).argsort(axis=1)[:, :errors]
        changes = rng.integers(1, 256, places.shape, dtype=np.uint8)
        np.put_along_axis(received, places, np.take_along_axis(received, places, 1) ^ changes, 1)
        assert correct(received).valid.all() == (errors <= 16)
        rate = told(
            f"Reed-Solomon, decode, {errors} wrong symbols in each codeword",
            "Mbit/s",
            mbit,
            lambda received=received: correct(received),
            rounds,
        )
        decoding = rate if errors == 16 else decoding

    peer = reedsolo.RSCodec(32, fcr=112, prim=0x187, generator=0xAD)
    some = [row.tobytes() for row in data[:PEER_CODEWORDS]]
    hurt = []
    for one in some:
        word = np.frombuffer(bytes(peer.encode(one)), dtype=np.uint8).copy()
        word[rng.choice(255, 16, replace=False)] ^= rng.integers(1, 256, 16, dtype=np.uint8)
        hurt.append(word.tobytes())
    peer_mbit = PEER_CODEWORDS * 1784 / 1e6
    theirs = told("reedsolo, encode", "Mbit/s", peer_mbit, lambda: [peer.encode(one) for one in some], rounds)
    theirs_back = told(
        "reedsolo, decode, 16 wrong symbols in each codeword",
        "Mbit/s",
        peer_mbit,
        lambda: [peer.decode(one) for one in hurt],
        rounds,
    )
    print(f"times as fast as reedsolo: encode {encoding / theirs:.0f}, decode {decoding / theirs_back:.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
