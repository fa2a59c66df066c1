"""What a gate saves in time, beside OpenVINO without one and behind the same one, all in one run.

Usage: python benchmarks/gate.py [ROUNDS]

The folder is that of the Airbus tiles which nothing that is shipped was trained on (val), each tile without a ship
taken five times, so that 79 % of its tiles are empty, as 78 % of the whole competition are. Tiles are decoded before;
one thread each; each contender does the whole folder in its turn. Behind the gate OpenVINO runs the rectangles that
suit it: it computes their whole surroundings, so larger and fewer ones are cheaper for it. The worst case is a gate
that lets everything pass.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from timing import compare

from taran_eo.bench.contenders import named
from taran_eo.engines import open_engine
from taran_eo.engines.engine import needed
from taran_eo.gate import RIM, Gate, regions
from taran_eo.imagery import read_labels
from taran_eo.imagery.window import Window
from taran_eo.model import DEFAULT_GATE, Model, shipped
from taran_eo.provenance import environment

TILES = Path("../shared/data/airbus/val"), Path("../shared/data/airbus/masks.csv")
TIMES_EMPTY = 5

Pixels = NDArray[np.uint8]


def main(rounds: int = 5) -> None:
    """Print the table."""
    if not TILES[0].is_dir():
        print(f"No gate without tiles of the sea: there is no folder {TILES[0]}")
        return
    model, guard = Model.open(), Model.open(shipped(DEFAULT_GATE))
    images = read_labels(*TILES)
    tiles = [
        tile
        for image in images
        for tile in [np.ascontiguousarray(image.pixels().transpose(2, 0, 1))] * (1 if image.ships else TIMES_EMPTY)
    ]
    engine = open_engine("native", model.graph, threads=1)
    watch = open_engine("native", guard.graph, threads=1)
    gate, open_gate = Gate(guard.graph, guard.threshold, watch), Gate(guard.graph, 1e-300, watch)
    with redirect_stdout(sys.stderr):  # its quantization shows how far it is
        openvino = named("openvino_int8").ready(model.graph, 1, tiles[0])

    def passing(gate: Gate, tile: Pixels, rim: int) -> Iterator[Window]:
        return regions(gate.passing(tile, Window(0, 0, *tile.shape[1:])), gate.cell, rim=rim)

    def native_gated(tile: Pixels) -> None:
        for part in passing(gate, tile, RIM):
            engine.run(tile, part)

    def native_harbour(tile: Pixels) -> None:
        for part in passing(open_gate, tile, RIM):
            engine.run(tile, part)

    def openvino_gated(tile: Pixels) -> None:
        for part in passing(gate, tile, model.graph.halo):
            surroundings, _ = needed(model.graph, tile, part)
            openvino(tile[:, *surroundings.slices])

    def folder(run: Callable[[Pixels], object]) -> Callable[[], None]:
        def do() -> None:
            for tile in tiles:
                run(tile)

        return do

    empty = TIMES_EMPTY * sum(not image.ships for image in images)
    print(f"{model.name} behind {guard.name}, one thread, on {environment().cpu}")
    print(f"{len(tiles)} tiles of 768 x 768, {empty} of them empty ({empty / len(tiles):.0%}), {rounds} rounds")
    compare(
        {
            "native, gate": folder(native_gated),
            "native": folder(engine.run),
            "openvino_int8, gate": folder(openvino_gated),
            "openvino_int8": folder(openvino),
            "native, everything passes": folder(native_harbour),
        },
        rounds,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
