"""The C that is exported, compiled with nothing but -O2, beside the native engine on one thread, in turns.

Usage: python benchmarks/plain_c.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from taran_eo.engines import open_engine
from taran_eo.engines.native import kernels_chosen
from taran_eo.export.c_sources import write_c
from taran_eo.model import Model
from taran_eo.provenance import environment

MODELS = ("thin_unet32_e2m3", "thin_unet32_e3m2")
SIDE = 256
MAIN = """
#include <stdio.h>
#include <time.h>
#include "model.h"
static uint8_t pixels[TARAN_BANDS * TARAN_ROWS * TARAN_COLS];
static int32_t logits[TARAN_CLASSES * TARAN_LOGIT_ROWS * TARAN_LOGIT_COLS];
int main(void)
{
    struct timespec begin, end;
    if (fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels)
        return 1;
    taran_run(pixels, logits);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    taran_run(pixels, logits);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.9f\\n", (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
    return 0;
}
"""


def main(rounds: int = 9) -> None:
    """Print the rates: medians, least and most."""
    compiler = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"{environment().cpu}, {compiler}, -std=gnu99 -O2; tiles of {SIDE} x {SIDE}, one thread, {rounds} rounds")
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    for name in MODELS:
        graph = Model.open(Path("models") / name).graph
        gmac = graph.macs(SIDE, SIDE) / 1e9
        native = open_engine("native", graph, threads=1)
        native.run(pixels)
        with TemporaryDirectory() as place:
            written = write_c(graph, Path(place), rows=SIDE, cols=SIDE, limit=0, memory=2**22)
            (Path(place) / "main.c").write_text(MAIN)
            command = ["gcc", "-std=gnu99", "-O2", "main.c", "model.c", "taran.c", "-o", "main"]
            subprocess.run(command, cwd=place, check=True)
            plain, ratios = [], []
            for _ in range(rounds):
                done = subprocess.run([Path(place) / "main"], input=pixels.tobytes(), capture_output=True, check=True)
                begin = time.perf_counter()
                native.run(pixels)
                taken = time.perf_counter() - begin
                plain.append(gmac / float(done.stdout))
                ratios.append(float(done.stdout) / taken)
        for what, values in (("GMAC/s", plain), (f"times as long as native ({kernels_chosen()})", ratios)):
            print(f"{name} {what:34} {statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})")
        print(f"{name} arena {written.arena_bytes:,} bytes, weights {written.weight_bytes:,} bytes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
