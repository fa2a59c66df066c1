"""The native engine beside the other runtimes, all in one run: `taran-eo bench` with every contender required.

Usage: python benchmarks/engines.py [ROUNDS]

`make bench` sets up what it needs in an environment of its own (`benchmarks/requirements.txt`). The ratios are medians
of the ratios of each round.
"""

import statistics
import sys
from pathlib import Path

from taran_eo.bench import CONTENDERS, Bench, measure
from taran_eo.cli.bench import table
from taran_eo.model import Model

MODELS = Path(__file__).parents[1] / "models"


def ratio(result: Bench, name: str) -> str:
    """How many times as long a contender took as the native engine: median, least and most of all rounds."""
    pairs = zip(result.engines[name].seconds, result.engines["native"].seconds, strict=False)
    ratios = [theirs / ours for theirs, ours in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main(rounds: int = 11) -> None:
    """Print the tables."""
    everyone = [each.name for each in CONTENDERS]
    once = [name for name in everyone if name != "reference"]
    for model, threads, names in (
        ("thin_unet32_e2m3", 1, everyone),
        ("thin_unet32_e2m3", 2, once),
        ("thin_unet32_e3m2", 1, ["native", "onnxruntime"]),
        ("thin_unet32_int8", 1, ["native", "onnxruntime"]),
    ):
        result = measure(Model.open(MODELS / model), threads=threads, rounds=rounds, names=names)
        print("\n".join(table(result)))
        for name in names[1:]:
            print(f"  {name} took {ratio(result, name)} times as long as native")
        print(flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
