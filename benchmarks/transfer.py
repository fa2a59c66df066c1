"""Files all the way down and back: what it costs on the wire and in processor time, with and without an uplink.

Usage: python benchmarks/transfer.py [ROUNDS]
"""

import statistics
import sys
import time

import numpy as np

from taran_eo.provenance import environment
from taran_eo.wire import Channel, File, Framing, exchange, receive, send

CASES = ((5_000_000, 0.0), (5_000_000, 0.02), (5_000_000, 0.05), (1_000_000, 0.3), (200_000, 0.05))
SMALL_FILES, SMALL_FILE_BYTES = 1000, 1000


def one_way(one: File, framing: Framing, rounds: int) -> None:
    """Rates of class 1: files to a stream and back."""
    down_s, back_s = [], []
    for _ in range(rounds):
        begin = time.process_time()
        stream = b"".join(send([one], framing))
        between = time.process_time()
        assert receive(stream, framing).files[0].data == one.data
        down_s.append(between - begin)
        back_s.append(time.process_time() - between)
    size_mb = len(one.data) / 1e6
    for name, taken in (("file to stream", down_s), ("stream to file", back_s)):
        middle = statistics.median(taken)
        print(f"{name}: {size_mb / middle:.1f} MB/s ({size_mb / max(taken):.1f} to {size_mb / min(taken):.1f})")


def both_ways(files: list[File], loss: float, framing: Framing, rounds: int) -> None:
    """One row of class 2: medians over rounds, each with chance of its own."""
    lossy = Channel(frame_loss=loss)
    size = sum(len(file.data) for file in files)
    made, taken = [], []
    for number in range(rounds):
        begin = time.process_time()
        made.append(exchange(files, framing, lossy, lossy, rng=np.random.default_rng(number), uplink_rate_bit_s=1e6))
        taken.append(time.process_time() - begin)
    identical = all([one.data for one in each.files] == [file.data for file in files] for each in made)
    over = statistics.median(each.down.uncoded_bytes / size - 1 for each in made)
    again = statistics.median(each.down.resent_bytes / size for each in made)
    print(
        f"{len(files):>5} x {len(files[0].data):>9,}  {loss:>4.0%}  {'yes' if identical else 'NO':<9}  "
        f"{statistics.median(each.rounds for each in made):>6}  {again:>7.1%}  {over:>8.1%}  "
        f"{statistics.median(each.up.total_bytes for each in made):>8,}  "
        f"{statistics.median(each.duration_s for each in made):>8.1f}  {size / 1e6 / statistics.median(taken):>6.1f}"
    )


def main(rounds: int = 5) -> None:
    """Print rates of the way down alone, then a table of exchanges."""
    framing = Framing(spacecraft=1)
    rng = np.random.default_rng(1)
    print(f"{environment().cpu}, processor time of one core, {rounds} rounds")
    print(f"TM frames of {framing.frame_bytes} bytes, RS(255,223) interleaved {framing.interleaving} times\n")
    one_way(File("product", rng.bytes(5_000_000)), framing, rounds)
    print("\nWith an uplink, frames lost on both ways, 10 Mbit/s down, 1 Mbit/s up; medians")
    print("files, bytes        loss  identical  rounds  resent   overhead  uplink B  duration    MB/s")
    for size, loss in CASES:
        both_ways([File("product", rng.bytes(size))], loss, framing, rounds)
    for loss in (0.0, 0.05):
        small = [File(f"product {number}", rng.bytes(SMALL_FILE_BYTES)) for number in range(SMALL_FILES)]
        both_ways(small, loss, framing, rounds)
    print("overhead: all bytes of frames down, before markers and check symbols, over those of the files")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
