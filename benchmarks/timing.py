"""Interleaved timing: A B C A B C ..., so that a machine that drifts treats all alike; medians and ratios."""

import statistics
import time
from collections.abc import Callable, Mapping


def compare(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time each run `rounds` times in turn after one warm-up, print medians and ratios to the first, return these."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    first = next(iter(runs))
    width = max(map(len, runs))
    medians = {}
    for name, times in seconds.items():
        ratios = [mine / base for mine, base in zip(times, seconds[first], strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        print(f"{name:<{width}}  {statistics.median(times) * 1e3:9.1f} ms   x {middle:.2f} ({low:.2f} to {high:.2f})")
        medians[name] = middle
    return medians
