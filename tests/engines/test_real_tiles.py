"""The shipped models on real imagery: every engine gives the integers of the reference, and scores are as told."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from taran_eo.cli import app
from taran_eo.engines import engines_for, open_engine
from taran_eo.engines.native import VARIABLE, kernels_here
from taran_eo.graph import run
from taran_eo.imagery import read_jpeg
from taran_eo.model import Model, replay

MODELS = (
    "ship_gate_e2m3",
    "thin_unet16_e2m3",
    "thin_unet32_e2m3",
    "thin_unet32_e3m2",
    "thin_unet32_float",
    "thin_unet32_int6",
    "thin_unet32_int8",
)


def test_these_are_the_shipped_models(repository):
    assert sorted(path.name for path in (repository / "models").iterdir() if path.is_dir()) == list(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_engine_replays_the_golden_vectors(repository, name):
    model = Model.open(repository / "models" / name)
    assert model.name == name and model.graph.exact == (not name.endswith("float"))
    assert f"| digest | `{model.graph.digest}` |" in (model.path / "CARD.md").read_text()
    engines = engines_for(model.graph)
    assert engines == ("reference", "onnxruntime", *(("native",) if model.graph.exact else ()))
    for engine in engines:
        assert replay(model, open_engine(engine, model.graph, threads=1)) == []


def test_evaluate_gives_what_the_card_says(repository, shared_data):
    airbus = shared_data / "airbus"
    asked = ["evaluate", "--images", str(airbus / "val"), "--masks", str(airbus / "masks.csv"), "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    scores, card = json.loads(done.stdout), (Model.open().path / "CARD.md").read_text()
    for name in ("iou", "dice", "f2", "ship_recall", "large_ship_recall", "false_alarms_per_km2"):
        low, high = scores[f"{name}_ci"]
        assert f"| {name} | {scores[name]:.3f} [{low:.3f}, {high:.3f}] |" in card


def real_tiles(shared_data):
    tiles = sorted((shared_data / "airbus" / "val").glob("*.jpg"))
    assert len(tiles) == 21
    return {tile.name: np.ascontiguousarray(read_jpeg(tile).transpose(2, 0, 1)) for tile in tiles}


def test_every_real_tile_of_val(shared_data):
    graph = Model.open().graph
    engines = [open_engine(name, graph, threads=1) for name in ("onnxruntime", "native")]
    for name, pixels in real_tiles(shared_data).items():
        expected = run(graph, pixels)
        for engine in engines:
            assert np.array_equal(engine.run(pixels), expected), (name, engine.name)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith("float")])
def test_every_kernel_on_a_part_of_every_real_tile(repository, shared_data, monkeypatch, name):
    graph = Model.open(repository / "models" / name).graph
    engines = []
    for kernels in kernels_here():
        monkeypatch.setenv(VARIABLE, kernels)
        engines.append(open_engine("native", graph, threads=1))
    for place, (tile, pixels) in enumerate(real_tiles(shared_data).items()):
        part = pixels[:, 24 * place :, 31 * place :][:, :112, :144]
        expected = run(graph, np.ascontiguousarray(part))
        for engine in engines:
            assert np.array_equal(engine.run(part), expected), (tile, engine.kernels)
