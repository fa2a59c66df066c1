"""From imagery through frames to the ground, by the command line: what is lost is named, and nothing else is lost."""

import json
import re
import sys
from pathlib import Path

import pytest

from taran_eo.cli import main
from taran_eo.wire import Wire

CADU_BYTES = Wire().framing.cadu_bytes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Three synthetic scenes with ships."""
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", ["taran-eo", "synth", "-o", str(folder), "--scenes", "3", "--size", "200x260", "-q"])
        main()
    return folder


@pytest.fixture
def sent(scenes, tmp_path, taran_eo) -> Path:
    out = tmp_path / "out"
    said = taran_eo("run", scenes, "-o", out, "--level", "scene", "--downlink", "--json", "-q")
    assert said.code == 0, said.err
    told = json.loads(said.out)["downlink"]
    assert told["wire_bytes"] == (out / "downlink" / "frames.bin").stat().st_size
    assert told["wire_bytes"] % CADU_BYTES == 0
    assert told["file_bytes"] == sum(told["files"].values()) < told["wire_bytes"]
    record = json.loads((out / "downlink" / "sent.json").read_text())
    assert record["wire"]["framing"]["frame_bytes"] == 1115
    return out


def test_frames_go_down_and_come_back(scenes, sent, tmp_path, taran_eo):
    said = taran_eo("ground", sent / "downlink" / "frames.bin", "-o", tmp_path / "ground", "--json")
    assert (said.code, said.err) == (0, "")
    told = json.loads(said.out)
    assert [scene["missing"] for scene in told["scenes"]] == [[], [], []]
    assert told["counts"]["lost_frames"] == 0
    for mask in sent.glob("*.mask.tif"):
        assert mask.read_bytes() == (tmp_path / "ground" / mask.name).read_bytes()
    # A run that goes on sends all its scenes.
    before = (sent / "downlink" / "frames.bin").read_bytes()
    assert taran_eo("run", scenes, "-o", sent, "--level", "scene", "--downlink", "-q", "--resume").code == 0
    assert taran_eo("verify", sent).code == 0
    assert (sent / "downlink" / "frames.bin").read_bytes() == before


def test_what_a_damaged_recording_holds_is_told(scenes, sent, tmp_path, taran_eo):
    """Frames of another spacecraft, out of order, twice, cut off, with wrong bits, and garbage between them."""
    stream = (sent / "downlink" / "frames.bin").read_bytes()
    cadus = [stream[start : start + CADU_BYTES] for start in range(0, len(stream), CADU_BYTES)]
    foreign = tmp_path / "other.toml"
    foreign.write_text("[framing]\nspacecraft = 77\n")
    elsewhere = tmp_path / "elsewhere"
    assert taran_eo("run", scenes, "-o", elsewhere, "--downlink", "--wire", foreign, "-q").code == 0
    others = (elsewhere / "downlink" / "frames.bin").read_bytes()[:CADU_BYTES]
    flipped = bytearray(cadus[1])
    for place in range(100, 1200, 97):
        flipped[place] ^= 0x11
    # All of it is there: twelve wrong bytes are corrected, the rest is known for what it is.
    swapped = [*cadus[2:5], cadus[6], cadus[5], *cadus[7:]]
    noisy = b"\x5a" * 321 + cadus[0] + bytes(flipped) + cadus[1] + others + b"".join(swapped) + cadus[-1][:500]
    (tmp_path / "noisy.bin").write_bytes(noisy)
    said = taran_eo("ground", tmp_path / "noisy.bin", "-o", tmp_path / "ground")
    assert said.code == 0, said.err
    for kind in ("garbage", "duplicate", "late", "foreign", "spacecraft 77"):
        assert kind in said.err
    assert "3, 3 of them whole" in said.out
    # A lost frame costs what lay in it: here pixels; counts, ships and masks of all scenes are there.
    holed = b"".join(cadus[:9] + cadus[10:])
    (tmp_path / "holed.bin").write_bytes(holed)
    said = taran_eo("ground", tmp_path / "holed.bin", "-o", tmp_path / "holed")
    assert said.code == 1
    assert "gap" in said.err and "not complete" in said.err
    assert "3, 2 of them whole" in said.out
    assert "items of level scene" in said.err
    for mask in sent.glob("*.mask.tif"):
        assert mask.read_bytes() == (tmp_path / "holed" / mask.name).read_bytes()


def test_what_holds_no_frames_is_told(tmp_path, taran_eo):
    for name, data in (("empty.bin", b""), ("noise.bin", bytes(range(256)) * 40)):
        (tmp_path / name).write_bytes(data)
        said = taran_eo("ground", tmp_path / name, "-o", tmp_path / "ground")
        assert said.code == 1
        assert "no product" in said.err


def test_a_lossy_link_with_an_uplink_delivers_everything(sent, tmp_path, taran_eo):
    def linked(folder, seed):
        options = ("--frame-loss", 0.2, "--bit-errors", 1e-4, "--seed", seed)
        said = taran_eo("link", sent, *options, "-o", tmp_path / folder, "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)

    told = linked("a", 1)
    assert len(told["masks"]) == 3
    assert all(mask["sent"] == mask["received"] for mask in told["masks"].values())
    assert told["resent_bytes"] > 0 and told["rounds"] > 0
    # The same seed loses the same frames.
    assert linked("b", 1) == told
    assert linked("b", 2)["resent_bytes"] != told["resent_bytes"]


def test_a_lossy_link_without_an_uplink_delivers_what_arrives(sent, tmp_path, taran_eo):
    said = taran_eo("link", sent, "--frame-loss", 0.5, "--seed", 3, "--no-uplink", "-o", tmp_path / "ground", "--json")
    told = json.loads(said.out)
    assert any(told["missing"].values()) or len(told["missing"]) < 3
    assert said.code == (0 if all(mask["identical"] for mask in told["masks"].values()) else 1)
    nothing = taran_eo("link", sent, "--frame-loss", 1, "-o", tmp_path / "nothing")
    assert nothing.code == 1
    assert "0 of 3 identical" in nothing.out
    assert "nothing of it arrived" in nothing.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[framing]\nspacecraft = 2000\n", "spacecraft"),
        ("[framing]\nspacecraft = 1\ninterleave = 5\n", "Did you mean interleaving"),
        ("[cfdp]\nsource = 2\n", "both 2"),
        ("[frames]\n", "frames = {} is not a known key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(sent, tmp_path, taran_eo, text, told):
    path = tmp_path / "wire.toml"
    path.write_text(text)
    said = taran_eo("link", sent, "--wire", path, "-o", tmp_path / "ground")
    assert said.code == 2
    assert told in said.err
    assert not (tmp_path / "ground").exists()


def test_other_frames_and_codes_do_as_well(sent, tmp_path, taran_eo):
    path = tmp_path / "wire.toml"
    path.write_text(
        '[framing]\nkind = "aos"\nspacecraft = 200\nvirtual_channel = 9\ninterleaving = 1\n[cfdp]\ncrc = false\n'
    )
    assert taran_eo("link", sent, "--wire", path, "--frame-loss", 0.05, "-o", tmp_path / "ground").code == 0


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_rate_that_carries_nothing_is_refused(sent, tmp_path, taran_eo, rate):
    for uplink in ("--uplink", "--no-uplink"):
        said = taran_eo("link", sent, "--rate", rate, uplink, "-o", tmp_path / "ground")
        assert said.code == 2
        assert "--rate" in said.err


def test_the_ground_does_not_write_into_a_run(sent, taran_eo):
    frames = sent / "downlink" / "frames.bin"
    for arguments in (("link", sent, "--no-uplink", "--frame-loss", 0.6), ("ground", frames)):
        said = taran_eo(*arguments, "-o", sent)
        assert said.code == 1
        assert "outputs of a run" in said.err
    assert taran_eo("verify", sent).code == 0


def test_without_masks_there_is_none_to_compare(scenes, tmp_path, taran_eo):
    out = tmp_path / "counts"
    assert taran_eo("run", scenes, "-o", out, "--level", "counts", "-q").code == 0
    said = taran_eo("link", out, "-o", tmp_path / "ground")
    assert said.code == 0, said.err
    assert re.search("^masks +none was sent$", said.out, re.MULTILINE)


def test_a_codec_that_is_not_installed_is_told_before_the_work(scenes, tmp_path, taran_eo, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    said = taran_eo("run", scenes, "-o", tmp_path / "out", "--level", "chips")
    assert said.code == 2
    assert "taran-eo[codecs]" in said.err
    assert not (tmp_path / "out").exists()
    # Masks need nothing of it, and neither do pixels of a codec of the base.
    assert taran_eo("run", scenes, "-o", tmp_path / "out", "-q").code == 0
    assert taran_eo("run", scenes, "-o", tmp_path / "zstd", "--level", "chips", "--codec", "zstd", "-q").code == 0


def test_a_folder_without_a_run_is_refused(tmp_path, taran_eo):
    said = taran_eo("link", tmp_path, "-o", tmp_path / "ground")
    assert said.code == 1
    assert "no finished scene" in said.err
