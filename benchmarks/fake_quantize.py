"""Rounding to a minifloat inside training, against a copy and against torch's uniform fake quantizer.

Usage: python benchmarks/fake_quantize.py [ROUNDS] [THREADS]
"""

import sys
from functools import partial

import torch
from timing import compare

from taran_eo.formats import parse_format
from taran_eo.nn.fake_quantize import round_to


def main(rounds: int = 7, threads: int = 1) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    values = torch.randn(32, 768, 768).relu_() * 3
    place = torch.empty_like(values)
    runs = {"copy into place": lambda: place.copy_(values), "clone": values.clone}
    for name in ("ue2m4", "e2m3", "e3m2", "uint6"):
        runs[f"round_to {name}"] = partial(round_to, values, parse_format(name))
    runs["torch.fake_quantize_per_tensor_affine"] = lambda: torch.fake_quantize_per_tensor_affine(values, 0.1, 0, 0, 63)
    print(f"[32, 768, 768] float32, {threads} threads, {rounds} rounds")
    compare(runs, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
