"""Behind a gate: what passes is answered as without it, tiles do not show, and nothing else is computed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from taran_eo import graph as graphs
from taran_eo.codec import unpack
from taran_eo.engines import ReferenceEngine, open_engine
from taran_eo.errors import ConfigError, ModelError
from taran_eo.formats import Integer, Scaling
from taran_eo.gate import AROUND, RIM, Gate, check_gate, halo_of, regions
from taran_eo.graph import Conv, Graph, MaxPool, Tensor, logit_at
from taran_eo.imagery import open_scene
from taran_eo.imagery.synthetic import synthesize
from taran_eo.imagery.window import Window
from taran_eo.model import DEFAULT_GATE, Model, shipped
from taran_eo.onboard import process
from tests.folders import outputs


@pytest.fixture(scope="session")
def bright_gate(model):
    """Fires where the brightest of 2 x 2 pixels, and those to its right and below, are bright together: cells of 2."""
    tensors = {
        "pixels": Tensor("pixels", 3, 0, Integer(8, signed=False), Scaling.power_of_two(-8)),
        "brightest": Tensor("brightest", 3, 1, Integer(8, signed=False), Scaling.power_of_two(-8)),
        "logits": Tensor("logits", 1, 1, Integer(32), Scaling.power_of_two(-4)),
    }
    weights = np.zeros((1, 3, 3, 3), np.int8)
    weights[:, :, 1:, 1:] = 1
    conv = Conv("brightest", "logits", weights, Integer(8), np.array([-2500], np.int32), None)
    graph = Graph("bright gate", tensors, (MaxPool("pixels", "brightest"), conv), "pixels", "logits")
    return replace(model, path=Path("bright gate"), name="bright-gate", graph=graph)


class Counting(ReferenceEngine):
    """The reference interpreter, which keeps what was wanted of it."""

    wanted = ()

    def run(self, pixels, wanted=None):
        object.__setattr__(self, "wanted", (*self.wanted, wanted))
        return super().run(pixels, wanted)


def with_gate(path, model, gate, folder, **options):
    engine = Counting(model.graph)
    guard = None if gate is None else Gate(gate.graph, gate.threshold, ReferenceEngine(gate.graph))
    with open_scene(path, model.contract) as scene:
        return process(scene, model, engine, folder, gate=guard, **options), engine


def mask_of(outcome):
    product = outcome.product
    mask = np.zeros((product.header.rows, product.header.cols), np.uint8)
    for window, labels in product.mask_blocks():
        mask[window.slices] = labels
    return mask


def passing_cells(gate, pixels, cell=2):
    """What passes of a whole scene ``uint8[bands, rows, cols]``, written out."""
    fires = graphs.run(gate.graph, pixels)[0] >= logit_at(gate.threshold, gate.graph.logit_scale)
    near = np.zeros_like(fires)
    for row, col in np.argwhere(fires):
        near[max(row - AROUND, 0) : row + AROUND + 1, max(col - AROUND, 0) : col + AROUND + 1] = True
    return near.repeat(cell, 0).repeat(cell, 1)


def test_what_passes_is_answered_as_without_a_gate(tmp_path, model, bright_gate, write_geotiff):
    scene = write_geotiff(tmp_path / "scene.tif")
    dense, _ = with_gate(scene, model, None, tmp_path / "dense", tile_size=512)
    with open_scene(scene, model.contract) as opened:
        (tile,) = opened.tiles(512, 0, 2)
    looked = passing_cells(bright_gate, tile.pixels)[: opened.rows, : opened.cols]
    whole = mask_of(dense)
    ship = whole == 1
    assert 0 < np.count_nonzero(ship & looked) < np.count_nonzero(ship), "the test does not show what it is for"
    expected = np.where(ship & ~looked, 0, whole)
    for size in (512, 64, 30, 2):
        gated, engine = with_gate(scene, model, bright_gate, tmp_path / str(size), tile_size=size)
        np.testing.assert_array_equal(mask_of(gated), expected)
        assert outputs(tmp_path / str(size)) == outputs(tmp_path / "512")
        assert sum(wanted.rows * wanted.cols for wanted in engine.wanted) < 0.7 * whole.size
    assert gated.product.made_by().gate == bright_gate.graph.digest[:16]
    assert dense.product.made_by().gate is None


def test_what_passes_does_not_depend_on_the_tiles(tmp_path, model, bright_gate, write_geotiff):
    # A model that says ship everywhere shows all that passes; it sees less far than the gate.
    scene, everywhere = write_geotiff(tmp_path / "scene.tif"), replace(model, threshold=1e-300)
    assert model.graph.halo < halo_of(model.graph, bright_gate.graph)
    for size in (512, 64, 30, 2):
        gated, _ = with_gate(scene, everywhere, bright_gate, tmp_path / str(size), tile_size=size)
        assert outputs(tmp_path / str(size)) == outputs(tmp_path / "512")
    assert 0 < np.count_nonzero(mask_of(gated) == 1) < 0.7 * mask_of(gated).size


def test_where_everything_passes_nothing_changes_and_where_nothing_does_nothing_runs(
    tmp_path, model, bright_gate, write_geotiff
):
    scene = write_geotiff(tmp_path / "scene.tif")
    dense, _ = with_gate(scene, model, None, tmp_path / "dense", tile_size=64)
    harbour, _ = with_gate(scene, model, replace(bright_gate, threshold=1e-300), tmp_path / "harbour", tile_size=64)
    np.testing.assert_array_equal(mask_of(harbour), mask_of(dense))
    assert harbour.ships == dense.ships
    sea, engine = with_gate(scene, model, replace(bright_gate, threshold=1 - 1e-16), tmp_path / "sea", tile_size=64)
    assert (engine.wanted, sea.ships) == ((), ())
    np.testing.assert_array_equal(mask_of(sea), np.where(mask_of(dense) == 255, 255, 0))


def test_the_shipped_gate_and_model_on_a_generated_scene():
    model, gate = Model.open(), Model.open(shipped(DEFAULT_GATE))
    check_gate(gate, model)
    pixels = synthesize(400, 528, rng=np.random.default_rng(5), ships=8, swath_edge=False).image.transpose(2, 0, 1)
    guard = Gate(gate.graph, gate.threshold, open_engine("auto", gate.graph, threads=2))
    cells = guard.passing(pixels, Window(0, 0, 400, 528))
    np.testing.assert_array_equal(guard.looked(pixels), passing_cells(gate, pixels, 16))
    assert 0 < cells.sum() < cells.size
    # A core in the middle of a tile, which sees no farther than the halo.
    halo = halo_of(model.graph, gate.graph)
    core = Window(128, 176, 80, 96)
    window = core.grown(halo).clipped(400, 528)
    part = guard.passing(pixels[:, *window.slices], core.relative_to(window))
    np.testing.assert_array_equal(part, cells[128 // 16 : 208 // 16, 176 // 16 : 272 // 16])


@given(
    arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.booleans()),
    st.sampled_from([2, 16, 64]),
)
def test_regions_cover_what_passes_without_overlap_and_cost_no_more_than_one(cells, cell):
    found = list(regions(cells, cell))
    covered = np.zeros(np.array(cells.shape) * cell, int)
    for each in found:
        covered[each.slices] += 1
        assert each.clipped(*covered.shape) == each
        assert min(each.rows, each.cols) > 0
    assert covered.max() <= 1
    assert (covered.astype(bool) | ~cells.repeat(cell, 0).repeat(cell, 1)).all()
    if not cells.any():
        assert found == []
        return
    rows, cols = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    one = ((rows[-1] - rows[0] + 1) * cell + 2 * RIM) * ((cols[-1] - cols[0] + 1) * cell + 2 * RIM)
    assert sum((each.rows + 2 * RIM) * (each.cols + 2 * RIM) for each in found) <= one


def test_two_far_ships_are_two_regions_and_two_near_ones_are_one():
    cells = np.zeros((48, 48), bool)
    cells[2:5, 3:6] = cells[40:43, 30:34] = True
    assert set(regions(cells, 16)) == {Window(32, 48, 48, 48), Window(640, 480, 48, 64)}
    cells[:] = False
    cells[2:5, 3:6] = cells[3:6, 7:10] = True
    assert list(regions(cells, 16)) == [Window(32, 48, 64, 112)]


def test_a_gate_that_is_none_or_does_not_fit_is_refused(model, bright_gate):
    with pytest.raises(ModelError, match="is no gate"):
        check_gate(model, model)
    with pytest.raises(ConfigError, match="does not fit the model bright"):
        check_gate(Model.open(shipped(DEFAULT_GATE)), model)
    infrared = replace(bright_gate, contract=model.contract.model_copy(update={"gsd_m": 5.0}))
    with pytest.raises(ConfigError, match="takes other pixels"):
        check_gate(infrared, model)


def test_the_command_line_gates_unless_told_not_to(tmp_path, taran_eo):
    scenes, models = tmp_path / "scenes", shipped(DEFAULT_GATE).parent
    assert taran_eo("synth", "-o", scenes, "--scenes", 1, "--size", "130x170", "--seed", 3, "-q").code == 0

    def gate_of(name, *options):
        said = taran_eo("run", scenes, "-o", tmp_path / name, "-q", *options)
        assert (said.code, said.out, said.err) == (0, "", "")
        (product,) = (tmp_path / name).glob("*.product")
        return unpack(product.read_bytes()).made_by().gate

    digest = Model.open(shipped(DEFAULT_GATE)).graph.digest[:16]
    assert gate_of("usual") == gate_of("named", "--gate", models / DEFAULT_GATE) == digest
    assert gate_of("none", "--gate", "none") is None
    other = taran_eo("run", scenes, "-o", tmp_path / "usual", "--gate", "none", "--resume")
    assert other.code == 1
    assert "gate_digest" in other.err
    refused = taran_eo("run", scenes, "-o", tmp_path / "x", "--gate", models / "thin_unet32_e2m3")
    assert (refused.code, refused.out) == (1, "")
    assert "is no gate" in refused.err
    for nothing, code, told in (("", 2, "empty name"), (scenes, 1, "to --gate")):
        refused = taran_eo("run", scenes, "-o", tmp_path / "x", "--gate", nothing)
        assert refused.code == code and told in refused.err
    labels = ("--images", scenes, "--masks", scenes / "masks.csv")
    refused = taran_eo("evaluate", *labels, "--model", models / DEFAULT_GATE)
    assert refused.code == 1 and "one logit a pixel" in refused.err
    refused = taran_eo("run", scenes, "-o", tmp_path / "x", "--model", models / DEFAULT_GATE)
    assert refused.code == 1
    assert "one logit a pixel" in refused.err
    assert not (tmp_path / "x").exists()


def test_evaluate_tells_what_the_gate_loses_and_spares(tmp_path, shared_data, taran_eo):
    call = ("evaluate", "--images", shared_data / "airbus" / "val", "--masks", shared_data / "airbus" / "masks.csv")
    said = json.loads(taran_eo(*call, "--json").out)
    gate, card = said["gate"], (shipped(DEFAULT_GATE) / "CARD.md").read_text()
    assert gate["digest"] in card
    assert f"| ships above 100 pixels unseen | {gate['large_ships_unseen']} of {gate['large_ships']} |" in card
    assert f"| ships unseen | {gate['ships_unseen']} of {gate['ships']} |" in card
    assert f"| work | {gate['work']:.3f} |" in card
    assert f"| iou, without | {said['iou']:.3f} " in card
    assert f"| iou, behind | {gate['scores']['iou']:.3f} " in card
    told = taran_eo(*call)
    assert f"{gate['work']:.1%} of those without it" in told.out
    assert json.loads(taran_eo(*call, "--gate", "none", "--json").out) == said | {"gate": None}
