"""The whole of `taran-eo run`, from JPEG files to products, beside the rate of its engine alone, in turns.

Usage: python benchmarks/run.py [ROUNDS]

The folder is that of benchmarks/gate.py, three times over and in a temporary place: 79 % of its tiles are empty. The
engine alone computes the tiles of it that are decoded before, as many side by side as there are cores.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import numpy as np
from gate import TILES, TIMES_EMPTY

from taran_eo.engines import open_pool
from taran_eo.engines.native import kernels_chosen
from taran_eo.imagery import read_labels
from taran_eo.model import Model
from taran_eo.provenance import cores, environment

# -P: the package that is installed, with its kernels, also from a folder that holds its sources.
RUN = (sys.executable, "-P", "-m", "taran_eo.cli", "run")
COPIES = 3


def main(rounds: int = 5) -> None:
    """Print the rates: medians, least and most."""
    if not TILES[0].is_dir():
        print(f"No run without tiles of the sea: there is no folder {TILES[0]}")
        return
    images = read_labels(*TILES)
    pixels = [np.ascontiguousarray(image.pixels().transpose(2, 0, 1)) for image in images] * COPIES
    engine = open_pool("native", Model.open().graph, threads=cores())
    found: dict[str, list[float]] = {}
    with TemporaryDirectory() as place, ThreadPoolExecutor(cores()) as threads:
        scenes = Path(place) / "scenes"
        scenes.mkdir()
        for image in images:
            for copy in range(COPIES * (1 if image.ships else TIMES_EMPTY)):
                copyfile(image.path, scenes / f"{image.path.stem}_{copy}.jpg")
        for number in range(rounds):
            begin = time.perf_counter()
            list(threads.map(engine.run, pixels))
            alone = len(pixels) / (time.perf_counter() - begin)
            dense = called(scenes, Path(place) / f"dense_{number}", ("--gate", "none"))
            gated = called(scenes, Path(place) / f"gated_{number}", ())
            for name, value in (
                ("engine alone, tiles a second", alone),
                ("run --gate none, tiles a second", dense["tiles_per_s"]),
                ("run --gate none, share of the engine alone", dense["tiles_per_s"] / alone),
                ("run --gate none, MiB", dense["peak_rss_mib"]),
                ("run, tiles a second", gated["tiles_per_s"]),
                ("run, MiB", gated["peak_rss_mib"]),
                ("run, seconds to the first product", gated["first_s"]),
            ):
                found.setdefault(name, []).append(value)
        count = len(list(scenes.iterdir()))
    print(f"{environment().cpu}, {cores()} cores, {kernels_chosen()}; {count} files, {rounds} rounds")
    for name, values in found.items():
        print(f"{name:45} {statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})")


def called(scenes: Path, out: Path, options: Sequence[str]) -> dict[str, float]:
    """The summary of a run, and ``first_s``, from the start of its process to its first product."""
    begin = time.perf_counter()
    with subprocess.Popen([*RUN, scenes, "-o", out, "--json", *options], stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not any(out.glob("*.product")):
            time.sleep(0.005)
        first_s = time.perf_counter() - begin
        said, _ = process.communicate()
    return json.loads(said) | {"first_s": first_s}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
