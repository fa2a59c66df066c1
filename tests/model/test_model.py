"""Model folders: what is saved opens alike, what was altered is refused by name, what differs is found."""

import errno
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taran_eo import graph as graphs
from taran_eo.errors import ModelError, OutputError
from taran_eo.formats import Integer, Scaling
from taran_eo.graph import Conv, FloatConv, Graph, Tensor
from taran_eo.imagery import Contract
from taran_eo.model import Model, replay, save
from taran_eo.provenance import sha256_files

FILES = ("CARD.md", "SHA256SUMS", "flight.safetensors", "golden.npz", "model.toml", "weights.safetensors")


@dataclass(frozen=True)
class Reference:
    graph: Graph
    error: int = 0
    name: str = "test"

    def run(self, pixels: np.ndarray) -> np.ndarray:
        logits = graphs.run(self.graph, pixels)
        logits[0, 1, 1] += self.error
        return logits


def tiny_graph() -> Graph:
    """One convolution of 1 x 1: the logit of a pixel is 3 red - 2 green + blue - 100."""
    tensors = (
        Tensor("pixels", 3, 0, Integer(8, signed=False), Scaling((1.0,))),
        Tensor("logits", 1, 0, Integer(32), Scaling((0.125,))),
    )
    weights = np.array([3, -2, 1], np.int8).reshape(1, 3, 1, 1)
    conv = Conv("pixels", "logits", weights, Integer(8), np.array([-100], np.int32), None)
    return Graph("tiny", {tensor.name: tensor for tensor in tensors}, (conv,), "pixels", "logits")


def tiny_float() -> Graph:
    """The same in float32, of 2**-8: no logit is beyond 4."""
    graph = tiny_graph()
    (conv,) = graph.ops
    tensors = graph.tensors | {"logits": Tensor("logits", 1, 0, Integer(32), Scaling((2.0**-16,)))}
    weights, bias = (np.float32(each * 2.0**-8) for each in (conv.weights, conv.bias))
    return Graph("tiny", tensors, (FloatConv("pixels", "logits", weights, bias, relu=False),), "pixels", "logits")


@pytest.fixture(scope="module")
def recipe() -> dict[str, object]:
    rng = np.random.default_rng(4)
    return {
        "name": "tried",
        "version": "1.2.3",
        "task": 'ships, "small" ones — Schiffe',
        "graph": tiny_graph(),
        "contract": Contract(),
        "classes": ("sea", "ship"),
        "threshold": 0.375,
        "golden_pixels": rng.integers(0, 256, (2, 3, 16, 32), np.uint8),
        "card": "# A card\n",
        "weights": {"a": np.arange(3, dtype=np.float32)},
    }


@pytest.fixture(scope="module")
def saved(recipe: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("saved") / "deep" / "model", **recipe).path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def seal(folder: Path) -> None:
    """Write checksums that fit, as somebody would who edits a model on purpose."""
    sums = sha256_files(folder, (path.name for path in folder.iterdir() if path.name != "SHA256SUMS"))
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def test_what_is_saved_opens_alike(recipe: dict[str, object], saved: Path) -> None:
    model = Model.open(saved)
    assert model.graph.digest == recipe["graph"].digest
    for field in ("name", "version", "task", "contract", "classes", "threshold"):
        assert getattr(model, field) == recipe[field]
    pixels, logits = model.golden()
    np.testing.assert_array_equal(pixels, recipe["golden_pixels"])
    np.testing.assert_array_equal(logits[1], graphs.run(model.graph, pixels[1]))
    assert sorted(path.name for path in saved.iterdir()) == sorted(FILES)
    assert [path.name for path in saved.parent.iterdir()] == ["model"], "a temporary folder was left behind"


def test_saving_twice_gives_the_same_bytes(recipe: dict[str, object], saved: Path, tmp_path: Path) -> None:
    again = save(tmp_path / "again", **recipe).path
    assert (again / "SHA256SUMS").read_bytes() == (saved / "SHA256SUMS").read_bytes()


def test_the_sums_are_those_of_sha256sum(saved: Path) -> None:
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=saved, check=True, capture_output=True)


@settings(max_examples=40)
@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(saved: Path, name: str, where: float, bit: int) -> None:
    path = saved / name
    good = path.read_bytes()
    bad = bytearray(good)
    bad[int(where * len(bad))] ^= 1 << bit
    path.write_bytes(bad)
    try:
        with pytest.raises(ModelError) as caught:
            Model.open(saved)
        if name != "SHA256SUMS":
            assert str(path) in str(caught.value)
        assert caught.value.remedy in str(caught.value)
    finally:
        path.write_bytes(good)


