"""Exact engines against a float32 network of the same shape, one tile of 768 x 768 pixels.

Usage: python benchmarks/engines.py [ROUNDS] [THREADS]
"""

import sys

import numpy as np
import torch
from timing import compare

from taran_eo.engines import open_engine
from taran_eo.model import Model
from taran_eo.nn.thin_unet import ThinUNet, ThinUNetShape


def main(rounds: int = 3, threads: int = 2) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    graph = Model.open().graph
    pixels = np.random.default_rng(0).integers(0, 256, (3, 768, 768), dtype=np.uint8)
    network = ThinUNet(ThinUNetShape()).eval().to(memory_format=torch.channels_last)
    batch = torch.from_numpy(pixels)[None].float().contiguous(memory_format=torch.channels_last)
    exact = {name: open_engine(name, graph, threads=threads) for name in ("onnxruntime", "reference")}
    assert np.array_equal(*(engine.run(pixels) for engine in exact.values()))

    def float32() -> torch.Tensor:
        with torch.no_grad():
            return network(batch)

    print(f"one 768 x 768 tile, {graph.macs(768, 768) / 1e9:.1f} GMAC, {threads} threads, {rounds} rounds")
    compare(
        {
            "torch float32, channels last": float32,
            "onnxruntime, exact": lambda: exact["onnxruntime"].run(pixels),
            "reference, exact": lambda: exact["reference"].run(pixels),
        },
        rounds,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
