"""Exports as a whole: complete, checked, replayed by what lies in them; and the fit of a model to a target."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio

from taran_eo.checksums import write_sums
from taran_eo.engines import open_engine
from taran_eo.errors import CorruptDataError, GraphError
from taran_eo.export import FORMS, export, fit, form_named, open_export, remedies
from taran_eo.export.c_sources import write_c
from taran_eo.export.forms import Order
from taran_eo.graph import logit_at
from taran_eo.imagery import read_labels
from taran_eo.model import Model, shipped
from taran_eo.target import TARGETS, open_target

HOST = open_target("host")
SMALL = "ship_gate_e2m3"
# QONNX is replayed in an environment of its own; see test_qonnx.
HERE = tuple(form.name for form in FORMS if form.name != "qonnx")


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> dict[str, Path]:
    """The default model in every form that is replayed in this environment."""
    model = Model.open()
    folders = {}
    for name in HERE:
        folders[name] = tmp_path_factory.mktemp("exports") / name
        export(model, form_named(name), folders[name], target=HOST, tile=(64, 64))
    return folders


@pytest.mark.parametrize("name", HERE)
def test_an_export_is_complete_and_replays_itself(name, exports, taran_eo):
    folder = exports[name]
    manifest = open_export(folder)
    assert manifest.model.digest == Model.open().graph.digest and manifest.exact == form_named(name).exact
    assert manifest.golden.pixels == (3, 64, 64) and manifest.golden.vectors == 4
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder).returncode == 0
    listed = {line[66:] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        "SHA256SUMS"
    }
    said = taran_eo("verify", folder)
    assert (said.code, said.err) == (0, "") and "0 findings" in said.out
    text = (folder / "README.md").read_text()
    assert manifest.model.digest in text and "sha256sum -c" in text and "{" not in text


@pytest.mark.parametrize("name", HERE)
def test_a_form_that_is_not_exact_tells_how_far_it_is(name, exports):
    manifest = open_export(exports[name])
    assert (manifest.difference is None) == manifest.exact
    if manifest.difference is not None:
        assert 0 <= manifest.difference.mask_pixels < 0.01 * 4 * 64 * 64
        assert f"{manifest.difference.largest:.4g}" in (exports[name] / "README.md").read_text()


@pytest.mark.parametrize("name", HERE)
def test_a_wrong_golden_vector_is_a_finding(name, exports, tmp_path, taran_eo):
    """The replay is no formality: what the folder computes is compared, whatever the sums say."""
    folder = tmp_path / "export"
    shutil.copytree(exports[name], folder)
    logits = np.fromfile(folder / "golden" / "logits.i32", "<i4")
    logits[1000] += 1 << 20
    logits.tofile(folder / "golden" / "logits.i32")
    if name == "c99":  # its vectors are compiled
        source = folder / "golden.c"
        first = source.read_text().index("golden_logits")
        text = source.read_text()
        at = text.index("{", text.index("{", first) + 1) + 1
        source.write_text(text[:at] + "7 + " + text[at:])
    write_sums(folder)
    said = taran_eo("verify", folder)
    assert said.code == 1 and said.err


@pytest.mark.parametrize("name", HERE)
def test_no_byte_of_an_export_may_change(name, exports, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(exports[name], folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        kept = path.read_bytes()
        place = len(kept) // 2
        path.write_bytes(kept[:place] + bytes([kept[place] ^ 4]) + kept[place + 1 :])
        with pytest.raises(CorruptDataError, match=r"altered|garbled|missing|no line"):
            open_export(folder)
        path.unlink()
        with pytest.raises(CorruptDataError):
            open_export(folder)
        path.write_bytes(kept)
    open_export(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "format 2"),
        ("form", "hdl", "unknown form"),
        ("exact", "yes", "exact"),
        ("model", {"name": "a", "version": "1", "digest": "0" * 64}, "0000"),
        ("model", {"name": "a", "version": "1", "digest": "xyz"}, "digest"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(key, value, message, exports, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(exports["archive"], folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    write_sums(folder)
    with pytest.raises(CorruptDataError, match=message):
        open_export(folder)


def test_a_folder_that_holds_something_is_left_alone(tmp_path, taran_eo):
    (tmp_path / "mine.txt").write_text("mine")
    said = taran_eo("export", shipped(SMALL), "--to", "archive", "-o", tmp_path)
    assert said.code == 1 and "not empty" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    export(Model.open(shipped(SMALL)), form_named("onnx-integer"), empty, target=HOST)
    assert open_export(empty).form == "onnx-integer"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "something was left behind"


def test_a_memory_that_is_too_small_is_told(tmp_path, taran_eo):
    said = taran_eo("export", shipped("thin_unet32_e2m3"), "--to", "c99", "-o", tmp_path / "c", "--memory", "1M")
    assert said.code == 2 and "256 x 256 pixels needs 1,696,640 bytes, more than the 1,048,576" in said.err
    assert not (tmp_path / "c").exists()
    for text in ("2X", "-1", "", "1.5M"):
        assert taran_eo("export", shipped(SMALL), "--to", "c99", "-o", tmp_path / "c", "--memory", text).code == 2


def test_a_memory_that_is_given_is_kept(tmp_path):
    """Fewer rows at a time, in less memory, with the same logits: the export replays itself."""
    model = Model.open(shipped(SMALL))
    arenas = []
    for memory in (None, 300_000, 110_000):
        manifest, said = export(
            model, form_named("c99"), tmp_path / str(memory), target=HOST, tile=(128, 128), memory=memory
        )
        assert said is not None and said.passed and manifest.memory is not None
        assert memory is None or manifest.memory.arena <= memory
        assert f"TARAN_ARENA_BYTES {manifest.memory.arena} " in (tmp_path / str(memory) / "model.h").read_text()
        arenas.append(manifest.memory.arena)
    assert arenas[0] >= arenas[1] > arenas[2]


@pytest.mark.parametrize("size", ["100x64", "0x16", "16x-16"])
def test_a_size_of_tile_that_the_network_does_not_take_is_refused(size, tmp_path, taran_eo):
    said = taran_eo("export", shipped(SMALL), "--to", "c99", "-o", tmp_path / "c", "--tile", size)
    assert said.code in (1, 2) and ("multiples of 16" in said.err or "ROWSxCOLS" in said.err)


@pytest.mark.parametrize("name", ["archive", "c99", "onnx-qdq", "onnx-fp6"])
def test_a_network_of_float32_is_refused_by_name(name, tmp_path, repository):
    with pytest.raises(GraphError, match="float32"):
        export(
            Model.open(repository / "models/thin_unet32_float"),
            form_named(name),
            tmp_path / "f",
            target=HOST,
            tile=(32, 32),
        )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_target_or_form_is_refused(tmp_path, taran_eo):
    said = taran_eo("export", shipped(SMALL), "--to", "c99", "-o", tmp_path / "c", "--target", "z80")
    assert said.code == 2 and "leon3" in said.err
    assert taran_eo("export", shipped(SMALL), "--to", "vhdl", "-o", tmp_path / "c").code == 2


def test_a_missing_tool_is_named(tmp_path, monkeypatch, taran_eo):
    """C is exact by construction and exported all the same; what has to be measured is not exported."""
    monkeypatch.setenv("PATH", str(tmp_path))
    said = taran_eo("export", shipped(SMALL), "--to", "c99", "-o", tmp_path / "c", "--target", "leon3")
    assert said.code == 0 and "not replayed" in said.out
    said = taran_eo("verify", tmp_path / "c")
    assert said.code == 2 and "make" in said.err
    said = taran_eo("export", shipped(SMALL), "--to", "qonnx", "-o", tmp_path / "q")
    assert said.code == 2 and "qonnx" in said.err and not (tmp_path / "q").exists()


@pytest.fixture(scope="module")
def ships(shared_data):
    """Three real tiles with ships: their files, pixels, and logits of the native engine."""
    airbus = shared_data / "airbus"
    images = [image for image in read_labels(airbus / "val", airbus / "masks.csv") if image.ships][:3]
    tiles = np.stack([image.pixels().transpose(2, 0, 1) for image in images])
    engine = open_engine("native", Model.open().graph, threads=1)
    return [image.path for image in images], tiles, np.stack([engine.run(tile) for tile in tiles])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_mask_of_c_is_that_of_run(ships, tmp_path, taran_eo):
    """Without Python, compiled with nothing but -O2: the logits of the engine, and the bytes of the mask of `run`."""
    paths, tiles, expected = ships
    model = Model.open()
    limit = logit_at(model.threshold, model.graph.logit_scale)
    write_c(model.graph, tmp_path, rows=768, cols=768, limit=limit, memory=8 * 2**20)
    (tmp_path / "main.c").write_text(
        """
        #include <stdio.h>
        #include "model.h"
        static uint8_t pixels[TARAN_BANDS * TARAN_ROWS * TARAN_COLS], labels[TARAN_LOGIT_ROWS * TARAN_LOGIT_COLS];
        static int32_t logits[TARAN_CLASSES * TARAN_LOGIT_ROWS * TARAN_LOGIT_COLS];
        int main(void)
        {
            while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
                taran_run(pixels, logits);
                taran_mask(logits, labels);
                fwrite(logits, 1, sizeof logits, stdout);
                fwrite(labels, 1, sizeof labels, stdout);
            }
            return 0;
        }
        """
    )
    command = ["gcc", "-std=c99", "-O2", "main.c", "model.c", "taran.c", "-o", "main"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([tmp_path / "main"], input=tiles.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.dtype([("logits", np.int32, (768, 768)), ("mask", np.uint8, (768, 768))]))
    assert np.array_equal(found["logits"], expected[:, 0])
    assert taran_eo("run", *paths, "-o", tmp_path / "run", "--gate", "none").code == 0
    assert found["mask"].any()
    for path, mask in zip(paths, found["mask"], strict=True):
        (written,) = (tmp_path / "run").rglob(f"{path.stem}*mask*")
        with rasterio.open(written) as file:
            assert np.array_equal(file.read(1), mask)


def test_the_archive_on_real_tiles(ships, tmp_path):
    _, tiles, expected = ships
    order = Order(Model.open().graph, 0, tiles, expected, None, HOST)
    form_named("archive").write(order, tmp_path)
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "pixels.u8").write_bytes(tiles.tobytes())
    (tmp_path / "golden" / "logits.i32").write_bytes(expected.astype("<i4").tobytes())
    done = subprocess.run(["make", "--silent", "replay"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_tells_what_is_measured(repository, tmp_path):
    """The table of forms: largest difference of a logit, and pixels of the mask."""
    text = (repository / "README.md").read_text()
    for form in FORMS:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{form.name}` "))
        if form.name in HERE and not form.exact:
            manifest, _ = export(Model.open(), form, tmp_path / form.name, target=HOST)
            assert manifest.difference is not None
            told = f"{manifest.difference.largest:.3g}, {manifest.difference.mask_pixels}"
            assert row.endswith(f"| {told} |"), (row, told)


@pytest.mark.parametrize("target", TARGETS)
def test_the_fit_report_tells_what_a_model_takes(target, taran_eo):
    said = taran_eo("inspect", shipped("thin_unet32_e2m3"), "--target", target, "--tile", "64x64", "--json")
    told = json.loads(said.out)
    assert said.code == (0 if told["fits"] else 1)
    assert told["weight_bytes"] == 146_400 <= 150_000 < told["constant_bytes"]
    assert told["macs"] == Model.open().graph.macs(64, 64)
    if target != "host":
        assert told["instructions_are"].startswith("counted") and told["instructions"] > told["macs"] / 10


def test_what_does_not_fit_is_told_by_how_much_and_what_would_help():
    graph, target = Model.open().graph, open_target("cortex-m7")
    found = fit(graph, target, 256, 256)
    memory = target.memories[found.arena_in].bytes
    assert found.short_bytes == found.arena_bytes + found.exchange_bytes - memory > 0 and found.stripe == 1
    assert found.whole_bytes > 4 * found.arena_bytes
    said = " ".join(remedies(graph, target, found))
    assert "Tiles of" in said and "Thin U-Net 16" in said and "levels" in said
    smaller = fit(graph, target, 48, 48)
    assert smaller.short_bytes == 0


def test_the_arena_of_a_tile_by_rows_is_below_two_mib(tmp_path):
    model = Model.open()
    written = write_c(model.graph, tmp_path, rows=256, cols=256, limit=0, memory=2 * 2**20)
    assert written.arena_bytes < 2 * 2**20 and written.weight_bytes <= 150_000 and written.stripe > 1
