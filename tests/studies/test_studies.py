"""Cross-validation: no network is scored on water that it saw, and a killed study ends as if it had not been."""

import csv
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from taran_eo.cli import app
from taran_eo.config import load_toml
from taran_eo.errors import ConfigError, DivergedError
from taran_eo.imagery import LabelledImage, kaggle_encode
from taran_eo.metrics import TileScore
from taran_eo.studies import part
from taran_eo.studies.answer import Scored, choose
from taran_eo.studies.folds import deal, near_shore, shared_water
from taran_eo.studies.kinds import load_study
from taran_eo.studies.part import PROBABILITIES
from taran_eo.studies.plots import plot_losses
from taran_eo.studies.rows.study import RowStudy
from taran_eo.studies.run import run
from taran_eo.studies.study import FoldStudy
from taran_eo.studies.tables import write
from taran_eo.train import Recipe, data
from taran_eo.train.outcome import formats
from tests.train.labelled import QUANTIZATION, RECIPE, write_tiles

STUDY = """
name = "small_folds"
question = "Does a study work?"
folds = 3
seeds = [0, 7]
shared_water = "{water}"
pairs = [["e2m3 qat", "int6/ue2m4 qat"], ["longer", "reference"]]
[[tiles]]
images = "{images}"
masks = "{masks}"
[[tiles]]
images = "{more}"
masks = "{masks}"
[common]
recipe = "{recipe}"
set = ["schedule.steps=1", "synthetic.scenes=2", "synthetic.size=64", "synthetic.empty_share=1.0"]
[reference]
recipe = "{recipe}"
set = ["schedule.steps=2"]
[[variant]]
name = "longer"
recipe = "{recipe}"
set = ["schedule.steps=1"]
[[grid]]
setting = "qat"
formats = ["e2m3", "int6/ue2m4"]
control = "longer"
recipe = "{quantized}"
set = ["schedule.steps=1"]
folds = 2
seeds = 1
"""

CROPS = """
[[source]]
images = "{images}"
masks = "{masks}"
ship_share = 0.2
empty_share = 0.2
"""


MORE = """
[[variant]]
name = "few"
recipe = "{recipe}"
set = ["schedule.steps=1"]
start = "common"
tiles = 2
seeds = 1
[[variant]]
name = "alone"
recipe = "{recipe}"
set = ["schedule.steps=1", "synthetic.scenes=2", "synthetic.size=64", "synthetic.empty_share=1.0"]
start = "random"
seeds = 1
"""


@pytest.fixture
def study_file(tmp_path):
    images, masks = write_tiles(tmp_path)
    names = sorted(path.name for path in images.iterdir())
    more = tmp_path / "val"
    more.mkdir()
    for name in names[4:]:
        (images / name).rename(more / name)
    crops, crop_masks = write_tiles(tmp_path / "crops", count=3, first=16)
    recipe, quantized, water = tmp_path / "small.toml", tmp_path / "quantized.toml", tmp_path / "water.json"
    recipe.write_text(RECIPE.format(images=images, masks=masks) + CROPS.format(images=crops, masks=crop_masks))
    quantized.write_text(recipe.read_text() + QUANTIZATION)
    pairs = [{"image": names[0], "other": names[3]}, {"image": "00000010.jpg", "other": names[1]}]
    water.write_text(json.dumps({"pairs": pairs}))
    path = tmp_path / "study.toml"
    path.write_text(
        STUDY.format(images=images, more=more, masks=masks, recipe=recipe, quantized=quantized, water=water)
    )
    return path


