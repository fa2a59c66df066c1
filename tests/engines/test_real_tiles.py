"""The shipped model on real imagery: every engine gives the integers of the reference."""

import numpy as np

from taran_eo.engines import ENGINES, open_engine
from taran_eo.graph import run
from taran_eo.imagery import read_jpeg
from taran_eo.model import Model, replay


def test_every_engine_replays_the_golden_vectors():
    model = Model.open()
    for name in ENGINES:
        assert replay(model, open_engine(name, model.graph, threads=1)) == []


def test_every_real_tile_of_val(shared_data):
    graph = Model.open().graph
    engine = open_engine("onnxruntime", graph, threads=1)
    tiles = sorted((shared_data / "airbus" / "val").glob("*.jpg"))
    assert len(tiles) == 21
    for tile in tiles:
        pixels = np.ascontiguousarray(read_jpeg(tile).transpose(2, 0, 1))
        assert np.array_equal(engine.run(pixels), run(graph, pixels)), tile.name
