"""What learning the widths of ResNet-20 adds to its training: methods take turns, step by step, in one process.

Usage: python pipelines/adaqat_times.py [STEPS]

Each method trains as its recipe says, on real pictures and with its own deadline, but from random weights and for few
steps. Times are those of rounds of some steps, as widths are not probed in each; a ratio is that to plain
quantization-aware training in the same round, so that a machine that drifts treats all alike. Half an hour on one
core, in which nothing else may run; the load before is kept beside the result. Writes
pipelines/results/adaqat_times.json.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Semaphore, Thread

from taran_eo.config import load_toml
from taran_eo.provenance import Provenance, environment
from taran_eo.train import Progress, Recipe, carry_out

STEPS = 480
ROUND = 12
"""Steps that are timed together: a multiple of `bits.every`."""

WARM_UP = 2
"""Rounds that are not counted: kernels are compiled in the first."""

RESULT = Path("pipelines/results/adaqat_times.json")

BY_LAYER = 'bits.group="layer"'
METHODS = {
    "plain": ("quantize_resnet20.toml", ()),
    "adaqat": ("adaqat_resnet20.toml", ()),
    "adaqat by layer": ("adaqat_resnet20.toml", (BY_LAYER,)),
    "fracbits": ("adaqat_resnet20.toml", ('bits.method="fracbits"', BY_LAYER)),
    "lsq": ("quantize_resnet20.toml", ('quantization.way="lsq"',)),
    "minifloat": ("quantize_resnet20.toml", ('quantization.weights="e2m1"',)),
    "adaqat minifloat": ("adaqat_resnet20.toml", ('quantization.weights="e2m5"', "bits.lowest=3")),
}
"""The first is what the others are compared with."""


class Turns:
    """A training in a thread of its own, which takes a step only when it is told to."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.go, self.done, self.error = Semaphore(0), Semaphore(0), None
        self.thread = Thread(target=self._train, args=(recipe, folder), daemon=True)
        self.thread.start()

    def step(self) -> float:
        """Take a step; the first one also prepares the training.

        Returns:
            What it took, in seconds.
        """
        begin = time.perf_counter()
        self.go.release()
        self.done.acquire()
        if self.error is not None:
            raise self.error
        return time.perf_counter() - begin

    def end(self) -> None:
        """Let the training come to its end."""
        self.go.release()
        self.thread.join()

    def _train(self, recipe: Recipe, folder: Path) -> None:
        def report(done: Progress) -> None:
            self.done.release()
            self.go.acquire()

        self.go.acquire()
        try:
            carry_out(recipe, folder, report, resume=False)
        except Exception as error:  # it belongs to whoever waits for the step
            self.error = error
            self.done.release()


@contextmanager
def trainings(recipes: Mapping[str, Recipe]) -> Iterator[dict[str, Turns]]:
    """All of them, at their beginning."""
    with tempfile.TemporaryDirectory() as folder:
        turns = {name: Turns(recipe, Path(folder) / name.replace(" ", "_")) for name, recipe in recipes.items()}
        yield turns
        for each in turns.values():
            each.end()


def ratio(times: list[float], plain: list[float]) -> tuple[float, float, float]:
    """Median of the ratios of rounds, and the quartiles."""
    ratios = [mine / other for mine, other in zip(times, plain, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return low, middle, high


def main() -> None:
    """Measure, and write what came out."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    recipes = {
        name: load_toml(Path("pipelines") / file, Recipe, [*changes, f"schedule.steps={steps}"]).model_copy(
            update={"start": None}
        )
        for name, (file, changes) in METHODS.items()
    }
    load = os.getloadavg()[0]
    rounds: dict[str, list[float]] = {name: [] for name in recipes}
    with trainings(recipes) as turns:
        for step in range(steps // ROUND * ROUND):
            for name, each in turns.items():
                if step % ROUND == 0:
                    rounds[name].append(0.0)
                rounds[name][-1] += each.step()
        for each in turns.values():
            for _ in range(steps % ROUND):
                each.step()
    (plain, *_) = METHODS
    ratios = {}
    for name, recipe in recipes.items():
        until = 0.0 if recipe.bits is None else recipe.bits.until
        turn = round(until * steps / ROUND)  # the round from which widths are frozen
        parts = [slice(WARM_UP, turn), slice(max(WARM_UP, turn), None)]
        # Each part of the training with its share in it; a method without widths to learn has but one.
        shares = [until, 1 - until]
        told = [
            ratio(rounds[name][part], rounds[plain][part]) if share else (0.0, 0.0, 0.0)
            for part, share in zip(parts, shares, strict=True)
        ]
        low, middle, high = (
            sum(share * each for share, each in zip(shares, ends, strict=True)) for ends in zip(*told, strict=True)
        )
        ratios[name] = {
            "whole": middle,
            "low": low,
            "high": high,
            "while_learning": told[0][1] if until else None,
            "step_s": statistics.median(rounds[name][WARM_UP:]) / ROUND,
            "recipe_sha256": recipe.digest(),
        }
        print(f"{name:<18} x {middle:.2f} ({low:.2f} to {high:.2f}), {1e3 * ratios[name]['step_s']:.0f} ms a step")
    inputs = {path: digest for recipe in recipes.values() for path, digest in recipe.pixels().items()}
    result = {
        "steps": steps,
        "round": ROUND,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load_before": load,
        "ratios": ratios,
        "provenance": Provenance((environment(),), inputs=inputs).to_dict(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
