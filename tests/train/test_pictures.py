"""Classes of pictures as a task of the training loop: what is drawn, what is kept for tuning, and how it is scored."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from taran_eo.config import load_toml
from taran_eo.errors import ConfigError
from taran_eo.metrics import wilson
from taran_eo.provenance import sha256_file, sha256_folder
from taran_eo.train import Recipe, carry_out, loop
from taran_eo.train.pictures import CALIBRATION_STEP, Pictures, as_pixels, is_right, learned, scored
from tests.train.classified import CLASSES, RECIPE, labels_of, smooth, write_batches, write_folders, write_jpegs

COUNT = 60


@pytest.fixture
def numbered(tmp_path):
    """A recipe for pictures of one grey each, which tells their number: moved and mirrored they are what they were."""
    pixels = np.empty((COUNT, 32, 32, 3), np.uint8)
    pixels[:] = np.arange(COUNT)[:, None, None, None]
    folder = write_batches(tmp_path / "numbered", pixels, labels_of(COUNT))
    write_batches(folder, pixels[:21], labels_of(21), part="test")
    path = tmp_path / "numbered.toml"
    path.write_text(RECIPE.format(depth=20, side=32, train=folder, test=folder))
    return path


def task(path, *changes):
    recipe = load_toml(path, Recipe, changes)
    return Pictures(recipe, recipe.images)


def drawn(pictures, step):
    batch = pictures.batch(step)
    numbers = batch.pixels[:, 0, 0, 0].long()
    assert (
        torch.equal(batch.truth, torch.from_numpy(pictures.found.labels)[numbers]) and batch.truth.dtype == torch.int64
    )
    return numbers.tolist()


def test_every_picture_of_an_epoch_is_drawn_once(numbered):
    pictures = task(numbered)
    epochs = [[number for step in range(15) for number in drawn(pictures, 15 * epoch + step)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] and epochs[0] != sorted(epochs[0])
    other = task(numbered, "seed=4")
    assert drawn(other, 0) != drawn(pictures, 0)


def test_of_an_epoch_that_batches_do_not_fill_the_rest_is_left_out(numbered):
    pictures, seen = task(numbered, "schedule.batch=25"), set()
    for epoch in range(20):
        both = drawn(pictures, 2 * epoch) + drawn(pictures, 2 * epoch + 1)
        assert len(set(both)) == 50
        seen |= set(both)
    assert seen == set(range(COUNT))


def test_a_batch_depends_on_nothing_but_its_step(tmp_path):
    files, _ = smooth(40)
    place = write_jpegs(tmp_path / "a.npz", files, labels_of(40))
    path = tmp_path / "a.toml"
    path.write_text(RECIPE.format(depth=20, side=32, train=place, test=place))
    one, other = task(path), task(path)
    for step in range(5):
        one.batch(step)
    for step in (0, 12, CALIBRATION_STEP + 1):
        first, second = one.batch(step), other.batch(step)
        assert torch.equal(first.pixels, second.pixels) and torch.equal(first.truth, second.truth)
        assert first.pixels.shape == (4, 3, 32, 32) and first.pixels.dtype == torch.float32
        assert first.pixels.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(one.batch(0).pixels, one.batch(1).pixels)


def test_pictures_for_tuning_are_never_learned_and_the_same_in_every_run(numbered):
    pictures = task(numbered, "images.tuning=20")
    found, kept = scored(pictures.recipe.images)
    assert len(kept) == 20 and found.labels.shape == (COUNT,) and np.array_equal(kept, np.sort(kept))
    steps = [*range(30), *range(CALIBRATION_STEP, CALIBRATION_STEP + 30)]
    assert {number for step in steps for number in drawn(pictures, step)} == set(range(COUNT)) - set(kept.tolist())
    for change in ("seed=4", "schedule.batch=7", "schedule.learning_rate=1.0"):
        assert np.array_equal(scored(task(numbered, "images.tuning=20", change).recipe.images)[1], kept)
    # Fewer are some of them, so that what was tuned on many may be tuned on.
    assert set(scored(pictures.recipe.images.model_copy(update={"tuning": 5}))[1]) < set(kept)
    assert kept.tolist() != list(range(20)) and np.array_equal(learned(pictures.recipe.images, COUNT), pictures.numbers)


def test_without_tuning_all_are_learned_and_the_test_is_scored(numbered):
    pictures = task(numbered)
    found, numbers = scored(pictures.recipe.images)
    assert np.array_equal(pictures.numbers, np.arange(COUNT)) and np.array_equal(numbers, np.arange(21))
    assert len(found.labels) == 21


class Grey(nn.Module):
    """Tells the class of a numbered picture, but for one that it takes for another."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def forward(self, pixels):
        assert not torch.is_grad_enabled()
        numbers = pixels[:, 0, 0, 0].long()
        return nn.functional.one_hot((numbers + (numbers == self.wrong)) % len(CLASSES), len(CLASSES)).float()


