"""Bad input: each a clear line that names the file and the remedy, the other scenes done, nothing half-written."""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import simplejpeg
from rasterio.errors import NotGeoreferencedWarning

from taran_eo.imagery import NODATA, read_mask
from taran_eo.journal import NAME as JOURNAL
from taran_eo.journal import Journal
from taran_eo.model import Model
from tests.folders import outputs

RNG = np.random.default_rng(0)
CUT = "damaged or cut short"


def noise(bands, rows, cols, dtype=np.uint8):
    return RNG.integers(1, 200, (bands, rows, cols)).astype(dtype)


def jpeg(rows=40, cols=50):
    return simplejpeg.encode_jpeg(np.ascontiguousarray(noise(3, rows, cols).transpose(1, 2, 0)))


def raster(path, pixels, **profile):
    bands, rows, cols = pixels.shape
    where = {"height": rows, "width": cols, "count": bands, "dtype": pixels.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{"driver": "GTiff", **where, **profile}) as file:
            file.write(pixels)
    return path.read_bytes()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb():
    """60,000 x 60,000 pixels in some kilobytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def jpeg_bomb():
    whole = bytearray(jpeg())
    place = whole.index(b"\xff\xc0") + 5
    whole[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    return bytes(whole)


def tiff_bomb(path):
    size = {"height": 60_000, "width": 60_000, "count": 3, "dtype": "uint8"}
    where = {"crs": "EPSG:32631", "transform": rasterio.Affine(1.5, 0, 500_000, 0, -1.5, 4_750_000)}
    rasterio.open(path, "w", driver="GTiff", tiled=True, compress="deflate", sparse_ok=True, **size, **where).close()


@pytest.fixture
def good(tmp_path):
    """Strange, but imagery: by name the labels that must be in the mask."""
    folder = tmp_path / "imagery"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg())
    (folder / "UPPER.JPG").write_bytes(jpeg())
    (folder / "upper.jpg").write_bytes(jpeg())
    (folder / "deep" / "a.jpg").write_bytes(jpeg())
    (folder / "new\nline.jpg").write_bytes(jpeg())
    (folder / "-o.jpg").write_bytes(jpeg())
    raster(folder / "a.png", noise(3, 20, 30), driver="PNG")
    raster(folder / "\u8239 sch\u00f6n [x].TiF", noise(3, 40, 50))
    raster(folder / "one band.tif", noise(1, 40, 50))
    see_through = noise(4, 40, 50)
    see_through[3, :10] = 0
    raster(folder / "alpha.tif", see_through, photometric="rgb", alpha="yes")
    raster(folder / "deep.tif", noise(3, 40, 50, np.uint16) * 17)
    unknown = noise(3, 40, 50, np.float32)
    unknown[:, :10], unknown[0, 20] = np.nan, np.inf
    raster(folder / "nan.tif", unknown)
    raster(folder / "huge.tif", np.full((3, 20, 20), 3e38, np.float32))
    raster(folder / "1x1.tif", noise(3, 1, 1))
    raster(folder / "3x5000.tif", noise(3, 3, 5000))
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "nowhere.jpg").symlink_to("not there.jpg")
    (folder / "loop").symlink_to(".", target_is_directory=True)
    os.mkfifo(folder / "pipe.jpg")
    return folder


def test_bad_files_cost_nobody_else(tmp_path, good):
    """One process of its own, where every warning is an error and nothing is on standard error but what we say."""
    bad = tmp_path / "bad"
    bad.mkdir()
    long = "n" * 230
    whole_png = raster(bad / "cut.png", noise(4, 60, 70), driver="PNG")
    whole_tif = raster(bad / "cut.tif", noise(3, 300, 300), compress="deflate")
    whole_jp2 = raster(bad / "cut.jp2", noise(3, 64, 64), driver="JP2OpenJPEG")
    raster(bad / "two bands.tif", noise(2, 20, 20))
    raster(bad / "complex.tif", noise(3, 20, 20, np.complex64))
    tiff_bomb(bad / "bomb.tif")
    for name, content in {
        "cut.png": whole_png[: len(whole_png) // 2],
        "cut.tif": whole_tif[: len(whole_tif) // 2],
        "cut.jp2": whole_jp2[: len(whole_jp2) // 2],
        "cut.jpg": jpeg()[:800],
        "head.jpg": jpeg()[:20],
        "empty.jpg": b"",
        "text.jpg": b"not an image\n",
        "bomb.png": png_bomb(),
        "bomb.jpg": jpeg_bomb(),
        f"{long}.jpg": jpeg(),
        os.fsdecode(b"\xff.jpg"): jpeg(),
    }.items():
        (bad / name).write_bytes(content)
    reasons = {
        **dict.fromkeys(("cut.jpg", "head.jpg", "cut.png", "cut.tif", "cut.jp2"), CUT),
        **dict.fromkeys(("bomb.png", "bomb.jpg"), "more than 512 MiB"),
        "bomb.tif": "looks like a bomb",
        "empty.jpg": "is empty (0 bytes)",
        "text.jpg": "begins with b'not an i'",
        "two bands.tif": "Name a single one",
        "complex.tif": "complex64",
        f"{long}.jpg": "Shorten it",
        "\ufffd.jpg": "Rename the file",
        "pipe.jpg": "no regular file",
    }
    out = tmp_path / "out"
    command = [sys.executable, "-W", "error", "-m", "taran_eo.cli", "run", good, bad, good / "pipe.jpg", "-o", out]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    summary = json.loads(done.stdout)
    assert {Path(each["file"]).name for each in summary["skipped"]} == reasons.keys()
    for each in summary["skipped"]:
        name = Path(each["file"]).name
        assert each["file"] in each["reason"]
        assert reasons[name] in each["reason"]
    names = [
        "1x1",
        "3x5000",
        "UPPER.JPG",
        "upper.jpg~2",
        "a.jpg",
        "a.png",
        "alpha",
        "deep",
        "deep/a",
        "huge",
        "nan",
        "new\nline",
    ]
    names += ["one band", "-o", "\u8239 sch\u00f6n [x]"]
    assert summary["scenes"] == len(names)
    endings = (".mask.tif", ".product", ".ships.json")
    assert outputs(out).keys() == {f"{name}{ending}" for name in names for ending in endings}
    assert list(out.rglob(".*")) == []
    assert read_mask(out / "1x1.mask.tif").labels.shape == (1, 1)
    assert read_mask(out / "3x5000.mask.tif").labels.shape == (3, 5000)
    for name, rows in {"alpha": [*range(10)], "nan": [*range(10), 20]}.items():
        assert np.array_equal(np.flatnonzero((read_mask(out / f"{name}.mask.tif").labels == NODATA).all(1)), rows)


def test_outputs_within_the_imagery_are_never_imagery(scenes, taran_eo):
    """Neither those of this run nor those of another."""
    for folder in ("out", "out", "other"):
        said = taran_eo("run", scenes, "-o", scenes / folder, "--json")
        assert (said.code, json.loads(said.out)["scenes"]) == (0, 3)
    said = taran_eo("run", scenes / "a.jpg", "-o", scenes)
    assert said.code == 1
    assert "Choose an output folder apart" in said.err


def test_a_folder_without_images_is_named(tmp_path, taran_eo):
    said = taran_eo("run", tmp_path, "-o", tmp_path / "out")
    assert said.code == 1
    assert said.err == f"taran-eo: The folder {tmp_path} holds no image. Give a folder with files that end in " + (
        ".jpg, .jpeg, .png, .tif, .tiff, .jp2, .j2k.\n"
    )


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(jpeg())
    return folder


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_an_output_that_cannot_be_written_is_named(tmp_path, scenes, taran_eo, place):
    (tmp_path / "file").write_text("in the way")
    for command in (("run", scenes), ("synth", "--size", "20x20")):
        said = taran_eo(*command, "-o", tmp_path / place)
        assert (said.code, said.out) == (1, "")
        assert f"{tmp_path / place}" in said.err
        assert "Check that" in said.err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_ends_the_run_and_resume_completes_it(tmp_path, scenes, taran_eo):
    """Files may grow to one byte less than the journal would need."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert taran_eo("run", scenes, "-o", whole, "-q").code == 0
    limit = (whole / JOURNAL).stat().st_size - 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        said = taran_eo("run", scenes, "-o", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"taran-eo: The journal {out / JOURNAL} cannot be written")
    assert taran_eo("verify", out).code == 1
    assert taran_eo("run", scenes, "-o", out, "-q", "--resume").code == 0
    assert outputs(out) == outputs(whole)
    assert taran_eo("verify", out).code == 0


