"""Rows of classified pictures: a killed study ends as if it had not been, and intervals are those of brute force."""

import csv
import fcntl
import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from taran_eo.cli import app
from taran_eo.config import load_toml
from taran_eo.errors import ConfigError, ContractError, CorruptDataError, DivergedError
from taran_eo.metrics import mean_difference, mean_right
from taran_eo.metrics.paired import resampled_means
from taran_eo.nn.quantized_modules import QuantizedModules
from taran_eo.nn.sites import bit_operations, mean_bits
from taran_eo.studies.kinds import load_study
from taran_eo.studies.rows import cell as cell_module
from taran_eo.studies.rows.answer import found
from taran_eo.studies.rows.plot import APART, plot, read_widths, side_by_side
from taran_eo.studies.rows.run import cells, recipe_of, run
from taran_eo.train import Recipe
from taran_eo.train.outcome import module_formats
from tests.train.classified import RECIPE, labels_of, smooth, write_jpegs

QUANTIZED = """
[quantization]
way = "pact"
weights = "int4"
first_weights = "int8"
head_weights = "int8"
head_activations = "uint8"
calibration = 1
"""

STUDY = """
name = "small_rows"
question = "Does a study of rows work?"
seeds = [0, 5]
pairs = [["learned", "uniform 3/3"], ["learned", "once"]]
shown = ["learned"]
times = "{folder}/times.json"
[common]
recipe = "{folder}/float.toml"
[[row]]
name = "further"
recipe = "{folder}/float.toml"
control = "common"
[[row]]
name = "uniform 3/3"
recipe = "{folder}/quantized.toml"
set = ['quantization.weights="int3"']
control = "further"
timed = "plain"
[[row]]
name = "learned"
recipe = "{folder}/quantized.toml"
set = ['quantization.weights="int8"', 'bits.method="adaqat"', "bits.every=1", "bits.until=1"]
control = "uniform 3/3"
timed = "adaqat"
[[row]]
name = "once"
recipe = "{folder}/quantized.toml"
start = "random"
seeds = 1
[[row]]
name = "out of reach"
recipe = "{folder}/quantized.toml"
set = ['bits.target=0.01']
control = "once"
seeds = 1
[[published]]
label = "Theirs"
bits = "4/4"
accuracy_percent = 90.8
source = "a paper, table 2"
"""


def write_study(tmp_path):
    for name, count, seed in (("train", 12, 0), ("test", 21, 1)):
        files, _ = smooth(count, side=8, seed=seed)
        write_jpegs(tmp_path / f"{name}.npz", files, labels_of(count))
    text = RECIPE.format(depth=20, train=tmp_path / "train.npz", test=tmp_path / "test.npz", side=8)
    (tmp_path / "float.toml").write_text(text)
    (tmp_path / "quantized.toml").write_text(text + QUANTIZED)
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(folder=tmp_path))
    return path