@pytest.mark.parametrize("at_once", [1 << 19, 10 * 32 * 32, 1])
def test_what_is_right_is_told_picture_by_picture(numbered, monkeypatch, at_once):
    monkeypatch.setattr("taran_eo.train.pictures.SCORED_PIXELS", at_once)
    images = load_toml(numbered, Recipe).images
    right = is_right(Grey(13), images)
    assert right.dtype == np.bool_ and np.flatnonzero(~right).tolist() == [13] and len(right) == 21
    tuning = images.model_copy(update={"tuning": 30})
    _, kept = scored(tuning)
    assert np.array_equal(is_right(Grey(kept[4]), tuning), np.arange(30) != 4)


def test_pixels_are_what_the_picture_says():
    crops = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    assert np.array_equal(as_pixels(crops).permute(0, 2, 3, 1).numpy(), crops)


def test_the_loss_is_that_of_each_picture_and_a_teacher_is_matched_best_by_itself(numbered):
    pictures = task(numbered)
    logits, truth = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    logits.requires_grad_()
    loss, each = pictures.loss(logits, truth)
    expected = [-(row.exp() / row.exp().sum()).log()[label].item() for row, label in zip(logits, truth, strict=True)]
    assert each.tolist() == pytest.approx(expected) and loss.item() == pytest.approx(np.mean(expected))
    assert loss.requires_grad and not each.requires_grad
    alike, other = (pictures.taught(logits, said) for said in (logits.detach(), -logits.detach()))
    alike.backward()
    assert logits.grad.abs().max() < 1e-6 and other > alike
    pictures.learn(pictures.batch(0), each)
    pictures.recall(pictures.remember())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["schedule.batch=61"], "A batch of 61 is more than the 60 pictures of .*numbered.*Lower schedule.batch"),
        (["images.tuning=57"], "No picture of the class (airplane|automobile|bird) is learned from .*numbered"),
        (["images.tuning=60"], "No picture of the class airplane is learned"),
        (["images.train=absent"], "No pictures are at absent"),
        (["images.test=absent"], "No pictures are at absent"),
        (["images.side=64"], "32 rows and columns, not 64"),
    ],
)
def test_what_cannot_be_learned_is_told_before_the_training(numbered, change, said):
    with pytest.raises(ConfigError, match=said):
        task(numbered, *change)


def test_a_test_of_other_classes_is_told_before_the_training(numbered, tmp_path):
    """A class that is missing would give all that follow it another number."""
    files, pixels = smooth(9)
    for classes, said in (
        ((*CLASSES[:2], "ship"), "they differ in bird, ship"),
        ((*CLASSES, "cat"), "they differ in cat"),
        ((CLASSES[1], CLASSES[0], CLASSES[2]), "they differ in their order"),
    ):
        place = write_jpegs(tmp_path / "test.npz", files, labels_of(9), classes)
        with pytest.raises(ConfigError, match=rf"classes of .*test\.npz are not those of .*numbered: {said}"):
            task(numbered, f"images.test={place}")
    assert task(numbered, f"images.test={place}", "images.tuning=3")  # not looked at
    folders = write_folders(tmp_path / "train", pixels, labels_of(9))
    shutil.copytree(folders, tmp_path / "test")
    shutil.rmtree(tmp_path / "test" / "automobile")
    with pytest.raises(ConfigError, match="differ in automobile"):
        task(numbered, f"images.train={folders}", f"images.test={tmp_path / 'test'}")
    (folders / "empty").mkdir()
    with pytest.raises(ConfigError, match="No picture of the class empty"):
        task(numbered, f"images.train={folders}", f"images.test={tmp_path / 'test'}")


@pytest.mark.parametrize(
    ("without", "more", "said"),
    [
        ("[images]", "", "give the `[[source]]` of ships, or the `[images]` of classes"),
        ("", '[[source]]\nimages = "a"\nmasks = "b"\n', "give the `[[source]]` of ships, or the `[images]` of classes"),
        ("[network]", "", "`network.resnet` classifies `[images]`, and nothing else does"),
        ("", "[distillation.network]\nwidth = 4\n", "`distillation.network` and `network` must do the same"),
        ("", "[synthetic]\n", "are for ships"),
        ("", "[augmentation]\nhaze = 0.5\n", "are for ships"),
        ("", '[publication]\nfolder = "a"\nversion = "1"\n', "are for ships"),
        ("", '[[held_out]]\nname = "a"\nimages = "b"\nmasks = "c"\n', "are for ships"),
    ],
)
def test_recipes_that_mix_pictures_with_ships_are_refused_with_words(numbered, without, more, said):
    tables = [f"[{table}" for table in numbered.read_text().split("\n[")]
    tables[0] = tables[0][1:]
    numbered.write_text("\n".join(table for table in tables if not (without and table.startswith(without))) + more)
    with pytest.raises(ConfigError) as told:
        load_toml(numbered, Recipe)
    assert said in str(told.value)


