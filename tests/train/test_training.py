"""The training loop: the same run whenever it is killed, and what is trained is what is lowered and published."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn
from typer.testing import CliRunner

from taran_eo.cli import app
from taran_eo.config import load_toml
from taran_eo.engines import open_engine
from taran_eo.errors import ConfigError, DivergedError, GraphError, LoweringError
from taran_eo.graph import tolerance
from taran_eo.imagery import read_labels
from taran_eo.metrics import aggregate, score_tile
from taran_eo.model import Model, replay
from taran_eo.provenance import environment
from taran_eo.studies.part import predictions, scores_of
from taran_eo.train import Recipe, Source, carry_out, loop, outcome
from taran_eo.train.augment import haze, paste
from taran_eo.train.data import Crop, cut, pools, training_images
from taran_eo.train.losses import SegmentationLoss
from taran_eo.train.recipe import Network
from taran_eo.train.ships import Ships, in_cells
from taran_eo.train.task import Batch
from tests.train.labelled import PUBLICATION, RECIPE, quantized, write_tiles


@pytest.fixture
def recipe_file(tmp_path):
    images, masks = write_tiles(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(RECIPE.format(images=images, masks=masks))
    return path


class KilledError(Exception):
    pass


def test_a_killed_run_ends_as_if_it_had_not_been(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    here = environment()  # looked at once, as the checkout may be worked on while this runs
    monkeypatch.setattr(loop, "environment", lambda: here)
    recipe = load_toml(recipe_file, Recipe)
    whole = carry_out(recipe, tmp_path / "whole", lambda done: None, resume=True)

    def kill(done):
        if done.step == 5:  # one step after the checkpoint, whose work is lost
            raise KilledError

    with pytest.raises(KilledError):
        carry_out(recipe, tmp_path / "torn", kill, resume=True)
    elsewhere = dataclasses.replace(here, cpu="another", commit=None)
    monkeypatch.setattr(loop, "environment", lambda: elsewhere)
    steps = []
    resumed = carry_out(recipe, tmp_path / "torn", lambda done: steps.append(done.step), resume=True)
    assert steps == [5, 6]
    assert (whole.environments, resumed.environments) == ((here,), (here, elsewhere))
    assert resumed.provenance().to_dict()["environments"][1]["cpu"] == "another"
    assert (tmp_path / "torn" / loop.LOG).read_text() == (tmp_path / "whole" / loop.LOG).read_text()
    for name, value in whole.weights().items():
        assert np.array_equal(value, resumed.weights()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(recipe_file, tmp_path):
    carry_out(load_toml(recipe_file, Recipe, ["schedule.steps=1"]), tmp_path / "run", lambda done: None, resume=True)
    with pytest.raises(ConfigError, match="another recipe"):
        carry_out(load_toml(recipe_file, Recipe, ["seed=4"]), tmp_path / "run", lambda done: None, resume=True)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04 the head of one"])
def test_damaged_files_are_named_with_what_to_do(recipe_file, tmp_path, damage):
    run, begun = tmp_path / "run", tmp_path / "begun.safetensors"
    run.mkdir()
    (run / loop.CHECKPOINT).write_bytes(damage)
    with pytest.raises(ConfigError, match=r"run/checkpoint\.pt cannot be read .*--restart"):
        carry_out(load_toml(recipe_file, Recipe), run, lambda done: None, resume=True)
    begun.write_bytes(damage)
    with pytest.raises(ConfigError, match=r"begun\.safetensors cannot be loaded .*Train these weights"):
        carry_out(load_toml(recipe_file, Recipe, [f"start={begun}"]), run, lambda done: None, resume=True)


def test_a_run_begun_anew_and_killed_does_not_go_on_from_the_old_one(recipe_file, tmp_path):
    recipe = load_toml(recipe_file, Recipe, ["schedule.steps=3"])
    carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)

    def kill(done):
        raise KilledError

    with pytest.raises(KilledError):
        carry_out(recipe, tmp_path / "run", kill, resume=False)
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    steps = []
    carry_out(recipe, tmp_path / "run", lambda done: steps.append(done.step), resume=True)
    assert steps == [1, 2, 3]


def test_a_run_does_not_go_on_when_the_weights_that_it_began_with_changed(recipe_file, tmp_path):
    begun = tmp_path / "float" / "weights.safetensors"
    carry_out(load_toml(recipe_file, Recipe, ["schedule.steps=1"]), begun.parent, lambda done: None, resume=True)
    recipe = load_toml(recipe_file, Recipe, ["schedule.steps=1", f"start={begun}"])
    carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)
    carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)
    other = load_toml(recipe_file, Recipe, ["schedule.steps=2"])
    carry_out(other, begun.parent, lambda done: None, resume=False)
    with pytest.raises(ConfigError, match="other masks or weights"):
        carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)


def test_a_run_does_not_go_on_when_the_masks_changed(recipe_file, tmp_path):
    recipe = load_toml(recipe_file, Recipe, ["schedule.steps=1"])
    carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)
    with recipe.source[0].masks.open("a") as table:
        table.write("elsewhere.jpg,,96,96\n")
    with pytest.raises(ConfigError, match="other masks or weights"):
        carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)


def test_a_gradient_that_is_no_number_ends_the_run_before_it_spoils_the_weights(recipe_file, tmp_path, monkeypatch):
    real = SegmentationLoss.forward

    def crooked(self, logits, truth):
        loss, each = real(self, logits, truth)
        return loss + (0 * logits).sum().sqrt(), each  # finite, but its slope at zero is not

    monkeypatch.setattr(SegmentationLoss, "forward", crooked)
    with pytest.raises(DivergedError, match=r"its gradient nan, in step 1\. Lower schedule\.learning_rate"):
        carry_out(load_toml(recipe_file, Recipe, ["schedule.steps=1"]), tmp_path, lambda done: None, resume=True)
    assert not (tmp_path / loop.CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["network.depth=5", "schedule.crop=48"], "crops of a multiple of 32"),
        (["network.gate=true", "network.depth=1"], "depth. of at least 2"),
        (["network.gate=true", "network.skips=8"], "has `width` and `depth`, and nothing else"),
    ],
)
def test_recipes_that_cannot_end_well_are_refused_at_once(recipe_file, change, said):
    with pytest.raises(ConfigError, match=said):
        load_toml(recipe_file, Recipe, change)


def test_the_digest_is_of_what_decides_the_training(recipe_file):
    recipe = load_toml(recipe_file, Recipe)
    assert load_toml(recipe_file, Recipe, ["name=other", "question=Other?"]).digest() == recipe.digest()
    assert load_toml(recipe_file, Recipe, ["schedule.steps=7"]).digest() != recipe.digest()


def published(text, folder):
    """A recipe that leaves a model folder, and the labelled images that it is scored on."""
    home = folder.parent
    labelled = {"images": home / "train_v2", "masks": home / "train_ship_segmentations_v2.csv"}
    recipe, notes = home / "published.toml", home / "notes.md"
    notes.write_text("## Data\n\nGenerated for a test.\n")
    recipe.write_text(text + PUBLICATION.format(folder=folder, notes=notes, **labelled))
    return recipe, labelled


def test_from_recipe_to_a_model_that_every_engine_replays(recipe_file, tmp_path):
    runner = CliRunner()
    done = runner.invoke(app, ["train", str(recipe_file), "-o", str(tmp_path / "float")])
    assert done.exit_code == 0, done.output
    text = quantized(recipe_file.read_text(), tmp_path / "float" / "weights.safetensors")
    recipe, labelled = published(text, tmp_path / "model")
    done = runner.invoke(app, ["train", str(recipe), "-o", str(tmp_path / "run"), "--set", "schedule.steps=2"])
    assert done.exit_code == 0, done.output
    model = Model.open(tmp_path / "model")
    assert not replay(model, open_engine("onnxruntime", model.graph, threads=1))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["scores"]["here"]["tiles"] == 6 and result["provenance"]["seed"] == 3
    # What the run was is told in full, with the changes that were made to its file.
    assert result["recipe"]["schedule"]["steps"] == 2 and result["recipe"]["held_out"][0]["name"] == "here"
    assert len(result["provenance"]["environments"]) == 1
    # The figures of the run are those of the published integers.
    where = ["--images", str(labelled["images"]), "--masks", str(labelled["masks"])]
    done = runner.invoke(app, ["evaluate", *where, "--model", str(tmp_path / "model"), "--json"])
    assert json.loads(done.stdout)["iou"] == result["scores"]["here"]["iou"]
    card = (tmp_path / "model" / "CARD.md").read_text()
    assert "| iou |" in card and "Generated for a test." in card


def test_from_recipe_to_a_float_model_that_flies(recipe_file, tmp_path, taran_eo):
    model = tmp_path / "model"
    recipe, labelled = published(recipe_file.read_text(), model)
    assert taran_eo("train", recipe, "-o", tmp_path / "run").code == 0
    where = ("--images", labelled["images"], "--masks", labelled["masks"], "--model", model)
    scores = json.loads((tmp_path / "run" / "result.json").read_text())["scores"]["here"]
    assert json.loads(taran_eo("evaluate", *where, "--json").out)["iou"] == scores["iou"]
    assert (model / "weights.safetensors").read_bytes() == (tmp_path / "run" / "weights.safetensors").read_bytes()
    told = json.loads(taran_eo("inspect", model, "--json").out)
    assert (told["weights"], told["activations"], told["halo_px"]) == ("float32", "float32", 24)
    card = (model / "CARD.md").read_text()
    assert "| weights | float32 |" in card and "| activations | float32 |" in card
    said = taran_eo("run", labelled["images"], "-o", tmp_path / "out", "--model", model, "--json")
    assert (said.code, json.loads(said.out)["scenes"]) == (0, 6)
    assert [taran_eo("verify", folder).code for folder in (model, tmp_path / "out")] == [0, 0]


def test_from_recipe_to_a_gate(recipe_file, tmp_path, taran_eo):
    folder = tmp_path / "gate"
    recipe, labelled = published(recipe_file.read_text(), folder)
    changes = ["network.gate=true", "network.depth=4", "quantization.weights=e2m3", "schedule.crop=64"]
    call = ("train", recipe, "-o", tmp_path / "run", *(word for each in changes for word in ("--set", each)))
    said = taran_eo(*call)
    assert said.code == 0, said.err
    gate = Model.open(folder)
    assert (gate.task, gate.graph.level, gate.graph.weight_formats) == ("ship gate", 4, ("e2m3",))
    assert not replay(gate, open_engine("native", gate.graph, threads=1))
    scores = json.loads((tmp_path / "run" / "result.json").read_text())["scores"]["here"]
    where = ("--images", labelled["images"], "--masks", labelled["masks"], "--gate", folder, "--json")
    told = json.loads(taran_eo("evaluate", *where).out)
    assert {name: scores[name] for name in ("work", "ships", "ships_unseen")} == {
        name: told["gate"][name] for name in ("work", "ships", "ships_unseen")
    }
    assert scores["behind"] == told["gate"]["scores"]
    assert f"| work | {scores['work']:.3f} |" in (folder / "CARD.md").read_text()


def test_a_gate_whose_card_could_not_be_written_is_refused_before_the_training(recipe_file, tmp_path):
    def refused(said, *changes):
        gate = ["network.gate=true", "network.depth=4", "schedule.crop=64"]
        with pytest.raises(ConfigError, match=said):
            carry_out(load_toml(recipe_file, Recipe, [*gate, *changes]), tmp_path, lambda done: None, resume=True)

    refused("only emulated", "quantization.weights=e4m3")
    refused("nothing of what it loses", "publication.folder=gate", "publication.version=first")


def test_a_cell_is_ship_where_any_of_its_pixels_is():
    truth = torch.zeros(2, 1, 32, 48)
    truth[0, 0, 15, 16] = truth[1, 0, 16:20, 31:33] = 1
    cells = in_cells(truth, torch.zeros(2, 1, 2, 3))
    assert cells[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert cells[1, 0].tolist() == [[0, 0, 0], [0, 1, 1]]
    assert in_cells(truth, truth) is truth


def test_what_cannot_be_published_is_refused_before_the_training(recipe_file, tmp_path, monkeypatch):
    publication = ["publication.folder=model", "publication.version=first"]

    def refused(error, said, *changes):
        with pytest.raises(error, match=said):
            carry_out(
                load_toml(recipe_file, Recipe, [*publication, *changes]), tmp_path, lambda done: None, resume=True
            )
        assert not (tmp_path / loop.CHECKPOINT).exists()

    begun = tmp_path / "begun" / "weights.safetensors"
    carry_out(load_toml(recipe_file, Recipe, ["schedule.steps=1"]), begun.parent, lambda done: None, resume=True)
    refused(ConfigError, "There is no file absent.md with the notes", "publication.notes=absent.md")
    refused(ConfigError, "'small' are only emulated", "quantization.weights=e4m3", f"start={begun}")
    monkeypatch.setattr(Network, "build", lambda self, classes=1: Averaging())
    refused(LoweringError, "every convolution but the last needs a ReLU")


class Averaging(nn.Module):
    """A network of an operation that the graph does not know."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)

    def forward(self, pixels):
        return nn.functional.avg_pool2d(self.conv(pixels * 2.0**-8), 3, 1, 1)


