"""Exports as a whole: complete, checked, replayed by what lies in them; and the fit of a model to a target."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio

from taran_eo.checksums import write_sums
from taran_eo.engines import open_engine
from taran_eo.errors import CorruptDataError, GraphError
from taran_eo.export import FORMS, export, fit, form_named, open_export, remedies
from taran_eo.export.c_sources import write_c
from taran_eo.export.forms import Order
from taran_eo.graph import logit_at, run
from taran_eo.imagery import read_labels
from taran_eo.model import Model, shipped
from taran_eo.target import TARGETS, open_target
from tests.graph.networks import chain

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


def test_only_what_has_a_sum_is_run(exports, tmp_path, taran_eo):
    """What else lies in a folder neither proves anything nor is in the way."""
    folder = tmp_path / "export"
    shutil.copytree(exports["c99"], folder)
    (folder / "GNUmakefile").write_text("replay:; @echo no test was run\n")
    (folder / "replay.elf").write_text("#!/bin/sh\necho replay: passed\n")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    said = taran_eo("verify", folder)
    assert (said.code, said.err) == (0, "") and "replay: passed" in said.out
    sums = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    for name in ("model.c", "Makefile"):
        (folder / "SHA256SUMS").write_text("".join(line for line in sums if not line.endswith(f"  {name}\n")))
        with pytest.raises(CorruptDataError, match=f"{name}, which has no sum"):
            open_export(folder)


@pytest.mark.parametrize("program", ["echo", "true", "false", "cat"])
def test_a_replay_is_not_believed_by_its_exit_alone(program, exports, taran_eo, tmp_path):
    for name in ("onnx-integer", "onnx-qdq"):
        said = taran_eo("verify", exports[name], "--python", shutil.which(program))
        assert said.code == 1 and "do not come out" in said.err
        said = taran_eo("export", shipped(SMALL), "--to", name, "-o", tmp_path / "o", "--python", program)
        assert said.code == 1 and "does not replay" in said.err and not (tmp_path / "o").exists()


def test_an_interpreter_may_be_named_from_here(exports, taran_eo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("env").symlink_to(sys.prefix)
    assert taran_eo("verify", exports["onnx-integer"], "--python", "env/bin/python").code == 0
    said = taran_eo("verify", exports["onnx-integer"], "--python", "env/bin/no_python")
    assert said.code == 2 and "env/bin/no_python" in said.err


def test_no_vectors_prove_nothing(exports, tmp_path, taran_eo):
    folder = tmp_path / "export"
    shutil.copytree(exports["onnx-integer"], folder)
    for name in ("pixels.u8", "logits.i32"):
        (folder / "golden" / name).write_bytes(b"")
    write_sums(folder)
    assert taran_eo("verify", folder).code == 1
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["golden"]["vectors"] = 0
    path.write_text(json.dumps(manifest))
    write_sums(folder)
    with pytest.raises(CorruptDataError, match="none that taran_eo writes"):
        open_export(folder)


def test_the_page_tells_the_shapes_of_the_program(tmp_path):
    """A gate's logits stand for cells, and ONNX has a first axis."""
    model = Model.open(shipped(SMALL))
    export(model, form_named("onnx-integer"), tmp_path / "o", target=HOST)
    page = (tmp_path / "o" / "README.md").read_text()
    graph = onnx.load(tmp_path / "o" / "model.onnx").graph
    ends = [
        [each.dim_value or each.dim_param for each in end.type.tensor_type.shape.dim]
        for end in (graph.input[0], graph.output[0])
    ]
    assert ends == [[1, 3, "rows", "cols"], [1, 1, "logit_rows", "logit_cols"]]
    assert "uint8[1, 3, rows, cols]" in page and "int32[1, 1, rows / 16, cols / 16]" in page
    assert "A cell of 16 x 16 pixels" in page and open_export(tmp_path / "o").output.reduction == 16


def test_an_archive_brings_the_room_that_it_takes(tmp_path):
    graph = chain(*("conv3",) * 64)
    pixels = np.random.default_rng(3).integers(0, 256, (1, graph.bands, 8, 8), dtype=np.uint8)
    logits = run(graph, pixels[0])[None]
    form_named("archive").write(Order(graph, 0, pixels, logits, None, HOST), tmp_path)
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "pixels.u8").write_bytes(pixels.tobytes())
    (tmp_path / "golden" / "logits.i32").write_bytes(logits.astype("<i4").tobytes())
    done = subprocess.run(["make", "--silent", "replay"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_c_takes_what_its_target_has(tmp_path, taran_eo, monkeypatch):
    """The arena that `inspect` tells of; and where even the smallest is too large, a word."""
    monkeypatch.setenv("PATH", str(tmp_path))
    said = taran_eo("export", "--to", "c99", "-o", tmp_path / "c", "--target", "cortex-m7", "--tile", "48x48", "--json")
    found = fit(Model.open().graph, open_target("cortex-m7"), 48, 48)
    assert (
        json.loads(said.out)["memory"]["arena"] == found.arena_bytes and json.loads(said.out)["memory"]["lacking"] == 0
    )
    assert "That fits it" in (tmp_path / "c" / "README.md").read_text()
    said = taran_eo("export", "--to", "c99", "-o", tmp_path / "d", "--target", "cortex-m7", "--tile", "64x64")
    lacking = fit(Model.open().graph, open_target("cortex-m7"), 64, 64).short_bytes
    assert said.code == 0 and f"lacks {lacking:,} bytes" in said.err
    assert f"lack {lacking} bytes" in (tmp_path / "d" / "README.md").read_text()


def test_a_folder_that_holds_something_is_left_alone(tmp_path, taran_eo, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    said = taran_eo("export", shipped(SMALL), "--to", "archive", "-o", tmp_path)
    assert said.code == 1 and "not empty" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert taran_eo("export", shipped(SMALL), "--to", "onnx-integer", "-o", ".").code == 0
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


@pytest.mark.parametrize("size", ["100x64", "0x16", "16x-16", "1000000x1000000", "4294967296x16"])
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


@pytest.mark.parametrize("option", [("--memory", "2M"), ("--target", "leon3")])
def test_what_a_form_does_not_take_is_refused(option, tmp_path, taran_eo):
    said = taran_eo("export", shipped(SMALL), "--to", "onnx-integer", "-o", tmp_path / "o", *option)
    assert said.code == 2 and "c99" in said.err and not (tmp_path / "o").exists()


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
    assert told["fits"] == {"cortex-m7": False, "host": "unknown", "sparc64": "unknown"}.get(target, True)
    assert said.code == (1 if told["fits"] is False else 0)
    assert told["weight_bytes"] == 146_400 <= 150_000 < told["constant_bytes"]
    assert told["macs"] == Model.open().graph.macs(64, 64)
    if target != "host":
        assert told["instructions_are"].startswith("counted") and told["instructions"] > told["macs"] / 10


def test_a_size_of_tile_is_of_a_target(taran_eo):
    assert taran_eo("inspect", "--tile", "64x64").code == 2


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