def test_the_lowest_bit_of_every_byte_of_the_sums_matters(folder: Path) -> None:
    """Among them each line feed, which one flipped bit turns into another kind of line break."""
    path = folder / "SHA256SUMS"
    good = path.read_bytes()
    for where in range(len(good)):
        path.write_bytes(good[:where] + bytes([good[where] ^ 1]) + good[where + 1 :])
        with pytest.raises(ModelError):
            Model.open(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != "weights.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        Model.open(folder)


def test_the_float_master_may_be_left_out(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    assert Model.open(folder).name == "tried"


def test_no_folder_and_a_path_that_leads_out_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        Model.open(folder / "absent")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../outside\n")
    with pytest.raises(ModelError, match="garbled"):
        Model.open(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 99", "format version 99"),
        ("format = 1", "format = [", "not TOML"),
        ("format = 1\n", "", "format is missing"),
        ("threshold = 0.375", "threshold = 1.5", "threshold = 1.5"),
        ("threshold = 0.375", 'threshold = "high"', "threshold = 'high'"),
        ("gsd_m = 1.5", "gsd_m = -1.0", r"model\.toml: contract\.gsd_m = -1\.0"),
        ("bit_depth = 8", "bit_depths = 8", r"contract\.bit_depths = 8 is not a known key.*bit_depth\?"),
        ('["red", "green", "blue"]', '["grey"]', "3 bands.*grey"),
        ('["sea", "ship"]', '["sea", "ship", "wake"]', "1 planes.*wake"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "model.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    seal(folder)
    with pytest.raises(ModelError, match=said):
        Model.open(folder)


def test_a_garbled_graph_is_refused(folder: Path) -> None:
    (folder / "flight.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    seal(folder)
    with pytest.raises(ModelError):
        Model.open(folder)


def test_golden_vectors_of_another_shape_are_refused(folder: Path) -> None:
    np.savez(folder / "golden.npz", pixels=np.zeros((1, 3, 16, 16)), logits=np.zeros((1, 1, 16, 16), np.int32))
    seal(folder)
    with pytest.raises(ModelError, match="no golden vectors"):
        Model.open(folder).golden()


def test_replay_finds_one_wrong_logit(saved: Path) -> None:
    model = Model.open(saved)
    assert replay(model, Reference(model.graph)) == []
    findings = replay(model, Reference(model.graph, error=3))
    assert [(finding.tile, finding.differing, finding.largest) for finding in findings] == [(0, 1, 3), (1, 1, 3)]
    assert "engine test, golden tile 0: 1 of" in str(findings[0])


def test_logits_of_a_float_model_may_differ_a_little(recipe: dict[str, object], tmp_path: Path) -> None:
    model = save(tmp_path / "model", **{**recipe, "graph": tiny_float()})
    pixels, logits = model.golden()
    exact = np.stack([graphs.run(tiny_graph(), tile) for tile in pixels])
    np.testing.assert_array_equal(logits, exact << 8)
    assert Model.open(model.path).graph.digest == tiny_float().digest
    assert replay(model, Reference(model.graph, error=16)) == []
    (first, second) = replay(model, Reference(model.graph, error=-17))
    assert (first.differing, first.largest, second.differing, second.largest) == (1, 17, 1, 17)


def test_an_existing_folder_is_replaced_only_on_request(recipe: dict[str, object], folder: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        save(folder, **recipe)
    assert save(folder, **{**recipe, "version": "2", "overwrite": True}).version == "2"
    stranger = folder.parent / "stranger"
    stranger.mkdir()
    with pytest.raises(OutputError, match="exists already"):
        save(stranger, **recipe, overwrite=True)


def test_the_old_model_survives_when_the_new_one_cannot_take_its_place(
    recipe: dict[str, object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        save(folder, **{**recipe, "version": "2", "overwrite": True})
    assert Model.open(folder).version == "1.2.3"
    assert list(folder.parent.iterdir()) == [folder]


def test_what_cannot_be_opened_is_not_put_in_place(recipe: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="threshold"):
        save(tmp_path / "model", **{**recipe, "threshold": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_the_default_model_opens(repository: Path) -> None:
    default = repository / "models" / "thin_unet32_e2m3"
    model = Model.open()
    assert model.path == default
    assert model.name == "thin_unet32_e2m3"
    assert (model.contract.bands, model.contract.gsd_m) == (("red", "green", "blue"), 1.5)
    manifest = tomllib.loads((default / "model.toml").read_text())
    assert manifest["task"] == model.task
    assert manifest["contract"] == model.contract.model_dump(mode="json")