def test_a_network_that_has_no_graph_is_trained_and_scored_all_the_same(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(Network, "build", lambda self, classes=1: Averaging())
    recipe = load_toml(recipe_file, Recipe, ["schedule.steps=1"])
    trained = carry_out(recipe, tmp_path / "run", lambda done: None, resume=True)
    assert trained.graph is None and trained.margins() == (128, 4)
    found = list(predictions(trained, read_labels(recipe.source[0].images, recipe.source[0].masks)))
    assert len(found) == 6 and len(scores_of(found[0], (0.1, 0.9))) == 2


def test_margins_do_not_depend_on_the_formats(recipe_file, tmp_path):
    def trained(name, *changes):
        recipe = load_toml(recipe_file, Recipe, ["schedule.steps=1", "quantization.calibration=1", *changes])
        recipe = recipe if changes else recipe.model_copy(update={"quantization": None})
        return carry_out(recipe, tmp_path / name, lambda done: None, resume=True)

    floats, emulated, lowered = trained("f"), trained("e", "quantization.weights=e4m3"), trained("q", "seed=3")
    assert not floats.graph.exact and emulated.graph is None and lowered.graph.exact
    assert floats.margins() == emulated.margins() == lowered.margins() == (24, 4)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    for each, rest in ((floats, tolerance(floats.graph, np.zeros(1))), (lowered, 0)):
        logits = open_engine("auto", each.graph, threads=1).run(pixels)
        gap = np.abs(each.logits(pixels) - logits[0] * each.graph.logit_scale)
        assert gap.max() <= rest * each.graph.logit_scale


def carried(recipe_file, folder, *changes):
    return carry_out(load_toml(recipe_file, Recipe, changes), folder, lambda done: None, resume=True)


def test_random_weights_teach_nothing(recipe_file):
    with pytest.raises(ConfigError, match=r"can only learn from a `distillation\.teacher`"):
        load_toml(recipe_file, Recipe, ["distillation.weight=1.0"])


def test_what_is_no_number_is_no_network(recipe_file, tmp_path, monkeypatch):
    carried(recipe_file, tmp_path / "float", "schedule.steps=1")
    weights = safetensors.numpy.load_file(tmp_path / "float/weights.safetensors")
    weights["encoder.0.1.norm.running_var"][0] = np.inf
    safetensors.numpy.save_file(weights, tmp_path / "broken.safetensors")
    with pytest.raises(ConfigError, match=r"encoder\.0\.1\.norm\.running_var of .* no finite numbers"):
        carried(recipe_file, tmp_path / "next", f"start={tmp_path / 'broken.safetensors'}", "schedule.steps=0")

    def spoilt(network, *rest, **more):
        trained, environments = loop.train(network, *rest, **more)
        trained.head.weight.data[0] = torch.nan
        return trained, environments

    monkeypatch.setattr(outcome, "train", spoilt)
    with pytest.raises(DivergedError, match=r"head\.weight of the trained network"):
        carried(recipe_file, tmp_path / "spoilt", "schedule.steps=1")


def test_what_a_teacher_says_is_learned_beside_the_labels_or_instead(recipe_file, tmp_path):
    recipe = load_toml(recipe_file, Recipe)
    ships = Ships(recipe, pools(recipe))
    logits = torch.tensor([[[[0.3, -2.0]]]], requires_grad=True)
    alike, other = (ships.taught(logits, said) for said in (logits.detach(), -logits.detach()))
    alike.backward()
    assert logits.grad.abs().max() < 1e-7 and other > alike
    # By itself the teacher makes the labels indifferent; beside them it does not.
    carried(recipe_file, tmp_path / "float", "schedule.steps=1")
    start = f"start={tmp_path / 'float' / 'weights.safetensors'}"
    weights = {}
    for share in (1.0, 0.5):
        for missed in (0.3, 0.7):  # a weight of the loss on the labels
            changes = (f"distillation.weight={share}", f"schedule.missed_weight={missed}", "schedule.steps=2", start)
            trained = carried(recipe_file, tmp_path / f"{share} {missed}", *changes)
            weights[share, missed] = trained.weights()["head.weight"]
    assert np.array_equal(weights[1.0, 0.3], weights[1.0, 0.7])
    assert not np.array_equal(weights[0.5, 0.3], weights[0.5, 0.7])


def test_a_teacher_may_be_another_network(recipe_file, tmp_path):
    carried(recipe_file, tmp_path / "wide", "network.width=6", "schedule.steps=1")
    teacher = tmp_path / "wide" / "weights.safetensors"
    changes = ("schedule.steps=1", f"distillation.teacher={teacher}")
    recipe = load_toml(recipe_file, Recipe, (*changes, "distillation.network.width=6", "distillation.network.depth=2"))
    assert str(teacher) in recipe.inputs()
    carry_out(recipe, tmp_path / "taught", lambda done: None, resume=True)
    with pytest.raises(ConfigError, match="cannot be loaded into ThinUNet"):
        carried(recipe_file, tmp_path / "torn", *changes)


def test_without_a_step_a_network_is_only_calibrated(recipe_file, tmp_path):
    carried(recipe_file, tmp_path / "float", "schedule.steps=1")
    start = tmp_path / "float" / "weights.safetensors"
    changes = (f"start={start}", "quantization.calibration=2", "schedule.steps=0")
    first, again = (carried(recipe_file, tmp_path / name, *changes) for name in ("ptq", "again"))
    assert first.graph.exact and first.graph.digest == again.graph.digest


@pytest.mark.parametrize("start", ["float", "scratch"])
def test_scales_learn_and_stay_powers_of_two(recipe_file, tmp_path, start):
    changes = ["quantization.calibration=2", "quantization.learned=true", "quantization.scale_rate=200.0"]
    if start == "float":
        carried(recipe_file, tmp_path / "float", "schedule.steps=1")
        changes.append(f"start={tmp_path / 'float' / 'weights.safetensors'}")
    before = carried(recipe_file, tmp_path / "before", *changes, "schedule.steps=0")
    after = carried(recipe_file, tmp_path / "after", *changes, "schedule.steps=3")
    # Where only the logarithm moves, and no power of two with it, nothing is learned.
    powers = [
        {name: value.round() for name, value in each.weights().items() if "log2" in name} for each in (before, after)
    ]
    moved = [name for name in powers[0] if (powers[0][name] != powers[1][name]).any()]
    assert any("quantizers" in name for name in moved) and any("convolutions" in name for name in moved)
    scales = [tensor.scaling for tensor in after.graph.tensors.values()]
    assert all(scaling.exponents for scaling in scales)  # raises where one is no power of two


def test_what_a_dropout_drops_is_the_same_when_a_run_goes_on(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    recipe = load_toml(
        recipe_file, Recipe, ["network.architecture=fpn", "network.encoder=resnet18", "schedule.steps=3"]
    )
    whole = carry_out(recipe, tmp_path / "whole", lambda done: None, resume=True)

    def kill(done):
        if done.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        carry_out(recipe, tmp_path / "torn", kill, resume=True)
    torn = carry_out(recipe, tmp_path / "torn", lambda done: None, resume=True)
    assert all(np.array_equal(value, torn.weights()[name]) for name, value in whole.weights().items())


def test_an_accumulator_that_is_too_wide_is_told_before_the_training(recipe_file, tmp_path, monkeypatch):
    carried(recipe_file, tmp_path / "float", "schedule.steps=1")
    monkeypatch.setattr(outcome, "train", None)
    wide = ("quantization.weights=int14", "quantization.activations=uint16", "quantization.calibration=1")
    with pytest.raises((GraphError, LoweringError), match="beyond int32"):
        carried(recipe_file, tmp_path / "wide", f"start={tmp_path / 'float' / 'weights.safetensors'}", *wide)


def test_a_network_of_others_is_trained_and_scored_and_lowered_where_it_can(recipe_file, tmp_path):
    network = ("network.architecture=unet", "schedule.steps=1", "schedule.batch=2")
    trained = carried(recipe_file, tmp_path / "resnet", *network, "network.encoder=resnet18")
    assert trained.graph is None and trained.margins() == (128, 32)
    assert trained.logits(np.zeros((3, 64, 64), np.uint8)).shape == (64, 64)
    start = f"start={tmp_path / 'resnet' / 'weights.safetensors'}"
    with pytest.raises(LoweringError, match=r"encoder\.conv1"):
        carried(recipe_file, tmp_path / "q", *network, "network.encoder=resnet18", start, "quantization.calibration=1")
    for wrong, said in (
        ("network.encoder=nothing", "has no unet with the encoder nothing"),
        ("network.width=4", "both"),
    ):
        with pytest.raises(ConfigError, match=said):
            carried(recipe_file, tmp_path / "wrong", *network, wrong)


def test_crops_hold_what_they_are_drawn_for(recipe_file, tmp_path):
    found = pools(load_toml(recipe_file, Recipe))
    rng = np.random.default_rng(0)
    for pool in found:
        for image in pool.images:
            pixels, mask = cut(image, 48, rng, on_ship=pool.on_ships)
            assert pixels.shape == (48, 48, 3) and mask.shape == (48, 48)
            assert mask.any() == pool.on_ships
    small, mask = cut(found[0].images[0], 128, rng, on_ship=True)  # larger than the image: reflected
    assert small.shape == (128, 128, 3) and mask.any()


def test_generated_scenes_are_drawn_like_any_others(recipe_file):
    synthetic = ["synthetic.scenes=6", "synthetic.size=80", "synthetic.ship_share=1.0", "synthetic.empty_share=0.5"]
    recipe = load_toml(recipe_file, Recipe, synthetic)
    with_ships, without = pools(recipe)[-2:]
    assert all(len(image.ships) for image in with_ships.images) and not any(
        len(image.ships) for image in without.images
    )
    pixels, mask = cut(with_ships.images[0], 64, np.random.default_rng(0), on_ship=True)
    assert pixels.shape == (64, 64, 3) and mask.any()
    again = pools(recipe)[-2].images[0]
    assert np.array_equal(again.pixels(), with_ships.images[0].pixels())


def test_a_batch_depends_on_nothing_but_its_step(recipe_file):
    recipe = load_toml(recipe_file, Recipe)
    one, other = (Ships(recipe, pools(recipe)) for _ in range(2))
    one.batch(0)
    first, second = one.batch(7), other.batch(7)
    assert torch.equal(first.pixels, second.pixels) and torch.equal(first.truth, second.truth)
    for ours, theirs in zip(first.drawn, second.drawn, strict=True):
        assert np.array_equal(ours.pixels, theirs.pixels) and np.array_equal(ours.mask, theirs.mask)


def test_empty_images_that_raised_alarms_come_more_often(recipe_file):
    recipe = load_toml(recipe_file, Recipe)
    ships = Ships(recipe, pools(recipe))
    empty = next(number for number, pool in enumerate(ships.pools) if not pool.on_ships)
    crop = Crop(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool), empty, 1)
    for _ in range(20):
        ships.learn(Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), [crop]), torch.tensor([0.5]))
    draws = [ships.pools[empty].draw(np.random.default_rng(seed)) for seed in range(300)]
    assert draws.count(1) > 0.7 * len(draws)