def test_ships_are_not_classified(numbered):
    ships = ['source=[{images = "a", masks = "b"}]']
    text = numbered.read_text()
    numbered.write_text(text[: text.index("[images]")] + text[text.index("[schedule]") :])
    with pytest.raises(ConfigError, match=r"`network\.resnet` classifies `\[images\]`, and nothing else does"):
        load_toml(numbered, Recipe, ships)


@pytest.mark.parametrize("other", [["network.gate=true"], ["network.architecture=unet", "network.encoder=resnet18"]])
def test_a_residual_network_is_no_other_one_too(numbered, other):
    with pytest.raises(ConfigError, match="a `resnet` has a number of layers, and nothing else"):
        load_toml(numbered, Recipe, other)


def test_a_teacher_may_be_another_residual_network(numbered, tmp_path):
    def carried(name, *changes):
        recipe = load_toml(numbered, Recipe, ["schedule.steps=1", *changes])
        carry_out(recipe, tmp_path / name, lambda done: None, resume=True)
        return f"{tmp_path / name}/weights.safetensors"

    alike, other = carried("alike"), carried("other", "network.resnet=18", "schedule.batch=2")
    carried("taught", f"distillation.teacher={alike}", "distillation.weight=0.5")
    carried("taught by another", f"distillation.teacher={other}", "distillation.network.resnet=18")
    with pytest.raises(ConfigError, match="cannot be loaded into ResNet"):
        carried("torn", f"distillation.teacher={other}")


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("depth", "side"), [(20, 32), (18, 64)])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch, depth, side):
    """Both networks, from the small pictures in memory and from a folder of files for each class."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    _, pixels = smooth(11, side=side + side // 8)
    if depth == 18:
        place = write_folders(tmp_path / "files", pixels, labels_of(11))
    else:
        place = write_batches(tmp_path / "batches", pixels[:, :32, :32], labels_of(11))
        write_batches(place, pixels[:, :32, :32], labels_of(11), part="test")
    path = tmp_path / "small.toml"
    path.write_text(RECIPE.format(depth=depth, side=side, train=place, test=place))
    recipe = load_toml(path, Recipe)
    whole = carry_out(recipe, tmp_path / "whole", lambda done: None, resume=True)
    assert whole.graph is None

    def kill(done):
        if done.step == 3:  # one step after the checkpoint, whose work is lost
            raise KilledError

    with pytest.raises(KilledError):
        carry_out(recipe, tmp_path / "torn", kill, resume=True)
    steps = []
    torn = carry_out(recipe, tmp_path / "torn", lambda done: steps.append(done.step), resume=True)
    assert steps == [3, 4] and (tmp_path / "torn" / loop.LOG).read_text() == (tmp_path / "whole" / loop.LOG).read_text()
    assert len(whole.weights()) == len(torn.weights()) > 100
    for name, value in whole.weights().items():
        assert np.array_equal(value, torn.weights()[name]), name
    for name in ("whole", "torn"):  # hundreds of megabytes
        shutil.rmtree(tmp_path / name)


def test_a_network_learns_what_is_easy(tmp_path, taran_eo):
    """Classes of one colour each, from the recipe to the scores."""
    rng = np.random.default_rng(0)
    labels = labels_of(120)
    pixels = rng.integers(0, 60, (120, 32, 32, 3), dtype=np.uint8)
    pixels[np.arange(120), :, :, labels] += 150
    folder = write_batches(tmp_path / "colours", pixels, labels)
    write_batches(folder, pixels[:90], labels[:90], part="test")
    path, out = tmp_path / "colours.toml", tmp_path / "out"
    path.write_text(RECIPE.format(depth=20, side=32, train=folder, test=folder))
    said = taran_eo("train", path, "-o", out, "--set", "schedule.steps=20", "--set", "schedule.batch=12")
    assert said.code == 0, said.err
    result = json.loads((out / "result.json").read_text())
    scores = result["scores"]["test"]
    with np.load(out / "right.npz") as held:
        assert held.files == ["test"] and held["test"].dtype == np.bool_ and held["test"].shape == (90,)
        assert scores["right"] == held["test"].sum() >= 80 and scores["pictures"] == 90
    share = wilson(scores["right"], 90)
    assert (scores["accuracy"], tuple(scores["accuracy_ci"])) == (share.value, share.ci)
    assert said.out == f"test: right {share}, {scores['right']} of 90 pictures\n"
    made = result["provenance"]
    assert made["held_out"] == made["inputs"] == {str(folder): sha256_folder(folder)}
    assert result["recipe"]["images"]["test"] == str(folder) and made["recipe"] == "colours.toml"
    # Told again without training; begun anew, there are no old scores beside new weights.
    again = taran_eo("train", path, "-o", out, "--set", "schedule.steps=20", "--set", "schedule.batch=12")
    assert again.out == said.out and json.loads((out / "result.json").read_text()) == result
    broken = (*("train", path, "-o", out, "--restart"), "--set", "images.tuning=120")
    assert taran_eo(*broken).code == 2 and not (out / "result.json").exists() and not (out / "right.npz").exists()
    tuned = taran_eo("train", path, "-o", out, "--restart", "--set", "images.tuning=30", "--set", "schedule.steps=1")
    assert tuned.out.startswith("tuning: right 0.") and tuned.out.endswith(" of 30 pictures\n")
    with np.load(out / "right.npz") as held:
        assert held.files == ["tuning"] and held["tuning"].shape == (30,)
    assert list(json.loads((out / "result.json").read_text())["scores"]) == ["tuning"]


def test_a_quantized_network_is_scored_like_any_other(numbered, tmp_path, taran_eo):
    def scores(name, *changes):
        words = (word for each in ("schedule.steps=1", *changes) for word in ("--set", each))
        said = taran_eo("train", numbered, "-o", tmp_path / name, *words)
        assert said.code == 0, said.err
        return json.loads((tmp_path / name / "result.json").read_text())["scores"]["test"]["pictures"]

    start = f"start={tmp_path / 'float' / 'weights.safetensors'}"
    assert scores("float") == scores("q", start, "quantization.way=lsq", "quantization.weights=int4") == 21


def test_the_digest_of_what_was_scored_is_told(tmp_path, taran_eo):
    files, _ = smooth(12)
    train, test = (write_jpegs(tmp_path / name, files, labels_of(12)) for name in ("train.npz", "test.npz"))
    path = tmp_path / "a.toml"
    path.write_text(RECIPE.format(depth=20, side=32, train=train, test=test))
    for tuning, place in ((), test), (("--set", "images.tuning=4"), train):
        said = taran_eo("train", path, "-o", tmp_path / place.stem, "--set", "schedule.steps=1", *tuning)
        assert said.code == 0, said.err
        made = json.loads((tmp_path / place.stem / "result.json").read_text())["provenance"]
        assert made["held_out"] == {str(place): sha256_file(place)} and made["inputs"] == {
            str(train): sha256_file(train)
        }


def test_the_digest_of_a_folder_is_of_all_that_lies_below(tmp_path):
    digests = set()
    for number, place in enumerate(("a/one", "a/two", "b/one", "one")):
        for content in (b"", b"x"):
            root = tmp_path / f"{number}{content.decode()}"
            (root / place).parent.mkdir(parents=True)
            (root / place).write_bytes(content)
            digests.add(sha256_folder(root))
    assert len(digests) == 8


def test_faults_of_pictures_are_told_without_a_traceback(numbered, tmp_path, taran_eo):
    def told(code, said, *changes):
        call = taran_eo(
            "train", numbered, "-o", tmp_path / "out", *(word for each in changes for word in ("--set", each))
        )
        assert call.code == code and call.err.startswith("taran-eo: ") and said in call.err, call.err

    folder = tmp_path / "numbered"
    told(2, "No pictures are at absent. Fetch the data set", "images.train=absent")
    told(2, "cannot be loaded into ResNet", f"start={tmp_path / 'absent.safetensors'}")
    (folder / "data_batch_2").write_bytes((folder / "data_batch_2").read_bytes()[:-1000])
    told(1, "data_batch_2 is damaged, cut short or missing")
    root = write_folders(tmp_path / "files", smooth(9)[1], labels_of(9))
    (root / "bird" / "00002.png").write_bytes(b"no picture")
    # The epoch comes to it in one of its two steps.
    told(1, "00002.png is no JPEG, PNG", f"images.train={root}", f"images.test={root}", "schedule.batch=4")
    (root / "bird" / "00002.png").unlink()
    (root / "bird" / "00009.png").write_bytes((root / "bird" / "00005.png").read_bytes()[:-300])
    told(1, "00009.png is damaged or cut short", f"images.train={root}", f"images.test={root}", "schedule.batch=9")