def test_a_changed_model_does_not_run(tmp_path, scenes, taran_eo):
    folder = tmp_path / "model"
    shutil.copytree(Model.open().path, folder)
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            said = taran_eo("run", scenes, "-o", tmp_path / "out", "--model", folder)
            assert (said.code, said.out) == (1, "")
            assert str(folder) in said.err
            assert file.name in said.err or file.name == "SHA256SUMS"
            assert "Copy the model folder again" in said.err
        file.unlink()
        # The float master may be left out on board.
        assert taran_eo("inspect", folder).code == (file.name != "weights.safetensors")
        file.write_bytes(whole)
    assert taran_eo("inspect", folder).code == 0
    assert not (tmp_path / "out").exists()


def test_a_changed_journal_is_not_believed(tmp_path, scenes, taran_eo):
    out = tmp_path / "out"
    assert taran_eo("run", scenes, "-o", out, "-q").code == 0
    book, results = out / JOURNAL, outputs(out)
    whole = book.read_bytes()
    first, *others = whole.splitlines(keepends=True)
    for changed in (
        *(b"".join(others), first + whole, whole.replace(b"\n", b"\r\n"), whole[:20] + b"X" + whole[21:]),
        *(bytes(range(256)), first + b"\n" + b"".join(others)),
    ):
        book.write_bytes(changed)
        for command in (("verify", out), ("run", scenes, "-o", out, "--resume"), ("run", scenes, "-o", out)):
            said = taran_eo(*command)
            assert (said.code, said.out) == (1, "")
            assert f"of the journal {book} is not what was written" in said.err
            assert "Restore the journal, or delete it" in said.err
        assert book.read_bytes() == changed
    # What a kill or a power failure may leave at the end costs the last scene at most.
    for torn in (whole[:-1], whole[:-30], whole + b"\0" * 100, whole + b"[" * 100_000, first[:20], b""):
        book.write_bytes(torn)
        assert taran_eo("verify", out).code == 1
        assert taran_eo("run", scenes, "-o", out, "--resume", "-q").code == 0
        assert taran_eo("verify", out).code == 0
    assert outputs(out) == results