def test_haze_veils_evenly_and_keeps_what_is_there():
    rng = np.random.default_rng(0)
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[4:8, 4:12] = 200
    for _ in range(20):
        veiled = haze(pixels, rng).astype(int)
        contrast = veiled[4:8, 4:12].mean(axis=(0, 1)) - veiled[0, 0]
        assert (contrast >= 29).all() and (contrast <= 161).all() and np.ptp(veiled[4:8, 4:12], axis=(0, 1)).max() == 0


def test_pasted_ships_appear_with_their_mask_on_calm_water_only():
    rng = np.random.default_rng(0)
    calm = np.full((40, 40, 3), 60, np.uint8)
    donor, ship = calm + 20, np.zeros((40, 40), bool)
    ship[10:20, 15:19] = True
    donor[ship] = 220
    pixels, mask = paste(calm, np.zeros((40, 40), bool), donor, ship, rng)
    assert mask.sum() == ship.sum() and (pixels[mask].mean(axis=1) > 150).all()
    far = ~mask & (np.abs(pixels.astype(int) - 60).max(axis=2) > 3)
    assert far.sum() < 4 * ship.sum()
    rough = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert paste(rough, np.zeros((40, 40), bool), donor, ship, rng)[1].sum() == 0


def test_the_loss_against_its_formula(recipe_file):
    schedule = load_toml(recipe_file, Recipe).schedule
    logits = torch.tensor([[[[2.0, -1.0], [0.5, -3.0]]]])
    truth = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    loss, each = SegmentationLoss(schedule)(logits, truth)
    p, t = torch.sigmoid(logits).flatten().double(), truth.flatten().double()
    entropy = -(schedule.positive_weight * t * p.log() + (1 - t) * (1 - p).log()).mean()
    hits, false, missed = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
    tversky = (1 - hits / (hits + 0.4 * false + 0.6 * missed)) ** 0.75
    assert loss.item() == pytest.approx((entropy + tversky).item(), rel=1e-5)
    assert each.item() == pytest.approx(entropy.item(), rel=1e-5)


