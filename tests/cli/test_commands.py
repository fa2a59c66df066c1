"""What the commands promise: exit codes, the fields of their JSON, silence where it was asked for, and their words."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import simplejpeg
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.codec import unpack
from taran_eo.imagery import Mask, read_mask
from taran_eo.imagery.synthetic import write_synthetic_scene
from tests.folders import outputs

HEAVY = ("numpy", "rasterio", "onnx", "onnxruntime", "pydantic", "rich", "safetensors", "torch")
SUMMARY = {
    *("scenes", "tiles", "ships", "skipped", "bytes_in", "bytes_out", "ratio"),
    *("seconds", "tiles_per_s", "peak_rss_mib"),
}
SCORES = ("iou", "dice", "precision", "recall", "f2", "ship_recall", "false_alarms_per_km2", "baseline_empty")


@pytest.fixture
def scenes(tmp_path, taran_eo):
    folder = tmp_path / "scenes"
    assert taran_eo("synth", "-o", folder, "--scenes", 2, "--size", "130x170", "--seed", 3, "-q").code == 0
    return folder


def flip(path, place=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 4
    path.write_bytes(data)


def test_the_command_line_starts_light(tmp_path):
    script = f"import sys, taran_eo.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_run_sums_up_and_verify_agrees(tmp_path, scenes, taran_eo):
    out = tmp_path / "out"
    said = taran_eo("run", scenes, "-o", out, "--json")
    summary = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert summary.keys() >= SUMMARY
    products = {path.stem: path.read_bytes() for path in out.glob("*.product")}
    # The masks in scenes/truth are no imagery.
    assert sorted(products) == ["scene_000", "scene_001"]
    assert (summary["scenes"], summary["tiles"], summary["skipped"]) == (2, 2, [])
    assert summary["ships"] == sum(unpack(data).header.ships for data in products.values())
    assert summary["bytes_in"] == 2 * 3 * 130 * 170
    assert summary["bytes_out"] == sum(map(len, products.values()))
    assert summary["ratio"] == summary["bytes_in"] / summary["bytes_out"]
    assert summary["seconds"] > 0
    assert summary["tiles_per_s"] == pytest.approx(2 / summary["seconds"])
    assert summary["peak_rss_mib"] > 10
    checked = taran_eo("verify", out, "--json")
    assert (checked.code, json.loads(checked.out)["findings"]) == (0, [])
    assert taran_eo("run", scenes, "-o", out, "-q", "--resume") == type(said)(0, "", "")


def test_a_resampled_scene_gives_a_mask_of_the_same_ground(tmp_path, taran_eo):
    """On the grid of the model, and whatever the tiles the same."""
    scene = tmp_path / "fine.tif"
    rng = np.random.default_rng(0)
    write_synthetic_scene(
        scene, 260, 340, rng=rng, gsd_m=0.75, crs=CRS.from_epsg(32631), transform=Affine(0.75, 0, 5e5, 0, -0.75, 4.75e6)
    )
    for tile in (64, 768):
        said = taran_eo("run", scene, "-o", tmp_path / str(tile), "--resample", "--tile", tile, "-q")
        assert (said.code, said.err) == (0, "")
    assert outputs(tmp_path / "64") == outputs(tmp_path / "768")
    with rasterio.open(scene) as fine, rasterio.open(tmp_path / "768" / "fine.mask.tif") as mask:
        assert (mask.shape, mask.res, mask.crs, mask.bounds) == ((130, 170), (1.5, 1.5), fine.crs, fine.bounds)


@pytest.mark.parametrize("ending", ["mask.tif", "ships.geojson", "product", "journal"])
def test_verify_finds_a_flipped_byte(tmp_path, scenes, taran_eo, ending):
    out = tmp_path / "out"
    assert taran_eo("run", scenes / "scene_000.tif", "-o", out, "-q").code == 0
    path = out / ("journal.jsonl" if ending == "journal" else f"scene_000.{ending}")
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        flip(path, place)
        said = taran_eo("verify", out)
        assert said.code == 1
        assert str(path) in said.err
        assert "run again" in said.err
        path.write_bytes(whole)
    path.unlink()
    assert taran_eo("verify", out).code == 1


def test_evaluate_gives_each_score_with_its_interval(tmp_path, scenes, taran_eo):
    said = taran_eo("evaluate", "--images", scenes, "--masks", scenes / "masks.csv", "--json")
    scores = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert scores["tiles"] == 2
    for name in SCORES:
        value, interval = scores[name], scores[f"{name}_ci"]
        # What rests on one image has no interval: here ships are called in one of them only.
        assert (interval is None) == (value is None or name == "precision")
        assert interval is None or interval[0] <= value <= interval[1]
    shown = taran_eo("evaluate", "--images", scenes, "--masks", scenes / "masks.csv")
    assert f"{scores['f2']:.4f}" in shown.out
    # An interval over one image is none.
    table = (scenes / "masks.csv").read_text().splitlines()
    (scenes / "one.csv").write_text("\n".join([table[0], *(line for line in table[1:] if "scene_001" in line)]))
    alone = json.loads(taran_eo("evaluate", "--images", scenes, "--masks", scenes / "one.csv", "--json").out)
    assert (alone["tiles"], alone["iou_ci"]) == (1, None)


def test_synth_is_reproducible_and_its_table_tells_the_truth(tmp_path, scenes, taran_eo):
    again, other = tmp_path / "again", tmp_path / "other"
    assert "1 ships" in taran_eo("synth", "-o", again, "--scenes", 2, "--size", "130x170", "--seed", 3).out
    assert taran_eo("synth", "-o", other, "--scenes", 2, "--size", "130x170", "--seed", 4, "-q").code == 0
    files = [path.relative_to(scenes) for path in sorted(scenes.rglob("*.*"))]
    assert [str(file) for file in files] == [
        *("masks.csv", "scene_000.tif", "scene_001.tif", "truth/scene_000.mask.tif", "truth/scene_001.mask.tif")
    ]
    for file in files:
        assert (scenes / file).read_bytes() == (again / file).read_bytes()
    assert (scenes / "masks.csv").read_bytes() != (other / "masks.csv").read_bytes()
    with (scenes / "masks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["ImageId"] for row in rows} == {"scene_000.tif", "scene_001.tif"}
    assert any(row["EncodedPixels"] for row in rows)
    for name in ("scene_000", "scene_001"):
        mine = [row for row in rows if row["ImageId"] == f"{name}.tif"]
        union = Mask.from_kaggle((row["EncodedPixels"] for row in mine), 130, 170)
        truth = read_mask(scenes / "truth" / f"{name}.mask.tif")
        assert np.array_equal(union.ship, truth.ship)
        assert all((row["width"], row["height"]) == ("170", "130") for row in mine)
        assert all(float(row["length_m"]) > float(row["width_m"]) > 0 for row in mine if row["EncodedPixels"])


def test_inspect_knows_models_products_and_scenes(tmp_path, scenes, taran_eo):
    out = tmp_path / "out"
    assert taran_eo("run", scenes, "-o", out, "-q").code == 0
    model = json.loads(taran_eo("inspect", "--json").out)
    assert (model["halo_px"], model["alignment_px"]) == (112, 16)
    product = json.loads(taran_eo("inspect", out / "scene_001.product", "--json").out)
    assert (product["rows"], product["cols"], product["model_digest"]) == (130, 170, model["digest"])
    assert product["bytes"] == (out / "scene_001.product").stat().st_size
    scene = json.loads(taran_eo("inspect", scenes / "scene_001.tif", "--json").out)
    assert (scene["rows"], scene["crs"], scene["raw_bytes"]) == (130, "EPSG:32631", 3 * 130 * 170)
    shown = taran_eo("inspect", out / "scene_001.product")
    assert re.search(rf"^ships +{len(product['ships'])}$", shown.out, re.MULTILINE)
    assert (shown.code, shown.err) == (0, "")


def test_quiet_is_silent_but_for_faults(tmp_path, taran_eo):
    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 90, (40, 50, 3), dtype=np.uint8)
    (folder / "a.jpg").write_bytes(simplejpeg.encode_jpeg(noise))
    (folder / "grey.jpg").write_bytes(simplejpeg.encode_jpeg(noise[..., :1].copy(), colorspace="GRAY"))
    quiet = taran_eo("run", folder, "-o", tmp_path / "quiet", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    loud = taran_eo("run", folder, "-o", tmp_path / "loud")
    assert loud.code == 0
    assert loud.err.startswith("taran-eo: grey.jpg has one band")
    (folder / "bad\n.jpg").write_bytes(b"")
    faulty = taran_eo("run", folder, "-o", tmp_path / "quiet", "-q", "--resume")
    assert (faulty.code, faulty.out) == (1, "")
    assert faulty.err.splitlines() == [
        f"taran-eo: skipped {folder}/bad\\n.jpg is empty (0 bytes). Copy the file again from its source."
    ]
    strict = taran_eo("run", folder, "-o", tmp_path / "strict", "--on-error", "fail")
    assert (strict.code, strict.out) == (1, "")
    assert strict.err.startswith(f"taran-eo: {folder}/bad\\n.jpg is empty")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--tile", 100], "Choose 96 or 112"),
        (["--tile", 0], "Choose 16"),
        (["--threshold", 0], "no probability"),
        (["--threshold", 1], "no probability"),
        (["--threshold", 2], "--threshold"),
        (["--threshold", "nan"], "--threshold"),
        (["--bands", "1,2"], "cannot serve"),
        (["--bands", "0,1,2"], "--bands"),
        (["--bands", "\u00b2,1,1"], "--bands"),
        (["--gsd", -1], "Give metres a pixel"),
        (["--gsd", "nan"], "Give metres a pixel"),
        (["--gsd", "1e300"], "Give metres a pixel"),
        (["--jobs", 0], "--jobs"),
        (["--engine", "gpu"], "--engine"),
        (["--model", "nowhere"], "nowhere"),
        (["nowhere"], "nowhere"),
        (["-o", ""], "--output"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_call_that_makes_no_sense_ends_with_2_and_writes_nothing(tmp_path, taran_eo, options, told):
    (tmp_path / "a.jpg").write_bytes(simplejpeg.encode_jpeg(np.zeros((20, 20, 3), np.uint8)))
    said = taran_eo("run", tmp_path / "a.jpg", "-o", tmp_path / "out", *options)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["synth", "-o", "out", "--size", "0x5"], "--size"),
        (["synth", "-o", "out", "--size", "9" * 5000 + "x5"], "--size"),
        (["synth", "-o", "out", "--scenes", 0], "--scenes"),
        (["synth", "-o", "out", "--seed", -1], "--seed"),
        (["evaluate", "--images", ".", "--masks", "nowhere.csv"], "nowhere.csv"),
        (["verify", "nowhere"], "nowhere"),
        (["inspect", "nowhere"], "nowhere"),
        (["train", "nowhere.toml"], "nowhere.toml"),
        (["nonsense"], "nonsense"),
    ],
)
def test_so_does_every_other_command(tmp_path, monkeypatch, taran_eo, arguments, told):
    monkeypatch.chdir(tmp_path)
    said = taran_eo(*arguments)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert list(tmp_path.iterdir()) == []
