"""Runs over many scenes: bad scenes do not cost the others, a killed run goes on, verify finds what changed."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from threading import Event, Lock

import pytest

from taran_eo.codec import assemble, pack, unpack
from taran_eo.errors import ImageryError, OutputError
from taran_eo.imagery.scene import Scene, open_scene
from taran_eo.journal import NAME, Finished, Journal, read
from taran_eo.onboard import Options, run, verify
from taran_eo.onboard import scene as onboard_scene
from taran_eo.onboard.ahead import DEPTH
from taran_eo.outputs import names
from taran_eo.provenance import sha256_file
from tests.folders import outputs

OPTIONS = Options(tile_size=32)


@pytest.fixture
def imagery(tmp_path, write_jpeg, write_geotiff):
    folder = tmp_path / "in"
    for seed, name in enumerate(["a.jpg", "b.jpg", "north/a.jpg", "south/deep/a.jpg"]):
        write_jpeg(folder / name, seed=seed)
    write_geotiff(folder / "south" / "geo.tif", rows=70, cols=120)
    return folder


def test_bad_scenes_do_not_cost_the_others(tmp_path, imagery, model):
    (imagery / "cut.jpg").write_bytes((imagery / "a.jpg").read_bytes()[:900])
    (imagery / "empty.tif").write_bytes(b"")
    (imagery / "text.jpg").write_text("not an image")
    (imagery / os.fsdecode(b"\xff.jpg")).write_bytes((imagery / "a.jpg").read_bytes())
    seen = []
    summary = run([imagery], tmp_path / "out", model, engine="reference", options=OPTIONS, progress=seen.append)
    assert summary.scenes == 5
    assert [Path(each.file).name for each in summary.skipped] == ["cut.jpg", "empty.tif", "text.jpg", "\ufffd.jpg"]
    assert all(each.reason and each.file in each.reason for each in summary.skipped)
    found = verify(tmp_path / "out")
    assert (found.scenes, found.files, found.findings) == (5, 15, ())
    assert len(found.skipped) == 4
    assert len(outputs(tmp_path / "out")) == 15
    assert summary.tiles == 3 * 3 * 4 + 3 * 4
    assert summary.bytes_in == 3 * (4 * 96 * 80 + 70 * 120)
    assert summary.bytes_out == sum(
        len(data) for name, data in outputs(tmp_path / "out").items() if name.endswith("product")
    )
    assert summary.ratio == summary.bytes_in / summary.bytes_out
    assert json.loads(json.dumps(summary.to_dict()))["skipped"][0]["file"].endswith("cut.jpg")
    assert seen[-1].scenes_done == seen[-1].scenes == 9
    with pytest.raises(ImageryError, match=r"cut\.jpg"):
        run([imagery], tmp_path / "strict", model, engine="reference", options=OPTIONS, on_error="fail")


def test_a_defect_that_one_scene_brings_out_does_not_cost_the_others(tmp_path, imagery, model, monkeypatch):
    def broken(file, *args, **options):
        if file.name == "b.jpg":
            raise ZeroDivisionError("of ours")
        return open_scene(file, *args, **options)

    monkeypatch.setattr("taran_eo.onboard.crew.open_scene", broken)
    summary = run([imagery], tmp_path / "out", model, engine="reference", options=OPTIONS)
    assert summary.scenes == 4
    (skipped,) = summary.skipped
    assert skipped.file.endswith("b.jpg")
    # Who gets the report must find the place.
    line = broken.__code__.co_firstlineno + 2
    assert f"ZeroDivisionError: of ours ({Path(__file__).name}, line {line})" in skipped.reason
    assert verify(tmp_path / "out").findings == ()
    with pytest.raises(ZeroDivisionError, match="of ours"):
        run([imagery], tmp_path / "strict", model, engine="reference", options=OPTIONS, on_error="fail")


def test_tiles_in_memory_are_bounded_however_many_scenes_wait(tmp_path, model, write_jpeg, monkeypatch):
    for seed in range(8):
        write_jpeg(tmp_path / "in" / f"{seed}.jpg", rows=32, cols=64, seed=seed)
    threads, held, most, order = 3, 0, 0, []
    # As many as are worked on and may wait, and the one for which there is no room yet.
    bound, full = threads + DEPTH + 1, Event()
    tiles, classify, counting = Scene.tiles, onboard_scene.classify, Lock()

    def counted(scene, *sizes):
        nonlocal held, most
        for tile in tiles(scene, *sizes):
            order.append(scene.name)
            with counting:
                held += 1
                most = max(most, held)
            if held >= bound:
                full.set()
            yield tile
        assert scene._source._decoded is None, "a decoded image outlived the reading of its tiles"

    def slow(*given):
        nonlocal held
        assert full.wait(timeout=10), "nobody reads ahead"
        time.sleep(0.02)
        with counting:
            held -= 1
        return classify(*given)

    monkeypatch.setattr(Scene, "tiles", counted)
    monkeypatch.setattr(onboard_scene, "classify", slow)
    monkeypatch.setattr("taran_eo.onboard.batch.cores", lambda: threads)
    summary = run([tmp_path / "in"], tmp_path / "out", model, engine="reference", options=OPTIONS)
    assert summary.scenes == 8 and not summary.skipped and held == 0
    assert order == [str(seed) for seed in range(8) for _ in range(2)], "a scene was read before its turn"
    assert most == bound


def test_parallel_runs_give_the_same_bytes(tmp_path, imagery, model):
    first = run([imagery], tmp_path / "one", model, engine="reference", options=OPTIONS)
    second = run([imagery], tmp_path / "two", model, engine="reference", options=OPTIONS, jobs=2)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")
    assert (first.ships, first.tiles, first.bytes_out) == (second.ships, second.tiles, second.bytes_out)


def killed(imagery, out, model):
    def kill(progress):
        if progress.scenes_done >= 2 and progress.tiles_done is not None:
            os.kill(os.getpid(), signal.SIGKILL)

    run([imagery], out, model, engine="reference", options=OPTIONS, progress=kill)


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, imagery, model):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = run([imagery], whole, model, engine="reference", options=OPTIONS)
    process = multiprocessing.get_context("spawn").Process(target=killed, args=(imagery, broken, model))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finished = len(read(broken).finished)
    assert 2 <= finished < 5
    with (broken / NAME).open("ab") as file:
        file.write(b'{"kind": "fin')
    summary = run([imagery], broken, model, engine="reference", options=OPTIONS, resume=True)
    assert outputs(broken) == outputs(whole)
    assert summary.resumed == finished
    for name in ("scenes", "tiles", "ships", "bytes_in", "bytes_out"):
        assert getattr(summary, name) == getattr(expected, name)
    again = run([imagery], broken, model, engine="reference", options=OPTIONS, resume=True)
    assert (again.resumed, again.scenes, again.tiles_per_s) == (5, 5, 0.0)


def test_resume_redoes_what_changed(tmp_path, imagery, model, write_jpeg):
    out = tmp_path / "out"
    run([imagery], out, model, engine="reference", options=OPTIONS)
    before = outputs(out)
    write_jpeg(imagery / "b.jpg", seed=9)
    (out / "a.product").unlink()
    (out / "north" / "a.mask.tif").write_bytes(b"II*\0")
    summary = run([imagery], out, model, engine="reference", options=OPTIONS, resume=True)
    assert (summary.scenes, summary.resumed) == (5, 2)
    after = outputs(out)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} >= {"b.product", "b.mask.tif"}
    assert after["a.product"] == before["a.product"]
    # The size of the tiles may be another one, after a want of memory for example.
    assert run([imagery], out, model, engine="reference", options=Options(tile_size=64), resume=True).resumed == 5
    with pytest.raises(OutputError, match="min_ship_pixels was 1 and is 2"):
        run([imagery], out, model, options=Options(min_ship_pixels=2), resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_scene_of_the_same_name_does_not_take_the_place_of_another(tmp_path, model, write_jpeg, monkeypatch, resume):
    out, x, y = tmp_path / "out", tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg"
    for file in (x, y):
        write_jpeg(file)
        os.utime(file, (1, 1))
    run([x], out, model, engine="reference", options=OPTIONS)
    before = outputs(out)
    with pytest.raises(OutputError, match=r"holds a of .*x/a\.jpg, which .*y/a\.jpg would replace"):
        run([y], out, model, engine="reference", options=OPTIONS, resume=resume)
    monkeypatch.chdir(x.parent)
    again = run([Path("a.jpg")], out, model, engine="reference", options=OPTIONS, resume=resume)
    assert again.resumed == resume
    assert outputs(out) == before


def test_outputs_go_when_their_scene_does(tmp_path, model, write_jpeg, write_geotiff):
    scene, out = tmp_path / "a.any", tmp_path / "out"

    def done():
        run([scene], out, model, engine="reference", options=OPTIONS)
        assert verify(out).findings == ()
        return list(outputs(out))

    write_jpeg(scene)
    assert done() == ["a.mask.tif", "a.product", "a.ships.json"]
    write_geotiff(scene)
    assert done() == ["a.mask.tif", "a.product", "a.ships.geojson"]
    scene.write_bytes(scene.read_bytes()[:900])
    assert done() == []


def test_ctrl_c_leaves_a_sound_folder(tmp_path, imagery, model):
    def interrupt(progress):
        if progress.file.endswith("b.jpg") and progress.tiles_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([imagery], tmp_path / "out", model, engine="reference", options=OPTIONS, progress=interrupt)
    left = outputs(tmp_path / "out")
    assert len(left) % 3 == 0 and "a.product" in {Path(name).name for name in left}
    assert not any("partial" in name for name in left) and not any(Path(name).name.startswith("b.") for name in left)
    assert verify(tmp_path / "out").findings == ()
    assert "a" in read(tmp_path / "out").finished


def test_a_full_disk_ends_the_run(tmp_path, imagery, model):
    """Not a fault of one scene; here a folder stands where an output must go."""
    (tmp_path / "out" / "b.product").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"b\.product"):
        run([imagery], tmp_path / "out", model, engine="reference", options=OPTIONS, on_error="skip")
    assert sorted(read(tmp_path / "out").finished) == ["a"]


def test_the_outputs_are_never_imagery(imagery, model, write_jpeg):
    out = imagery / "out"
    for _ in range(2):
        assert run([imagery], out, model, engine="reference", options=OPTIONS).scenes == 5
    with pytest.raises(ImageryError, match="output folder"):
        run([write_jpeg(out / "in.jpg")], out, model, engine="reference", options=OPTIONS)


@pytest.mark.parametrize("ending", [".mask.tif", ".ships.json", ".product"])
def test_verify_finds_a_flipped_bit(tmp_path, write_jpeg, model, ending):
    out = tmp_path / "out"
    run([write_jpeg(tmp_path / "a.jpg")], out, model, engine="reference", options=OPTIONS)
    data = bytearray((out / f"a{ending}").read_bytes())
    data[len(data) // 2] ^= 1
    (out / f"a{ending}").write_bytes(data)
    (finding,) = verify(out).findings
    assert finding.file == out / f"a{ending}"
    (out / f"a{ending}").unlink()
    assert "cannot be read" in verify(out).findings[0].what


def test_verify_finds_outputs_that_disagree(tmp_path, write_jpeg, model):
    """Even when every digest is right."""
    out = tmp_path / "out"
    run([write_jpeg(tmp_path / "a.jpg")], out, model, engine="reference", options=OPTIONS)
    history = read(out)
    product = unpack((out / "a.product").read_bytes())
    header, origin, items = product.header, product.made_by(), product.items
    nothing = dataclasses.replace(header, layout=(2, 1))
    ruled = dataclasses.replace(origin, threshold=0.9)
    under = dataclasses.replace(header, origin=ruled.key.hex())
    held = {step: list(numbered.values()) for step, numbered in items.items()}
    for forged, where in [
        (assemble(origin, nothing, held | {"mask": []}), "a.mask.tif"),
        (assemble(origin, header, held | {"ships": []}), "a.ships.json"),
        (assemble(ruled, under, held), "a.product"),
    ]:
        (out / "a.product").write_bytes(pack(forged))
        record: Finished = history.finished["a"]
        digests = record.outputs | {"a.product": sha256_file(out / "a.product")}
        with Journal(out, history.identity) as book:
            book.finish(dataclasses.replace(record, outputs=digests))
        (finding,) = verify(out).findings
        assert finding.file == out / where
    with pytest.raises(OutputError, match="no journal"):
        verify(tmp_path)


def test_names_are_unique_and_tell_where_a_scene_comes_from():
    def named(roots, files):
        return list(names([Path(r) for r in roots], [Path(f) for f in files]).values())

    assert named(["in"], ["in/a.jpg", "in/n/a.jpg", "in/n/b.c.tif"]) == ["a", "n/a", "n/b.c"]
    assert named(["x/a.jpg", "y/a.jpg"], ["x/a.jpg", "y/a.jpg"]) == ["x/a", "y/a"]
    assert named(["x", "y"], ["x/a.jpg", "x/b.jpg", "y/a.jpg"]) == ["x/a", "b", "y/a"]
    assert named(["in"], ["in/a.jpg", "in/a.png", "in/b.png"]) == ["a.jpg", "a.png", "b"]
    assert named(["in"], ["in/A.jpg", "in/a.png"]) == ["A.jpg", "a.png"]
    alike = ["in/A.JPG", "in/A.jpg", "in/a.jpg", "in/a.jpg~2.png"]
    assert named(["in"], alike) == ["A.JPG", "A.jpg~2", "a.jpg~3", "a.jpg~2~2"]


def test_a_copied_folder_still_verifies(tmp_path, imagery, model):
    run([imagery], tmp_path / "out", model, engine="reference", options=OPTIONS)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert verify(tmp_path / "copy").findings == ()
