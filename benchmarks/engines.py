"""The native engine beside the other runtimes, all in one run: `taran-eo bench` with every contender required.

Usage: python benchmarks/engines.py [ROUNDS]

`make bench` sets up what it needs in an environment of its own (`benchmarks/requirements.txt`). The ratios are medians
of the ratios of each round. On a processor with AMX, what is compared first is compared again as if there were none:
with our kernels for AVX-512 VNNI, and the libraries that have a switch for it, as OpenVINO's, told to use no more.
"""

import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from timing import compare

from taran_eo.bench import CONTENDERS, Bench, measure
from taran_eo.cli.bench import table
from taran_eo.engines import open_engine
from taran_eo.engines.native import VARIABLE, kernels_chosen
from taran_eo.engines.pool import EnginePool
from taran_eo.model import Model

MODELS = Path(__file__).parents[1] / "models"
WITHOUT_AMX = {VARIABLE: "avx512vnni", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}


def ratio(result: Bench, name: str) -> str:
    """How many times as long a contender took as the native engine: median, least and most of all rounds."""
    pairs = zip(result.engines[name].seconds, result.engines["native"].seconds, strict=False)
    ratios = [theirs / ours for theirs, ours in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main(rounds: int = 11) -> None:
    """Print the tables."""
    everyone = [each.name for each in CONTENDERS]
    once = [name for name in everyone if name != "reference"]
    show("thin_unet32_e2m3", 1, everyone, rounds)
    show("thin_unet32_e2m3", 2, once, rounds)
    show("thin_unet32_e3m2", 1, ["native", "onnxruntime"], rounds)
    show("thin_unet32_int8", 1, ["native", "onnxruntime"], rounds)
    two_cores(rounds)
    if kernels_chosen() == "amx":
        os.environ |= WITHOUT_AMX
        print("\nWithout AMX\n")
        show("thin_unet32_e2m3", 1, ["native", "openvino_int8", "openvino_float32"], rounds)
        show("thin_unet32_e3m2", 1, ["native"], rounds)
        two_cores(rounds)


def show(model: str, threads: int, names: Sequence[str], rounds: int) -> None:
    """Print a table, and the ratios to the first of the contenders."""
    result = measure(Model.open(MODELS / model), threads=threads, rounds=rounds, names=names)
    print("\n".join(table(result)))
    for name in names[1:]:
        print(f"  {name} took {ratio(result, name)} times as long as native")
    print(flush=True)


def two_cores(rounds: int) -> None:
    """Print what a second core brings: on the same tile, and on a tile of its own, as `taran-eo run` uses it."""
    graph = Model.open().graph
    tiles = np.random.default_rng(0).integers(0, 256, (4, 3, 768, 768), dtype=np.uint8)
    one, shared, pool = (
        open_engine("native", graph, threads=1),
        open_engine("native", graph, threads=2),
        EnginePool(graph, 2),
    )
    with ThreadPoolExecutor(2) as threads:
        compare(
            {
                "one core": lambda: [one.run(tile) for tile in tiles],
                "two cores, each with a tile": lambda: list(threads.map(pool.run, tiles)),
                "two cores on one tile": lambda: [shared.run(tile) for tile in tiles],
            },
            rounds=rounds,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