def test_no_network_is_scored_on_what_it_was_trained_on(study_file, tmp_path, monkeypatch):
    study = load_toml(study_file, FoldStudy)
    trained_on = {}
    real = part.carry_out

    def noted(recipe, folder, report, *, resume):
        trained_on[folder] = {
            image.path.name for pool in data.pools(recipe) for image in pool.images if isinstance(image, LabelledImage)
        }
        return real(recipe, folder, report, resume=resume)

    monkeypatch.setattr(part, "carry_out", noted)
    answer = run(study, tmp_path / "out", lambda name: lambda done: None)
    tiles = {path.name for table in study.tiles for path in table.images.iterdir()}
    crops = {"00000010.jpg", "00000011.jpg", "00000012.jpg"}
    assert len(tiles) == 6
    # The first crop shows the water of one tile.
    assert trained_on[tmp_path / "out" / "common"] == crops - {"00000010.jpg"}
    for network, folder, seed, last in (
        ("reference", "reference", 0, 3),
        ("longer", "longer", 7, 3),
        ("e2m3 qat", "e2m3_qat", 0, 2),
        ("int6/ue2m4 qat", "int6-ue2m4_qat", 0, 2),
    ):
        scored = [tile for tile in answer.tiles if (tile.network, tile.seed) == (network, seed)]
        assert {tile.fold for tile in scored} == set(range(last))
        if last == 3:
            assert sorted(tile.image for tile in scored) == sorted(tiles)
        for fold in range(last):
            held = {tile.image for tile in scored if tile.fold == fold}
            assert ("00000000.jpg" in held) == ("00000003.jpg" in held)
            seen = crops - {"00000010.jpg"} if "00000001.jpg" in held else crops
            assert trained_on[tmp_path / "out" / f"fold_{fold}" / f"seed_{seed}" / folder] == (tiles - held) | seen
    rows = {row.name: row for row in answer.rows}
    assert list(rows) == ["reference", "common", "longer", "e2m3 qat", "int6/ue2m4 qat"]
    assert rows["common"].scores.tiles == 6 and rows["reference"].scores.tiles == 12
    # Tiles of the same water are one draw of the bootstrap.
    assert rows["reference"].scores.groups == 5
    assert list(rows["e2m3 qat"].iou) == [(0, 0), (1, 0)] and len(rows["longer"].iou) == 6
    assert [row.control for row in answer.rows] == [None, "reference", "reference", "longer", "longer"]
    assert rows["reference"].comparison is None and "iou" in rows["common"].comparison.differences
    assert "iou" in rows["e2m3 qat"].comparison.differences
    # Pairs stand in the folds and seeds that both have; only quantized networks agree with a float one.
    quantized, floats = answer.pairs
    assert quantized.networks == ("e2m3 qat", "int6/ue2m4 qat") and floats.agreement is None
    assert quantized.comparison.cells == ((0, 0), (1, 0)) and len(floats.comparison.cells) == 6
    less = [rows[name].comparison.differences["iou"].value for name in quantized.networks]
    assert quantized.comparison.differences["iou"].value == pytest.approx(less[0] - less[1])
    assert floats.comparison.differences == rows["longer"].comparison.differences
    agreed = [rows[name].agreement.value for name in quantized.networks]
    assert quantized.agreement.value == pytest.approx(agreed[0] - agreed[1])
    assert rows["longer"].agreement is None and (tmp_path / "out/fold_0/seed_0/longer/logits.npz").exists()
    assert not (tmp_path / "out/fold_0/seed_0/reference/logits.npz").exists()  # nothing quantized goes with it
    # Both count their own pixels: what they share and what each has alone.
    said = {(tile.network, tile.image, tile.seed): tile.score for tile in answer.tiles}
    for tile in answer.tiles:
        if tile.agreement:
            own, other, agreed = tile.score, said["longer", tile.image, tile.seed], tile.agreement[tile.position]
            both = agreed.true_positive_px
            assert both + agreed.false_positive_px == own.true_positive_px + own.false_positive_px
            assert both + agreed.false_negative_px == other.true_positive_px + other.false_positive_px
    # A quantized network is read as its control is.
    assert [rows[name].probabilities[1, 0] for name in ("e2m3 qat", "longer")] == [
        rows["longer"].probabilities[1, 0]
    ] * 2


def test_networks_may_see_fewer_tiles_or_none(study_file, tmp_path, monkeypatch):
    text = study_file.read_text()
    study_file.write_text(text[: text.index("[[variant]]")] + MORE.format(recipe=tmp_path / "small.toml"))
    seen, starts = {}, {}
    real = part.carry_out

    def noted(recipe, folder, report, *, resume):
        images = [image for pool in data.pools(recipe) for image in pool.images if isinstance(image, LabelledImage)]
        seen[folder] = {image.path.name for image in images}
        starts[folder] = recipe.start
        return real(recipe, folder, report, resume=resume)

    monkeypatch.setattr(part, "carry_out", noted)
    study = load_toml(study_file, FoldStudy, ["seeds=[0]", "pairs=[]"])
    rows = {row.name: row for row in run(study, tmp_path / "out", lambda name: lambda done: None).rows}
    tiles = {path.name for table in study.tiles for path in table.images.iterdir()}
    for fold in range(3):
        place = tmp_path / "out" / f"fold_{fold}/seed_0/few"
        assert len(seen[place] & tiles) == 2 and starts[place] == tmp_path / "out/common/weights.safetensors"
        assert seen[place] & tiles < seen[place.with_name("reference")]
    alone = tmp_path / "out/seed_0/alone"
    assert not seen[alone] & tiles and starts[alone] is None
    assert rows["alone"].scores.tiles == 6 and len(rows["alone"].iou) == 3 and len(rows["few"].iou) == 3


