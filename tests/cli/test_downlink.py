"""``taran-eo downlink``: the newcomer's line, the expert's file, and what is said when something is wrong."""

import json

import numpy as np
import pytest

from taran_eo.downlink.folder import SETTINGS, TABLES
from taran_eo.downlink.plots import PLOTS

SHORT = ("--days", 0.3)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    from rasterio import Affine
    from rasterio.crs import CRS

    from taran_eo.imagery.synthetic import write_synthetic_scene

    folder = tmp_path_factory.mktemp("scenes")
    for number in range(2):
        rng = np.random.default_rng(number)
        transform = Affine(1.5, 0, 5e5, 0, -1.5, 4.75e6)
        write_synthetic_scene(
            folder / f"{number}.tif", 200, 260, rng=rng, crs=CRS.from_epsg(32631), transform=transform
        )
    return folder


def test_a_newcomer_needs_a_folder_and_nothing_else(scenes, taran_eo, tmp_path):
    said = taran_eo("downlink", "--images", scenes, *SHORT, "-o", tmp_path / "out")
    assert said.code == 0
    assert "2 images, looked at 2: 104,000 pixels, 0.2 km2" in said.err
    # What was assumed is said.
    for word in (
        "600 km sun-synchronous",
        "svalbard",
        "spot-6",
        "500 GB",
        "dvb-s2",
        "as in the scenes",
        "mask-and-chips",
    ):
        assert word in said.out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {*TABLES, *SETTINGS, *PLOTS}
    assert len(json.loads((tmp_path / "out" / "provenance.json").read_text())["inputs"]) == 2


def test_a_finished_run_is_taken_as_it_is(scenes, taran_eo, tmp_path):
    assert taran_eo("run", scenes, "-o", tmp_path / "run", "-q").code == 0
    said = taran_eo("downlink", "--images", tmp_path / "run", *SHORT, "--json")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out)["strategies"][0]["strategy"] == "raw"


def test_options_stand_over_the_file(taran_eo, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text('stations = ["kiruna"]\nstrategies = ["ships"]\n[orbit]\naltitude_km = 500.0\n')

    def told(*options):
        said = taran_eo("downlink", file, *SHORT, "--json", *options)
        assert said.code == 0
        return json.loads(said.out)

    usual = told()
    assert usual == told()
    assert [each["strategy"] for each in usual["strategies"]] == ["ships"]
    assert told("--station", "svalbard", "--station", "troll")["capacity_bytes"] > usual["capacity_bytes"]
    assert told("--altitude", 800)["capacity_bytes"] != usual["capacity_bytes"]
    assert told("--seed", 5) != usual
    assert told("--set", "imaging.duty=0.2")["segments"] > 1.5 * usual["segments"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--images"),
        (("--set", "storage_bytes=0", "--set", "days=1.0", "SCENARIO"), "storage_bytes = 0"),
        (("--set", "imaging.dutty=0.1", "SCENARIO"), "Did you mean duty"),
        (("--station", "svalbrd", "SCENARIO"), "svalbard"),
        (("--altitude", -5, "SCENARIO"), "altitude"),
        (("--days", -1, "SCENARIO"), "days"),
        (("--set", "link.power_w=1e-9", "SCENARIO"), "It closes with"),
    ],
)
def test_what_makes_no_sense_is_named(arguments, said, taran_eo, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text('stations = ["svalbard"]\n[orbit]\naltitude_km = 600.0\n')
    answer = taran_eo("downlink", *(file if each == "SCENARIO" else each for each in arguments))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_folder_without_imagery_is_named(taran_eo, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = taran_eo("downlink", "--images", tmp_path / "empty")
    assert answer.code == 1
    assert "empty" in answer.err
    (tmp_path / "empty" / "broken.tif").write_bytes(b"II*\x00")
    answer = taran_eo("downlink", "--images", tmp_path / "empty")
    assert answer.code == 1
    assert "broken.tif" in answer.err
    assert "None of the 1 images" in answer.err


def test_a_run_that_is_none_is_named(taran_eo, tmp_path):
    answer = taran_eo("downlink", "--images", tmp_path, "--set", "traffic.run=" + str(tmp_path / "nothing"))
    assert answer.code == 1
    answer = taran_eo("downlink", "--set", "traffic.run=nothing", "--images", tmp_path / "absent")
    assert answer.code == 2