@pytest.fixture
def study_file(tmp_path):
    return write_study(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that was carried out at once, with its file and its pictures beside it; for looking at."""
    folder = tmp_path_factory.mktemp("whole")
    ratios = {"plain": {"whole": 1, "low": 1, "high": 1}, "adaqat": {"whole": 1.5, "low": 1.4, "high": 1.75}}
    (folder / "times.json").write_text(json.dumps({"ratios": ratios, "provenance": {}}))
    said = called(write_study(folder), "-o", folder / "out")
    assert "learned: accuracy 0." in said and "  less uniform 3/3: " in said
    assert "  failed with seed 0: With 2 bits everywhere" in said and "not done yet" not in said
    return folder


def quiet(name):
    return lambda done: None


def called(*arguments):
    done = CliRunner().invoke(app, ["study", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def results(folder):
    """What is kept of all runs, without where they were made."""
    told = {}
    for path in sorted(folder.glob("**/found.json")):
        outcome = json.loads(path.read_text())["outcome"]
        if outcome is not None:
            del outcome["made"]
        told[str(path.parent.relative_to(folder))] = outcome
    return told


def table(folder):
    with (folder / "result.csv").open() as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_a_killed_study_ends_as_if_it_had_not_been(whole, tmp_path):
    study_file, torn = whole / "study.toml", tmp_path / "torn"

    class KilledError(Exception):
        pass

    def kill(done):
        if done.step == 3:
            raise KilledError

    study, begun = load_study(study_file), []

    def noted(name):
        begun.append(name.partition("/")[2])
        return lambda done: None

    with pytest.raises(KilledError):
        run(study, torn, lambda name: kill if name.endswith("seed_0/learned") else lambda done: None)
    assert set(results(torn)) == {"common", "seed_0/further", "seed_0/uniform_3-3"}
    run(study, torn, noted)
    assert begun == [
        *("seed_0/learned", "seed_0/once", "seed_0/out_of_reach"),
        *("seed_5/further", "seed_5/uniform_3-3", "seed_5/learned"),
    ]

    def told_alike(*arguments):
        said = called(study_file, "-o", torn, *arguments)
        assert results(torn) == results(whole / "out")
        for name in ("result.csv", "result.md", "seed_5/learned/right.npz", "seed_5/learned/widths.csv"):
            assert (torn / name).read_bytes() == (whole / "out" / name).read_bytes()
        assert (torn / "result.png").read_bytes().startswith(b"\x89PNG")
        return said

    told_alike()
    # One row by itself, thrown away or begun anew, is the same again, and nothing else is trained.
    for change, arguments in ((shutil.rmtree, {}), (len, {"restart": True})):
        begun.clear()
        change(str(torn / "seed_5/learned"))
        run(study, torn, noted, only="seed_5/learned", **arguments)
        assert begun == ["seed_5/learned"]
        told_alike("--tell")
    # What is lost is not made only to tell.
    shutil.rmtree(torn / "seed_0/once")
    said = called(study_file, "-o", torn, "--tell")
    assert "1 runs are not done yet: seed_0/once" in said and not (torn / "seed_0/once").exists()
    assert "once" not in table(torn) and table(torn)["learned"]["seeds"] == "2"


def test_the_tables_tell_what_was_found(whole):
    rows, result = table(whole / "out"), json.loads((whole / "out/result.json").read_text())
    ours = ["common", "further", "uniform 3/3", "learned", "once", "out of reach"]
    assert list(rows) == [*ours, "Theirs 4/4"] and list(result["rows"]) == ours
    right = {
        (name, seed): np.load(whole / f"out/seed_{seed}/{name.replace(' ', '_').replace('/', '-')}/right.npz")["test"]
        for name in ours[1:4]
        for seed in (0, 5)
    }
    right["common", 0] = np.load(whole / "out/common/right.npz")["test"]
    assert all(each.shape == (21,) and each.dtype == bool for each in right.values())
    for name in ours[1:4]:
        means = [right[name, seed].mean() for seed in (0, 5)]
        assert float(rows[name]["accuracy"]) == pytest.approx(np.mean(means), abs=1e-5)
        assert float(rows[name]["spread"]) == pytest.approx(np.std(means, ddof=1), abs=1e-5)
        assert rows[name]["seeds"] == "2" and rows[name]["steps"] == "4"
    # Compared seed by seed; the common network is the same for all.
    for name, control in (("uniform 3/3", "further"), ("learned", "uniform 3/3")):
        less = np.mean([right[name, seed].mean() - right[control, seed].mean() for seed in (0, 5)])
        assert float(rows[name]["less_control"]) == pytest.approx(less, abs=1e-5)
        assert rows[name]["less_seeds"] == "2"
    less = np.mean([right["further", seed].mean() for seed in (0, 5)]) - right["common", 0].mean()
    assert float(rows["further"]["less_control"]) == pytest.approx(less, abs=1e-5)
    assert [pair["seeds"] for pair in result["pairs"]] == [[0, 5], [0]]
    # Widths and what they cost are those of the network.
    recipe = load_toml(whole / "quantized.toml", Recipe, ['quantization.weights="int3"'])
    layers = QuantizedModules(recipe.network.build(3), module_formats(recipe.quantization), 8).layers()
    assert float(rows["uniform 3/3"]["weight_bits"]) == pytest.approx(mean_bits(layers, "weights"), abs=1e-5)
    assert float(rows["uniform 3/3"]["compression"]) == pytest.approx(32 / mean_bits(layers, "weights"), abs=1e-5)
    assert float(rows["uniform 3/3"]["bit_operations_g"]) == pytest.approx(bit_operations(layers) / 1e9, abs=1e-5)
    assert (rows["further"]["weight_bits"], rows["further"]["compression"]) == ("32.00000", "1.00000")
    macs = sum(layer.macs for layer in layers)
    assert float(rows["further"]["bit_operations_g"]) == pytest.approx(macs * 1024 / 1e9, abs=1e-5)
    formats = result["rows"]["uniform 3/3"]["seeds"]["5"]["layers"]
    assert formats["stem.0"] == ["int8", "pixels"] and formats["head"] == ["int8", "uint8"]
    assert formats["blocks.0.first"] == ["int3", "uint3"] and len(formats) == 22
    # What failed is told, and is in no mean; a method is timed where that is known.
    assert rows["out of reach"]["accuracy"] == "" and rows["out of reach"]["failed"] == "1"
    assert "0.01" in result["rows"]["out of reach"]["failed"]["0"]
    assert [rows[name]["time"] for name in ours[1:4]] == ["", "1.00000", "1.50000"]
    page = (whole / "out/result.md").read_text()
    assert "| Theirs | 4/4 | 90.8 | a paper, table 2 |" in page and "on the original pictures" in page
    assert "- out of reach, seed 0: With 2 bits" in page and "1.50 (1.40 to 1.75)" in page
    assert page.count(", one seed |") == 1  # learned less once
    assert rows["Theirs 4/4"]["source"] == "a paper, table 2" and rows["Theirs 4/4"]["accuracy"] == "0.90800"
    # One digest a row, whatever the seed and the folder.
    digests = {row["recipe_sha256"] for name, row in rows.items() if name in ours}
    assert len(digests) == 5  # further is trained as the common network is
    assert len(result["provenance"]["environments"]) == 1
    assert str(whole / "test.npz") in result["provenance"]["inputs"]


def test_processes_work_side_by_side(study_file, tmp_path):
    study, out = load_study(study_file), tmp_path / "out"
    seen = run(study, out, quiet, only="seed_5/further")
    assert [one.cell.place for one in seen] == ["common", "seed_5/further"]
    assert [one.recipe.seed for one in seen] == [3, 8] and seen[1].recipe.start == out / "common/weights.safetensors"
    # What another process is at is left to it.
    place = out / "seed_0/further"
    place.mkdir(parents=True)
    with (place / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        seen = run(study, out, quiet, only="seed_0/[fu]*")
    assert [one.cell.place for one in seen] == ["common", "seed_0/uniform_3-3", "seed_5/further"]
    assert list(place.iterdir()) == [place / "lock"]
    # What starts from random weights needs no other run.
    (alone,) = run(study, tmp_path / "alone", quiet, only="*/once")
    assert alone.recipe.start is None and not (tmp_path / "alone/common").exists()
    assert run(study, tmp_path / "none", quiet, only="") == ()


def test_a_run_that_diverges_is_told_and_the_rest_goes_on(study_file, tmp_path, monkeypatch):
    real, broken = cell_module.carry_out, {"seed_0/further"}

    def breaking(recipe, folder, report, *, resume):
        if recipe.name.partition("/")[2] in broken:
            raise DivergedError("The loss became nan", remedy="Lower the rate")
        return real(recipe, folder, report, resume=resume)

    monkeypatch.setattr(cell_module, "carry_out", breaking)
    study, only = load_study(study_file), "*/[fu]*"
    for _ in range(2):  # also when it is read again
        seen = run(study, tmp_path / "out", quiet, only=only)
        rows = {row.name: row for row in found(study, seen, []).rows}
        assert rows["further"].failed == {0: "The loss became nan. Lower the rate."}
        assert list(rows["further"].outcomes) == [5] and rows["further"].spread is None
        assert rows["uniform 3/3"].less.seeds == (5,) and list(rows["uniform 3/3"].outcomes) == [0, 5]
        broken.clear()
    assert run(study, tmp_path / "out", quiet, only="seed_0/further", restart=True)[1].found.failed is None
    broken.add("common")
    with pytest.raises(DivergedError, match="common failed, and others start from it: The loss became nan"):
        run(study, tmp_path / "torn", quiet)


def test_what_is_kept_of_a_run_is_named_where_it_is_damaged(study_file, tmp_path):
    study, out = load_study(study_file), tmp_path / "out"
    run(study, out, quiet, only="seed_0/learned")
    place = out / "seed_0/learned"
    whole = {name: (place / name).read_bytes() for name in ("found.json", "right.npz", "widths.csv")}

    def refused(kind, said, only=""):
        with pytest.raises(kind, match=said) as told:
            seen = run(study, out, quiet, only=only)
            answer = found(study, seen, [])
            plot(answer, seen, study, out, tmp_path / "plot.png")
        assert told.value.path.name in said.replace("\\", "")
        for name, content in whole.items():
            (place / name).write_bytes(content)

    for content in (b"", b"{}", b"nothing", whole["found.json"][:-50]):
        (place / "found.json").write_bytes(content)
        refused(ConfigError, r"seed_0/learned/found\.json is damaged")
    other = np.zeros(20, bool)
    for content in (b"", b"nothing", whole["right.npz"][:60]):
        (place / "right.npz").write_bytes(content)
        refused(CorruptDataError, r"seed_0/learned/right\.npz is damaged")
    for arrays_ in ({"test": other}, {"test": np.ones(21, bool)}, {"test": np.zeros(21)}, {"tuning": other}):
        np.savez(place / "right.npz", **arrays_)
        refused(CorruptDataError, r"seed_0/learned/right\.npz is damaged")
    for content in (b"", b"step,cost\n1", b"cost,weights\n1,2\n", b"step,cost,weights\n1,2,much\n"):
        (place / "widths.csv").write_bytes(content)
        refused(CorruptDataError, r"seed_0/learned/widths\.csv is damaged")
    # What is lost is made again from the checkpoint, if that is asked for.
    (place / "right.npz").unlink()
    refused(CorruptDataError, r"right\.npz is damaged or missing")
    (place / "right.npz").unlink()
    run(study, out, quiet, only="seed_0/learned")
    assert (place / "right.npz").read_bytes() == whole["right.npz"]
    # Other widths, other weights to start from, and none at all.
    other_study = load_study(
        study_file, ['row=[{name="learned", recipe="' + str(tmp_path / "float.toml") + '"}]', "pairs=[]"]
    )
    with pytest.raises(ConfigError, match=r"seed_0/learned holds the run of another recipe.*--restart --only"):
        run(other_study, out, quiet, only="")
    (out / "common/weights.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"common/weights\.safetensors is missing, which .*learned' began with"):
        run(study, out, quiet, only="")
    run(study, out, quiet, only="seed_0/learned")  # it is made again, the same
    # Pictures that were changed between two runs cannot be compared.
    files, _ = smooth(21, side=8, seed=9)
    write_jpegs(tmp_path / "test.npz", files, labels_of(21))
    seen = run(study, out, quiet, only="seed_0/uniform*")
    with pytest.raises(ConfigError, match=r"seed_0/uniform_3-3 was scored on other pictures than common: .*test\.npz"):
        found(study, seen, [])


def test_times_that_are_damaged_or_do_not_know_a_method_are_told(study_file, tmp_path):
    for content, said in (("", "times.json is not readable"), ('{"ratios": {}}', "does not tell what 'plain' takes")):
        (tmp_path / "times.json").write_text(content)
        with pytest.raises(ConfigError, match=said):
            found(load_study(study_file), [], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('row=[{name="common", recipe="r"}]', "a name, and a folder, of its own"),
        ('row=[{name="a/b", recipe="r"}, {name="a-b", recipe="r"}]', "a name, and a folder, of its own"),
        ("seeds=[1, 1]", "can be run once"),
        ('row=[{name="a", recipe="r", control="b"}]', "b, the control of a, is none of"),
        ('pairs=[["learned", "learned"]]', "learned is compared with itself"),
        ('pairs=[["learned", "more"]]', "more, what is to be compared, is none of"),
        ('shown=["more"]', "more, what is to be shown, is none of"),
        ("row=[]", "row"),
        ("folds=3", "folds = 3 is not a known key"),
    ],
)
def test_what_makes_no_study_is_refused_before_any_training(study_file, tmp_path, change, said):
    with pytest.raises(ConfigError) as told:
        called(study_file, "-o", tmp_path / "out", "--set", change)
    assert said in str(told.value) and not (tmp_path / "out").exists()


def test_recipes_that_cannot_stand_beside_each_other_are_refused_before_any_training(study_file, tmp_path):
    ships = tmp_path / "ships.toml"
    ships.write_text('name = "a"\nquestion = "b"\n[[source]]\nimages = "c"\nmasks = "d"\nship_share = 1.0\n')
    for change, said in (
        (f'row=[{{name="a", recipe="{ships}"}}]', "has no .images., and the rows"),
        (f'row=[{{name="a", recipe="{tmp_path}/float.toml", set=["images.tuning=3"]}}]', "scored on other pictures"),
        (f'row=[{{name="a", recipe="{tmp_path}/quantized.toml", set=["quantization.weights=int"]}}]', "int"),
    ):
        with pytest.raises((ConfigError, ValueError), match=said):
            called(study_file, "-o", tmp_path / "out", "--set", change, "--set", "pairs=[]", "--set", "shown=[]")
        assert not (tmp_path / "out").exists()
    text = study_file.read_text()
    study_file.write_text(
        text[: text.index("[common]")] + text[text.index("[[row]]") :].replace('control = "common"', "")
    )
    with pytest.raises(ConfigError, match="further starts from `common`, which the study has not"):
        load_study(study_file)
    with pytest.raises(ConfigError, match="--restart throws away"):
        called(study_file, "--restart")
    with pytest.raises(ConfigError, match="No network of"):
        called(
            study_file,
            "-o",
            tmp_path / "out",
            "--tell",
            "--set",
            "pairs=[]",
            "--set",
            'row=[{name="a", recipe="' + str(tmp_path / "float.toml") + '", start="random"}]',
            "--set",
            "shown=[]",
        )


def test_widths_of_exponent_and_mantissa_are_plotted_as_one(tmp_path):
    path = tmp_path / "widths.csv"
    path.write_text("step,cost,weights a exponent,weights a mantissa,activations a\n4,0.5,2,4.5,3\n8,0.4,1.5,4,2.5\n")
    widths = read_widths(path)
    assert widths.steps == (4, 8) and widths.named == {"weights a": (7.5, 6.5), "activations a": (3, 2.5)}


@given(st.lists(st.floats(0.1, 10), max_size=12))
def test_points_of_about_the_same_cost_stand_side_by_side_in_their_order(places):
    moved, order = side_by_side(places), sorted(range(len(places)), key=lambda each: places[each])
    steps = [moved[after] / moved[before] for before, after in itertools.pairwise(order)]
    assert all(step >= APART - 1e-9 for step in steps)
    # The middle stays, and so does what is far enough from the others.
    assert math.fsum(map(math.log, moved)) == pytest.approx(math.fsum(map(math.log, places)), abs=1e-9)
    if all(places[after] >= APART * places[before] for before, after in itertools.pairwise(order)):
        assert moved == pytest.approx(places)


def test_the_study_of_the_project_is_one(repository, monkeypatch):
    monkeypatch.chdir(repository)
    study = load_study(Path("pipelines/study_adaqat.toml"))
    recipes = {cell.place: recipe_of(cell, study, Path("runs/adaqat")) for cell in cells(study)}
    common = recipes.pop("common")
    # The weights of that recipe, trained by itself, are those of the study.
    assert common.identity() == load_toml(Path("pipelines/train_resnet20.toml"), Recipe).identity()
    assert len({recipe.schedule.steps for place, recipe in recipes.items() if "scratch" not in place}) == 1
    # What others are compared with is uniform or float, and has their seeds.
    rows = {row.name: row for row in study.row}
    for row in study.row:
        if row.control in rows:
            assert rows[row.control].seeds is None or row.seeds == 1
            assert load_toml(rows[row.control].recipe, Recipe, rows[row.control].set).bits is None

    # A target is what the uniform network costs, of what 8 bits cost, rounded up.
    def cost(bits):
        recipe = recipes[f"seed_0/uniform_{bits}-{bits}"]
        formats = module_formats(recipe.quantization)
        return bit_operations(QuantizedModules(recipe.network.build(10), formats, recipe.images.side).layers())

    shares = {f"{bits}/{bits}": cost(bits) / cost(8) for bits in (3, 4)}
    for row in study.row:
        bits = load_toml(row.recipe, Recipe, row.set).bits
        if bits is not None and bits.target is not None:
            share = next(share for name, share in shares.items() if f" as {name}" in row.name)
            assert share <= bits.target < share + 2e-5


def intervals_by_force(scores):
    """Every mean of a resample, as likely as it is: all draws of seeds times all draws of pictures."""
    seeds, pictures = scores.shape
    return np.array(
        [
            scores[np.ix_(rows, cols)].mean()
            for rows in itertools.product(range(seeds), repeat=seeds)
            for cols in itertools.product(range(pictures), repeat=pictures)
        ]
    )


@given(
    arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 4)), elements=st.integers(-1, 1)), st.integers(0, 99)
)
def test_resamples_are_those_of_brute_force(scores, seed):
    drawn = resampled_means(scores, np.random.default_rng(seed), 4000)
    every = intervals_by_force(scores)
    # The two distributions are nowhere further apart than chance allows (Kolmogorov; 2 exp(-2 n d^2) = 2e-9).
    places = np.unique(np.round([*drawn, *every], 9)) + 1e-6
    apart = np.abs((drawn[:, None] <= places).mean(axis=0) - (every[:, None] <= places).mean(axis=0))
    assert apart.max() < 0.051


def test_an_interval_of_seeds_and_pictures_is_as_wide_as_both_make_it():
    """The variance of a resampled mean: that over pictures, over seeds, and what neither explains."""
    rng = np.random.default_rng(1)
    scores = (rng.random((3, 500)) < 0.7 + 0.1 * rng.random((3, 1)) - 0.3 * rng.random((1, 500))).astype(np.int8)
    less = scores - scores.mean()
    over_seeds, over_pictures = (less.mean(axis=axis).var() for axis in (1, 0))
    rest = less.var() - over_seeds - over_pictures
    seeds, pictures = scores.shape
    expected = over_seeds / seeds + over_pictures / pictures + rest / (seeds * pictures)
    drawn = resampled_means(scores, np.random.default_rng(0), 40_000)
    assert drawn.var() == pytest.approx(expected, rel=0.05) and drawn.mean() == pytest.approx(scores.mean(), abs=3e-4)


@given(arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 30))), st.data())
def test_intervals_hold_their_value_and_do_not_depend_on_the_order_of_the_pictures(first, data):
    second = data.draw(arrays(bool, first.shape))
    order = data.draw(st.permutations(range(first.shape[1])))

    def less(one, other):
        return mean_difference(one, other, rng=np.random.default_rng(0), resamples=50)

    there, back = less(first, second), less(second, first)
    assert there.value == pytest.approx(first.mean() - second.mean()) and there.low <= there.value <= there.high
    assert less(first[:, order], second[:, order]) == there and back.value == -there.value
    assert less(first, first) == less(second, second) and less(first, first).ci == (0, 0)
    accuracy = mean_right(first, rng=np.random.default_rng(0), resamples=50)
    assert accuracy.value == first.mean() and 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
    with pytest.raises(ContractError, match="no paired difference"):
        less(first, second[:, 1:])
    with pytest.raises(ContractError, match="There is no picture"):
        less(first[:, :0], second[:, :0])