def test_the_threshold_of_a_fold_is_chosen_without_it():
    """Each fold alone is best at a place of its own; what decides is where the others together are best."""

    def scored(network, fold, best, weight=1):
        hits = [weight * (100 - abs(place - best)) for place in range(len(PROBABILITIES))]
        curve = tuple(TileScore(hit, 0, 100 * weight - hit, 1, (1,), (1,), 1, (1,), 1, 1) for hit in hits)
        return Scored("tile", fold, 0, network, curve)

    tiles = [scored("reference", fold, best) for fold, best in enumerate((2, 8, 8))]
    tiles += [scored("quantized", fold, best) for fold, best in enumerate((12, 1, 1))]
    tiles += [scored("common", 0, 5), scored("common", 1, 9, weight=3), scored("common", 2, 11), scored("alone", 0, 3)]
    found = {(tile.network, tile.fold): tile for tile in choose(tiles, {"quantized": "reference"})}
    for network in ("reference", "quantized"):
        # Between 2 and 8 two folds are equally good everywhere: the lowest place is taken.
        assert [found[network, fold].position for fold in range(3)] == [8, 2, 2]
    assert [found["common", fold].position for fold in range(3)] == [9, 5, 9]
    assert PROBABILITIES[found["alone", 0].position] == 0.5
    assert found["reference", 0].score == tiles[0].curve[8]


def test_a_killed_study_ends_as_if_it_had_not_been(study_file, tmp_path):
    command = ["study", str(study_file), "-o"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "whole")])
    assert done.exit_code == 0, done.output
    assert "e2m3 qat: IoU" in done.stdout and "  less longer: " in done.stdout

    class KilledError(Exception):
        pass

    def kill(done):
        raise KilledError

    with pytest.raises(KilledError):
        run(
            load_toml(study_file, FoldStudy),
            tmp_path / "torn",
            lambda name: kill if name.endswith("fold_1/seed_0/e2m3_qat") else lambda done: None,
        )
    begun = []
    study = load_toml(study_file, FoldStudy)
    answer = run(study, tmp_path / "torn", lambda name: begun.append(name) or (lambda done: None))
    assert [name.partition("/")[2] for name in begun] == [
        *("fold_1/seed_0/e2m3_qat", "fold_0/seed_0/int6-ue2m4_qat", "fold_1/seed_0/int6-ue2m4_qat"),
        *(f"fold_{fold}/seed_7/{network}" for network in ("reference", "longer") for fold in range(3)),
    ]
    assert CliRunner().invoke(app, [*command, str(tmp_path / "torn")]).exit_code == 0
    torn, whole = (tmp_path / name / "result_tiles.csv.gz" for name in ("torn", "whole"))
    assert torn.read_bytes() == whole.read_bytes()
    result = json.loads((tmp_path / "whole/result.json").read_text())
    with gzip.open(whole, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["network"] == "e2m3 qat"]
    hit, false, missed = (
        sum(int(row[f"{kind}_px"]) for row in rows) for kind in ("true_positive", "false_positive", "false_negative")
    )
    assert result["rows"]["e2m3 qat"]["scores"]["iou"] == pytest.approx(hit / (hit + false + missed))
    alike, unlike = (sum(int(row[f"{kind}_px"]) for row in rows) for kind in ("alike", "unlike"))
    assert result["rows"]["e2m3 qat"]["agreement"]["value"] == pytest.approx(alike / (alike + unlike))
    assert result["provenance"]["config_sha256"]
    assert len(result["provenance"]["environments"]) == 1
    assert len(result["recipes"]) == 1 + 2 * 2 * 3 + 2 * 2
    assert len(set(result["recipes"].values())) == len(result["recipes"])
    with (tmp_path / "whole/result.csv").open() as file:
        table = {row["network"]: row for row in csv.DictReader(file)}
    assert list(table) == ["float32", "common", "longer", "e2m3 qat", "int6/ue2m4 qat"]
    assert (table["e2m3 qat"]["folds"], table["e2m3 qat"]["seeds"], table["e2m3 qat"]["weight_bits"]) == ("2", "1", "6")
    spelled = [(row["weights"], row["activations"], row["activation_bits"]) for row in table.values()]
    assert spelled[3:] == [("e2m3", "ue2m4", "6"), ("int6", "ue2m4", "6")]
    assert spelled[0] == ("float32", "float32", "32")
    assert float(table["e2m3 qat"]["iou"]) == pytest.approx(hit / (hit + false + missed), abs=1e-5)
    assert (tmp_path / "whole/result.md").read_text().count("\n| ") == 2 + len(table) + 2 + 2  # and those of two pairs
    assert (tmp_path / "whole/result_curve.png").read_bytes().startswith(b"\x89PNG")
    # Networks of fewer folds than others do not stand beside them in the plot.
    lines, _ = write(answer, study, tmp_path / "again/result")
    for folds, plotted in ((3, False), (2, True)):
        plot_losses(study.model_copy(update={"folds": folds}), lines, tmp_path / "plot.png")
        assert (tmp_path / "plot.png").exists() == plotted
    assert not (tmp_path / "whole/result.png").exists()
    # What is there is told without training; what is not there is left out.
    for place in ("fold_1/seed_0/e2m3_qat", "fold_2/seed_7/longer"):
        shutil.rmtree(tmp_path / "torn" / place)
    lost = tmp_path / "torn/fold_0/seed_0/e2m3_qat/weights.safetensors"
    lost.unlink()
    assert CliRunner().invoke(app, [*command, str(tmp_path / "torn"), "--tell"]).exit_code == 0
    assert not lost.exists() and not (tmp_path / "torn/fold_1/seed_0/e2m3_qat").exists()
    with (tmp_path / "torn/result.csv").open() as file:
        table = {row["network"]: row for row in csv.DictReader(file)}
    assert table["e2m3 qat"]["folds"] == table["e2m3 qat"]["runs"] == "1"
    assert (table["longer"]["folds"], table["longer"]["seeds"], table["longer"]["runs"]) == ("3", "2", "5")
    assert "| longer | 32 | - | - | 5 runs |" in (tmp_path / "torn/result.md").read_text()


