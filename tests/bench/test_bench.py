"""What `taran-eo bench` promises: everyone in turns, ours exact, shares of a measured peak."""

import json
import re

import numpy as np
import pytest

from taran_eo.bench import CONTENDERS, measure
from taran_eo.bench.measure import _Worker
from taran_eo.engines import open_engine
from taran_eo.errors import ConfigError
from taran_eo.formats import Integer, Scaling, parse_format
from taran_eo.graph import Conv, Graph, Requantize, Tensor, in_float, run
from taran_eo.model import Model


@pytest.mark.parametrize("fmt", ["int16", "uint16", "int16q3"])
def test_the_network_behind_integers_is_theirs_where_nothing_is_rounded(fmt):
    # Signed integers pass as they are, unsigned ones as a ReLU leaves them.
    rng = np.random.default_rng(4)
    unit = Scaling.power_of_two(-2)
    tensors = {
        "pixels": Tensor("pixels", 3, 0, Integer(8, signed=False), Scaling.power_of_two(-8)),
        "middle": Tensor("middle", 4, 0, parse_format(fmt), unit),
        "logits": Tensor("logits", 2, 0, Integer(32), Scaling.power_of_two(-5)),
    }
    first, last = rng.integers(-3, 4, (4, 3, 3, 3)).astype(np.int8), rng.integers(-3, 4, (2, 4, 1, 1)).astype(np.int8)
    how = Requantize(np.ones(4, np.int32), np.zeros(4, np.int32))
    ops = (
        Conv("pixels", "middle", first, Integer(8), np.array([1, -2, 300, -300], np.int32), how),
        Conv("middle", "logits", last, Integer(8), np.array([7, -7], np.int32), None),
    )
    graph = Graph("small", tensors, ops, "pixels", "logits")
    pixels = rng.integers(0, 256, (3, 9, 14), dtype=np.uint8)
    assert np.array_equal(run(in_float(graph), pixels), run(graph, pixels))


def test_the_network_behind_a_model_finds_the_same(repository):
    model = Model.open(repository / "models" / "thin_unet32_int8")
    pixels, logits = model.golden()
    reals = open_engine("onnxruntime", in_float(model.graph), threads=1).run(pixels[0])
    assert np.corrcoef(logits[0].ravel(), reals.ravel())[0, 1] > 0.995
    assert not in_float(model.graph).exact


def test_json_has_what_programs_read(taran_eo, repository):
    model = repository / "models" / "thin_unet16_e2m3"
    said = taran_eo("bench", model, "--size", "64x96", "--rounds", 2, "--threads", 1, "--watts", 30,
                    "--engines", "native,onnxruntime,reference,onnxruntime_float32,onnxruntime_int8,torch_eager",
                    "--json")  # fmt: skip
    assert said.code == 0, said.err
    result = json.loads(said.out)
    gmac = Model.open(model).graph.macs(64, 96) / 1e9
    assert result["peak_gmac_s"] > 0 and result["gmac"] == gmac
    assert (result["model"], result["rows"], result["cols"], result["threads"]) == ("thin_unet16_e2m3", 64, 96, 1)
    for name, row in result["engines"].items():
        assert row["exact"] == (name in ("native", "onnxruntime", "reference"))
        assert row["gmac_s"] == pytest.approx(row["tiles_per_s"] * gmac)
        assert row["peak_share"] == pytest.approx(row["gmac_s"] / result["peak_gmac_s"])
        assert row["km2_per_s"] == pytest.approx(row["tiles_per_s"] * 64 * 96 * 1.5**2 / 1e6)
        assert row["joule_per_km2"] == pytest.approx(30 / row["km2_per_s"])
        assert row["start_s"] > 0 and row["peak_rss_mib"] > 10 and len(row["seconds"]) == 2


def test_the_table_is_for_readers(taran_eo, repository):
    model = repository / "models" / "thin_unet16_e2m3"
    said = taran_eo("bench", model, "--size", "32x32", "--rounds", 1, "--engines", "native,onnxruntime", "--watts", 30)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert "thin_unet16_e2m3, 32 x 32" in lines[0] and "peak" in lines[1]
    assert [line.split()[0] for line in lines[3:-1]] == ["native", "onnxruntime"]
    reached = float(lines[3].split()[3]) * 32 * 32 * 1.5**2 / 1e6  # two words tell what it computes
    area, energy = re.match(r"native: (\S+) km2 a second at 1.5 m, (\S+) J a km2 at the 30 W told", lines[-1]).groups()
    assert float(area) == pytest.approx(reached, abs=0.06)
    assert float(energy) == pytest.approx(30 / reached, rel=0.01)


def test_what_makes_no_sense_is_refused(taran_eo, repository):
    model = Model.open(repository / "models" / "thin_unet32_float")
    for names, what in ((["bogus"], "bogus"), (["native"], "cannot run the model thin_unet32_float")):
        with pytest.raises(ConfigError, match=what):
            measure(model, threads=1, names=names)
    with pytest.raises(ConfigError, match="0 rounds"):
        measure(model, threads=1, rounds=0)
    said = taran_eo("bench", "--size", "100x100", "--engines", "native")
    assert said.code == 2 and "multiples of 16" in said.err
    assert len({each.name for each in CONTENDERS}) == len(CONTENDERS)


def test_a_worker_that_says_much_or_dies_stops_nobody(repository, tmp_path, monkeypatch, taran_eo):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.stderr.write('words ' * 40000)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model = Model.open(repository / "models" / "thin_unet16_e2m3")
    assert measure(model, size=(32, 32), threads=1, rounds=1, names=["native"]).engines["native"].exact
    asked = _Worker._ask

    def ask_the_dead(self, word):
        self.process.kill()
        self.process.wait()
        return asked(self, word)

    monkeypatch.setattr(_Worker, "_ask", ask_the_dead)
    with pytest.raises(ConfigError, match="native cannot run this model"):
        measure(model, size=(32, 32), threads=1, rounds=1, names=["native"])


def test_engines_that_disagree_are_told(repository, monkeypatch, taran_eo):
    begin = _Worker.begin

    def forged(self):
        begin(self)
        self.digest += "x" * (self.contender.name == "native")

    monkeypatch.setattr(_Worker, "begin", forged)
    model = repository / "models" / "thin_unet16_e2m3"
    said = taran_eo("bench", model, "--size", "32x32", "--rounds", 1, "--engines", "native,onnxruntime", "--watts", 30)
    assert said.code == 1 and "native gave other logits" in said.err