def test_a_batch_without_ships_has_a_gradient(recipe_file):
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    SegmentationLoss(load_toml(recipe_file, Recipe).schedule)(logits, torch.zeros(2, 1, 4, 4))[0].backward()
    assert logits.grad.isfinite().all() and (logits.grad > 0).all()


def test_the_rate_rises_and_falls(recipe_file):
    schedule = load_toml(recipe_file, Recipe, ["schedule.steps=100"]).schedule
    rates = [loop.learning_rate(step, schedule) for step in range(100)]
    assert max(rates) == rates[9] == pytest.approx(schedule.learning_rate)
    assert rates[0] < rates[5] and rates[-1] < 0.02 * schedule.learning_rate


def test_the_recipes_of_the_project_are_recipes(repository):
    pipelines = repository / "pipelines"
    files = [file for file in pipelines.glob("*.toml") if not file.stem.startswith(("downlink_", "study_"))]
    assert len(files) >= 5 and all(load_toml(file, Recipe).publication is None for file in files)
    published = {file.stem: load_toml(file, Recipe) for file in (pipelines / "models").glob("*.toml")}
    for name, recipe in published.items():
        assert recipe.name == name
        assert recipe.publication is None or (repository / recipe.publication.notes).is_file()


def test_real_labels_are_read_as_they_are(shared_data):
    airbus = shared_data / "airbus"
    train = read_labels(airbus / "train", airbus / "masks.csv")
    assert (len(train), sum(len(image.ships) for image in train)) == (97, 158)
    assert sum(image.mask().sum() for image in train) / (97 * 768**2) == pytest.approx(0.0056, abs=5e-5)