def test_one_cell_is_carried_out_with_what_it_builds_on(study_file, tmp_path):
    command = ["study", str(study_file), "-o", str(tmp_path / "out"), "--only"]
    assert CliRunner().invoke(app, [*command, "fold_1/seed_7/longer"]).exit_code == 0
    places = {str(path.parent.relative_to(tmp_path / "out")) for path in (tmp_path / "out").glob("**/tiles.json")}
    assert places == {"common", "fold_1/seed_7/longer", *(f"fold_{fold}/seed_7/reference" for fold in range(3))}
    with (tmp_path / "out/result.csv").open() as file:
        runs = [(row["network"], row["runs"]) for row in csv.DictReader(file)]
    assert runs == [("float32", "3"), ("common", "3"), ("longer", "1")]
    # Begun anew it is the same again, and what it builds on stays as it was.
    again = tmp_path / "out/fold_1/seed_7/longer/tiles.json"
    before, stays = again.read_bytes(), tmp_path / "out/fold_1/seed_7/reference/tiles.json"
    again.write_text("damaged")
    made = stays.stat().st_mtime_ns
    assert CliRunner().invoke(app, [*command, "fold_1/seed_7/longer", "--restart"]).exit_code == 0
    assert again.read_bytes() == before and stays.stat().st_mtime_ns == made
    assert "--restart throws away" in str(CliRunner().invoke(app, ["study", str(study_file), "--restart"]).exception)
    nothing = ["study", str(study_file), "-o", str(tmp_path / "none"), "--tell"]
    assert "No network of" in str(CliRunner().invoke(app, nothing).exception)
    assert not list(tmp_path.glob("none/*"))