def test_two_runs_do_not_share_a_folder(tmp_path, scenes, taran_eo):
    out = tmp_path / "out"
    with Journal(out, {}):
        said = taran_eo("run", scenes, "-o", out)
        assert said.code == 1
        assert (
            said.err
            == f"taran-eo: Another run is writing to {out}. Wait for its end, or choose another output folder.\n"
        )
    (out / JOURNAL).unlink()
    assert taran_eo("run", scenes, "-o", out, "-q").code == 0
    said = taran_eo("run", scenes, "-o", out, "--threshold", 0.6)
    assert said.code == 1
    assert "threshold was 0.7 and is 0.6" in said.err


def test_a_changed_product_is_not_shown(tmp_path, scenes, taran_eo):
    assert taran_eo("run", scenes / "a.jpg", "-o", tmp_path / "out", "-q").code == 0
    path = tmp_path / "out" / "a.product"
    whole = path.read_bytes()
    flips = (whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :] for place in range(0, len(whole), 7))
    for changed in (*flips, b"", whole[:50], whole + b"\0"):
        path.write_bytes(changed)
        said = taran_eo("inspect", path)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith(f"taran-eo: {path} is damaged: ")
        assert "Fetch the product again" in said.err


@pytest.mark.parametrize(
    ("table", "code", "told"),
    [
        ("a.jpg,,51,40", 1, "a.jpg has 40 x 50 pixels, its masks 40 x 51"),
        ("elsewhere.jpg,,50,40", 2, "No image named in"),
        ("cut.jpg,,50,40", 1, CUT),
        ("a.jpg,1 2 3,50,40", 1, "The masks of"),
        ("a.jpg,1 99999,50,40", 1, "outside the 40 x 50 mask"),
        ("a.jpg,,wide,40", 2, "line 2: the width of a.jpg is 'wide'"),
        ("a.jpg,,-50,40", 2, "Give a whole number"),
        ("a.jpg,\xff,50,40", 2, "Give a CSV in UTF-8"),
        ("a.jpg," + "1 " * 99_999 + ",50,40", 2, "Give a CSV"),
        ("", 2, "No image named in"),
    ],
)
def test_labels_that_do_not_fit_are_named(scenes, taran_eo, table, code, told):
    (scenes / "cut.jpg").write_bytes(jpeg()[:800])
    masks = scenes / "masks.csv"
    masks.write_bytes(f"ImageId,EncodedPixels,width,height\n{table}\n".encode("latin-1"))
    said = taran_eo("evaluate", "--images", scenes, "--masks", masks, "--json")
    assert (said.code, said.out) == (code, "")
    assert told in said.err
    assert str(scenes) in said.err


def test_a_recipe_with_unknown_keys_is_refused(tmp_path, taran_eo):
    pytest.importorskip("torch")
    recipe = tmp_path / "recipe.toml"
    for text, told in {
        "[schedule]\nlearningrate = 1\n": "schedule.learningrate = 1 is not a known key",
        "extends = './recipe.toml'": "extends itself",
        "a = " + "[" * 5000: "is not TOML",
    }.items():
        recipe.write_text(text)
        said = taran_eo("train", recipe, "-o", tmp_path / "run")
        assert (said.code, said.out) == (2, "")
        assert told in said.err
        assert str(recipe) in said.err
    assert not (tmp_path / "run").exists()
