"""Masks on disk: as given, complete or not there at all."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.errors import ImageryError, OutputError
from taran_eo.imagery import Mask, MaskWriter, Window, cover, read_mask, write_mask

GEO = {"crs": CRS.from_epsg(32618), "transform": Affine(1.5, 0, 500000, 0, -1.5, 2000000)}
NO_GEO = {"crs": None, "transform": None}


def names(folder):
    return [path.name for path in folder.iterdir()]


def labels(rows, cols):
    rng = np.random.default_rng(2)
    return rng.choice(np.array([0, 1, 255], dtype=np.uint8), (rows, cols), p=[0.8, 0.1, 0.1])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 1400), st.integers(1, 1400), st.sampled_from([160, 336, 512, 768]))
def test_a_mask_written_tile_by_tile_reads_back(tmp_path, rows, cols, tile_size):
    truth = labels(rows, cols)
    path = tmp_path / "mask.tif"
    with MaskWriter(path, rows, cols, **GEO) as writer:
        for core, _ in cover(rows, cols, tile_size, 0, 16):
            writer.write(core, truth[core.slices])
            assert len(writer._strip[0]) <= tile_size + 256
    assert (read_mask(path).labels == truth).all()
    assert names(tmp_path) == ["mask.tif"]


def test_the_file_is_tiled_compressed_and_in_its_place(tmp_path):
    path = tmp_path / "mask.tif"
    write_mask(path, Mask(labels(700, 900)), **GEO)
    with rasterio.open(path) as file:
        assert file.crs == GEO["crs"]
        assert file.transform == GEO["transform"]
        assert file.nodata == 255
        assert file.block_shapes == [(256, 256)]
        assert file.compression.name == "deflate"
    write_mask(path, Mask(labels(3, 4)), **NO_GEO)
    assert read_mask(path).rows == 3


def test_an_interrupted_or_incomplete_mask_leaves_the_old_one(tmp_path):
    path = tmp_path / "mask.tif"
    write_mask(path, Mask(labels(30, 30)), **NO_GEO)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), MaskWriter(path, 40, 40, **NO_GEO) as writer:
        writer.write(Window(0, 0, 16, 40), labels(16, 40))
        raise ZeroDivisionError
    with (
        pytest.raises(OutputError, match="only the pixels before row"),
        MaskWriter(path, 40, 40, **NO_GEO) as writer,
    ):
        writer.write(Window(0, 0, 16, 40), labels(16, 40))
    with pytest.raises(OutputError, match="out of turn"), MaskWriter(path, 40, 40, **NO_GEO) as writer:
        writer.write(Window(16, 0, 16, 40), labels(16, 40))
    assert path.read_bytes() == before
    assert names(tmp_path) == ["mask.tif"]


def test_a_place_that_cannot_be_written_is_named_with_a_remedy(tmp_path):
    with pytest.raises(OutputError, match=r"mask\.tif.*folder exists"):
        write_mask(tmp_path / "nowhere" / "mask.tif", Mask(labels(3, 3)), **NO_GEO)
    (tmp_path / "mask.tif").mkdir()
    with pytest.raises(OutputError, match=r"mask\.tif"):
        write_mask(tmp_path / "mask.tif", Mask(labels(3, 3)), **NO_GEO)
    assert names(tmp_path) == ["mask.tif"]


@pytest.mark.parametrize("room", [100, 5000, 200_000])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, room):
    # A limit on the file's size fails writes as a full disk does, in the same place.
    code = (
        "import resource, sys, numpy as np; from pathlib import Path; from taran_eo.imagery import *\n"
        "mask = Mask(np.random.default_rng(0).integers(0, 2, (1500, 1500), dtype=np.uint8))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n    write_mask(Path(sys.argv[1]), mask, crs=None, transform=None)\n"
        "except OSError as error: print(type(error).__name__, error)"
    )
    path = tmp_path / "mask.tif"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(room)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("OutputError")
    assert "mask.tif" in done.stdout
    assert names(tmp_path) == []


def test_a_disk_without_room_is_noticed_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr("taran_eo.imagery.writer.disk_usage", lambda _: SimpleNamespace(free=2000))
    with pytest.raises(OutputError, match=r"mask\.tif cannot be written: .*No space left"):
        write_mask(tmp_path / "mask.tif", Mask(labels(30, 30)), **NO_GEO)
    assert names(tmp_path) == []


def test_what_is_no_mask_is_refused(tmp_path):
    path = tmp_path / "mask.tif"
    path.write_text("no mask")
    with pytest.raises(ImageryError, match=r"mask\.tif"):
        read_mask(path)
    write_mask(path, Mask(labels(600, 600)), **NO_GEO)
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(ImageryError, match=r"mask\.tif"):
        read_mask(path)