def test_a_run_that_diverges_is_told_and_averaged_into_nothing(study_file, tmp_path, monkeypatch):
    real = part.carry_out

    def broken(recipe, folder, report, *, resume):
        if folder.parts[-3:] == ("fold_1", "seed_0", "e2m3_qat"):
            raise DivergedError("The loss became nan", remedy="Lower the rate")
        return real(recipe, folder, report, resume=resume)

    monkeypatch.setattr(part, "carry_out", broken)
    study = load_toml(study_file, FoldStudy, ["seeds=[0]"])
    for _ in range(2):  # also when it is read again
        row = next(r for r in run(study, tmp_path / "out", lambda name: lambda done: None).rows if r.name == "e2m3 qat")
        assert row.diverged == ((1, 0),) and list(row.iou) == [(0, 0)] and row.scores.tiles == 2
        assert row.comparison.differences["iou"].ci is None and row.comparison.equivalence is None
    monkeypatch.setattr(part, "carry_out", lambda *a, **k: broken(a[0], Path("fold_1/seed_0/e2m3_qat"), a[2], **k))
    for base, place in (({}, "common"), ({"common": None}, "fold_0/seed_0/reference")):
        with pytest.raises(DivergedError, match=f"{place} diverged, and others build on it"):
            run(study.model_copy(update=base), tmp_path / place.replace("/", "_"), lambda name: lambda done: None)


def test_a_study_of_which_all_diverged_says_so(study_file, tmp_path, monkeypatch):
    def broken(recipe, folder, report, *, resume):
        raise DivergedError("The loss became nan", remedy="Lower the rate")

    monkeypatch.setattr(part, "carry_out", broken)
    alone = f'variant=[{{name = "alone", recipe = "{study_file.with_name("small.toml")}", start = "random"}}]'
    changes = ["--set", "grid=[]", "--set", "pairs=[]", "--set", alone, "--set", "seeds=[0]"]
    study_file.write_text(re.sub(r"\[(common|reference)\]\n(.+\n){2}", "", study_file.read_text()))
    done = CliRunner().invoke(app, ["study", str(study_file), "-o", str(tmp_path / "out"), *changes])
    assert done.exit_code == 0 and "alone: IoU diverged" in done.stdout + done.stderr
    assert "| alone |" in (tmp_path / "out/result.md").read_text()


def test_random_weights_are_no_teacher_in_a_study_either(study_file, tmp_path):
    recipe = study_file.with_name("small.toml")
    taught = f'{{name = "taught", recipe = "{recipe}", start = "random", set = ["start=a", "distillation.weight=1"]}}'
    study = load_toml(study_file, FoldStudy, ["seeds=[0]", f"variant=[{taught}]", "grid=[]", "pairs=[]"])
    with pytest.raises(ConfigError, match=r"seed_0/taught: .* can only learn from a `distillation\.teacher`"):
        run(study, tmp_path / "out", lambda name: lambda done: None)


def test_pictures_are_no_ships(study_file, tmp_path):
    other = 'set=["source=[]", "network.resnet=20", "images.train=a", "images.test=b", "images.side=8"]'
    recipe = f'recipe = "{study_file.with_name("small.toml")}", start = "random"'
    study = load_toml(
        study_file, FoldStudy, ["pairs=[]", "grid=[]", f'variant=[{{name = "classes", {recipe}, {other}}}]']
    )
    with pytest.raises(
        ConfigError, match=r"small\.toml classifies pictures, and a study with \[\[tiles\]\] finds ships"
    ):
        run(study, tmp_path / "out", lambda name: lambda done: None, only="*classes")


def test_a_fold_without_ships_is_refused(study_file, tmp_path):
    masks = load_toml(study_file, FoldStudy).tiles[0].masks
    lines = masks.read_text().splitlines()
    lines[3:] = [line.split(",")[0] + ",,96,96" for line in lines[3:]]
    masks.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"Fold \d holds no ship"):
        run(load_toml(study_file, FoldStudy), tmp_path / "out", lambda name: lambda done: None)