def test_the_recipe_trains_on_as_many_images_as_the_card_says(repository, shared_data, monkeypatch):
    monkeypatch.chdir(repository)
    recipe = load_toml(repository / "pipelines" / "train_thin_unet32.toml", Recipe)
    tiles, exact, loose, empty, other = (len(training_images(source)) for source in recipe.source)
    assert (tiles, exact + loose, empty, other) == (97, 645, 198, 65)


def test_what_a_mask_without_a_wrong_pixel_scores_on_val(shared_data):
    """Ships that touch are one component: the card tells what that costs."""
    val = read_labels(shared_data / "airbus" / "val", shared_data / "airbus" / "masks.csv")
    tiles = [score_tile(image.parts(), image.mask(), gsd_m=1.5) for image in val]
    scores = aggregate(tiles, rng=np.random.default_rng(0))
    assert (sum(scores.found), sum(scores.ships), round(scores.f2.value, 3)) == (21, 24, 0.934)


def test_a_name_that_would_be_a_pattern_is_excluded_as_a_name(tmp_path):
    images, masks = write_tiles(tmp_path, count=2)
    (images / "00000000.jpg").rename(images / "a[1].jpg")
    masks.write_text(masks.read_text().replace("00000000.jpg", "a[1].jpg"))
    source = Source(images=images, masks=masks, exclude=("a[1].jpg",))
    assert [image.path.name for image in training_images(source)] == ["00000001.jpg"]
    everything = Source(images=images, masks=masks, exclude=("*1*",))
    assert training_images(everything) == []


@pytest.mark.parametrize(
    "spoil", [lambda i, m: m.unlink(), lambda i, m: m.write_text("a,b\n1,2\n"), lambda i, m: i.rename("x")]
)
def test_missing_labels_are_told(tmp_path, spoil, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, masks = write_tiles(tmp_path, count=1)
    spoil(images, masks)
    with pytest.raises(ConfigError):
        read_labels(images, masks)