def test_a_changed_study_does_not_go_on_in_an_old_folder(study_file, tmp_path):
    def quiet(name):
        return lambda done: None

    run(load_toml(study_file, FoldStudy), tmp_path / "out", quiet)
    changed = load_toml(study_file, FoldStudy, ['common.set=["schedule.steps=2"]'])
    with pytest.raises(ConfigError, match="another recipe"):
        run(changed, tmp_path / "out", quiet)
    (tmp_path / "out/common/tiles.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"common/tiles\.json is damaged"):
        run(load_toml(study_file, FoldStudy), tmp_path / "out", quiet)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("folds=7", "5 independent images cannot be dealt into 7 folds"),
        ("shared_water=absent.json", "does not tell which images show the same water"),
        ("near_shore=absent.json", "does not tell which images show a shore"),
        ('variant=[{name = "reference", recipe = "a.toml"}]', "a name of its own"),
        ('variant=[{name = "longer", recipe = "a.toml", control = "b"}]', "the control b of longer is none of"),
        (
            'variant=[{name = "longer", recipe = "a.toml", control = "longer"}]',
            "the control longer of longer is none of",
        ),
        ('grid=[{setting = "q", formats = ["int4", "int4"], recipe = "a.toml"}]', "a name of its own"),
        ('pairs=[["longer", "e3m2 qat"]]', "e3m2 qat, which is to be compared, is none of"),
    ],
)
def test_what_makes_no_study_is_refused_before_any_training(study_file, tmp_path, change, said):
    done = CliRunner().invoke(app, ["study", str(study_file), "-o", str(tmp_path / "out"), "--set", change])
    assert said in str(done.exception) and not list(tmp_path.glob("out/*"))


def test_a_grid_is_compared_with_the_rows_beside_it(study_file):
    grid = '[{setting = "a", formats = ["int4", "e2m1"], recipe = "r"}, {setting = "b", beside = "a", recipe = "r", '
    study = load_toml(study_file, FoldStudy, [f'grid={grid}formats = ["int4/uint8", "e2m1"]}}]', "pairs=[]"])
    assert study.compared == (("int4/uint8 b", "int4 a"), ("e2m1 b", "e2m1 a"))
    with pytest.raises(ConfigError, match="int6 a, which is to be compared, is none of"):
        load_toml(study_file, FoldStudy, [f'grid={grid}formats = ["int6"]}}]', "pairs=[]"])


def test_tiles_of_one_name_are_refused(study_file, tmp_path):
    (name,) = (path for path in (tmp_path / "val").iterdir() if path.name.startswith("00000004"))
    (tmp_path / "train_v2" / name.name).write_bytes(name.read_bytes())
    with pytest.raises(ConfigError, match=r"00000004\.jpg is the name of several tiles"):
        run(load_toml(study_file, FoldStudy), tmp_path / "out", lambda name: lambda done: None)


def test_the_studies_of_the_project_are_studies(repository):
    studies = {file.stem: load_study(file) for file in sorted((repository / "pipelines").glob("study_*.toml"))}
    of_rows = {name for name, study in studies.items() if isinstance(study, RowStudy)}
    assert of_rows == {"study_adaqat"}  # tests/studies/test_rows.py looks at it
    assert {"study_formats", "study_networks", "study_synthetic", "study_tiles"} <= studies.keys() - of_rows
    for study in (study for name, study in studies.items() if name not in of_rows):
        for each in (study.common, study.reference, *study.variants):
            if each is not None:
                recipe = load_toml(repository / each.recipe, Recipe, each.set)
                assert recipe.quantization is None or formats(recipe.quantization)
        if study.shared_water is not None and study.near_shore is not None:
            assert shared_water(repository / study.shared_water) and near_shore(repository / study.near_shore)


@given(st.lists(st.integers(0, 50), min_size=8, max_size=30), st.integers(2, 4), st.data())
def test_folds_part_the_images_and_keep_groups_whole(sizes, count, data):
    names = [f"{number:03}.jpg" for number in range(len(sizes))]
    pairs = data.draw(st.lists(st.tuples(*[st.sampled_from(names)] * 2), max_size=3))
    water = {name: frozenset() for name in names}
    for one, other in pairs:
        water[one] |= {other}
        water[other] |= {one}
    images = [
        LabelledImage(Path(name), 10, 10, (kaggle_encode(np.arange(100).reshape(10, 10) < size),) if size else ())
        for name, size in zip(names, sizes, strict=True)
    ]
    dealt = [[image.path.name for image in fold] for fold in deal(images, count, water)]
    assert sorted(name for fold in dealt for name in fold) == names
    fold_of = {name: number for number, fold in enumerate(dealt) for name in fold}
    assert all(fold_of[one] == fold_of[other] for one, other in pairs)
    if not pairs:
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        pixels = [sum(sizes[int(name[:3])] for name in fold) for fold in dealt]
        assert max(pixels) - min(pixels) <= 2 * max(sizes)
    assert dealt == [[image.path.name for image in fold] for fold in deal(images[::-1], count, water)]
