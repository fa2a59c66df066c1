"""Scenes of every kind: what is served is what the file holds, whatever the tiles; and what is refused, by name."""

import subprocess
import sys
import zlib

import numpy as np
import pytest
import rasterio
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS

from taran_eo.errors import ConfigError, ContractError, ImageryError, TaranError
from taran_eo.imagery import Contract, Scene, Window, find_scenes, open_scene, read_jpeg
from taran_eo.imagery.source import gdal

CONTRACT = Contract()
UTM = {"crs": CRS.from_epsg(32618), "transform": Affine(1.5, 0, 500000, 0, -1.5, 2000000)}


def save(path, pixels, driver="GTiff", **profile):
    bands, rows, cols = pixels.shape
    with (
        gdal(),
        rasterio.open(
            path, "w", driver=driver, height=rows, width=cols, count=bands, dtype=pixels.dtype, **profile
        ) as file,
    ):
        file.write(pixels)
    return path


def noise(bands, rows, cols, dtype=np.uint8, high=255):
    return np.random.default_rng(1).integers(1, high, (bands, rows, cols)).astype(dtype)


def whole(scene: Scene):
    return scene.read(Window(0, 0, scene.rows, scene.cols))


def joined(scene: Scene, tile_size, halo=16):
    pixels = np.zeros((3, scene.rows, scene.cols), dtype=np.uint8)
    valid = np.zeros((scene.rows, scene.cols), dtype=np.bool_)
    for tile in scene.tiles(tile_size, halo, 16):
        assert not tile.pixels[:, ~tile.valid].any()
        assert tile.pixels.shape == (3, tile.window.rows, tile.window.cols)
        cut = tile.core.relative_to(tile.window).slices
        pixels[:, *tile.core.slices] = tile.pixels[:, *cut]
        valid[tile.core.slices] = tile.valid[cut]
    return pixels, valid


@pytest.mark.parametrize(
    ("name", "driver", "profile"),
    [("a.png", "PNG", {}), ("a.tif", "GTiff", {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw"}),
     ("a.jp2", "JP2OpenJPEG", {"REVERSIBLE": "YES", "QUALITY": "100"}), ("b.tif", "GTiff", {"interleave": "pixel"})],
)  # fmt: skip
def test_lossless_files_come_back_as_they_are_tile_by_tile(tmp_path, name, driver, profile):
    pixels = noise(3, 130, 175)
    with open_scene(save(tmp_path / name, pixels, driver, **profile), CONTRACT) as scene:
        assert (whole(scene)[0] == pixels).all()
        for tile_size in (32, 64, 256):
            tiled, valid = joined(scene, tile_size)
            assert (tiled == pixels).all()
            assert valid.all()
        assert scene.raw_bytes == pixels.size
        assert scene.name == name[0]
        assert scene.crs is None
        assert scene.gsd_m is None


def test_a_jpeg_scene_is_what_training_reads(tmp_path):
    image = np.ascontiguousarray(noise(3, 70, 90).transpose(1, 2, 0))
    path = tmp_path / "a.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(image, quality=90))
    with open_scene(path, CONTRACT) as scene:
        assert (joined(scene, 32)[0].transpose(1, 2, 0) == read_jpeg(path)).all()
    with open_scene(path, CONTRACT, bands=(3, 2, 1)) as scene:
        assert (whole(scene)[0].transpose(1, 2, 0)[..., ::-1] == read_jpeg(path)).all()


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 5000)])
def test_odd_shapes_are_served(tmp_path, rows, cols):
    pixels = noise(3, rows, cols)
    with open_scene(save(tmp_path / "a.png", pixels, "PNG"), CONTRACT) as scene:
        assert (joined(scene, 768, 112)[0] == pixels).all()


def test_one_band_is_repeated_with_a_warning(tmp_path):
    pixels = noise(1, 20, 30)
    with open_scene(save(tmp_path / "a.tif", pixels), CONTRACT) as scene:
        assert "one band" in scene.warnings[0]
        assert (whole(scene)[0] == pixels[0]).all()
        assert scene.raw_bytes == 600


def test_alpha_is_validity_and_not_a_colour(tmp_path):
    pixels = noise(4, 20, 30)
    pixels[3] = 255
    pixels[3, :5] = 0
    for name, driver in (("a.png", "PNG"), ("a.tif", "GTiff")):
        extra = {} if driver == "PNG" else {"photometric": "rgb", "alpha": "yes"}
        with open_scene(save(tmp_path / name, pixels, driver, **extra), CONTRACT) as scene:
            served, valid = whole(scene)
            assert scene.warnings == ()
            assert (valid == (pixels[3] > 0)).all()
            assert not served[:, :5].any()
            assert (served[:, 5:] == pixels[:3, 5:]).all()


def test_a_palette_stands_for_its_colours_and_their_alpha(tmp_path):
    indexes = np.random.default_rng(3).integers(0, 4, (20, 30), dtype=np.uint8)
    table = np.array([(10, 20, 30, 255), (40, 50, 60, 0), (70, 80, 90, 128), (1, 2, 3, 0)], dtype=np.uint8)
    path = tmp_path / "a.png"
    with gdal(), rasterio.open(path, "w", driver="PNG", height=20, width=30, count=1, dtype="uint8") as file:
        file.write(indexes, 1)
        file.write_colormap(1, dict(enumerate(map(tuple, table.tolist()))))
    seen = table[indexes]
    for bands in (None, (3, 1, 2), (2,)):
        with open_scene(path, CONTRACT, bands=bands) as scene:
            served, valid = whole(scene)
            assert (scene.warnings, scene.raw_bytes) == ((), 600)
        assert (valid == (seen[..., 3] > 0)).all()
        for pixels, band in zip(served, bands * (3 // len(bands)) if bands else (1, 2, 3), strict=True):
            assert (pixels == seen[..., band - 1] * valid).all()
    with pytest.raises(ContractError, match="7,8,9"):
        open_scene(path, CONTRACT, bands=(7, 8, 9))


def test_bands_are_chosen_counted_and_named(tmp_path):
    pixels = noise(5, 20, 30)
    path = save(tmp_path / "five.tif", pixels)
    with open_scene(path, CONTRACT) as scene:
        assert "1,2,3" in scene.warnings[0]
    with open_scene(path, CONTRACT, bands=(5, 1, 2)) as scene:
        assert scene.warnings == ()
        assert (whole(scene)[0] == pixels[[4, 0, 1]]).all()
    with pytest.raises(ContractError, match=r"five\.tif"):
        open_scene(path, CONTRACT, bands=(1, 2, 6))
    for bands in ((0, 1, 2), (1, 2), ()):
        with pytest.raises(ConfigError, match="cannot serve as red, green, blue"):
            open_scene(path, CONTRACT, bands=bands)
    with pytest.raises(ContractError, match="2 bands"):
        open_scene(save(tmp_path / "two.tif", noise(2, 5, 5)), CONTRACT)
    with gdal(), rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp[c] for c in ("blue", "green", "red", "undefined", "undefined")]
    with open_scene(path, CONTRACT) as scene:
        assert (whole(scene)[0] == pixels[[2, 1, 0]]).all()


def test_deep_scenes_have_one_recorded_stretch_for_all_tiles(tmp_path):
    pixels = noise(3, 90, 90, np.uint16, 3000)
    with open_scene(save(tmp_path / "deep.tif", pixels), CONTRACT) as scene:
        assert scene.stretch is not None
        assert (joined(scene, 32)[0] == scene.stretch.apply(pixels)).all()
        assert scene.raw_bytes == pixels.nbytes


def test_floats_without_a_value_are_nodata(tmp_path):
    pixels = noise(3, 40, 40).astype(np.float32) / 255
    pixels[1, :9] = np.nan
    pixels[2, 30:] = np.inf
    with open_scene(save(tmp_path / "f.tif", pixels), CONTRACT) as scene:
        served, valid = joined(scene, 32)
        assert not valid[:9].any()
        assert not valid[30:].any()
        assert valid[9:30].all()
        assert served[:, 9:30].std() > 50


def test_nodata_needs_all_chosen_bands(tmp_path):
    pixels = noise(3, 20, 30)
    pixels[:, :4] = 0
    pixels[0] = 0
    with open_scene(save(tmp_path / "n.tif", pixels, nodata=0), CONTRACT) as scene:
        assert (whole(scene)[1] == pixels.any(axis=0)).all()


@pytest.mark.parametrize(
    ("name", "gsd_m"),
    # Checked by hand from the pixel steps: radii of curvature at the latitude, Mercator and UTM scale factors.
    [("sea_reef_guadeloupe_0p6m_epsg3857", 0.5717), ("landsat7_bahamas_300m_utm18n", 299.87),
     ("ocean_clouds_saipan_epsg4326", 0.3264), ("land_california_epsg4326", 0.4361)],
)  # fmt: skip
def test_the_scale_is_in_true_metres_and_told_when_far_off(shared_data, name, gsd_m):
    with open_scene(shared_data / "geo" / f"{name}.tif", CONTRACT) as scene:
        assert scene.gsd_m == pytest.approx(gsd_m, rel=1e-3)
        assert any("m a pixel" in warning for warning in scene.warnings)


def test_without_a_place_on_earth_the_argument_is_the_scale(tmp_path):
    path = save(tmp_path / "a.tif", noise(3, 40, 40))
    with open_scene(path, CONTRACT, gsd_m=1.6) as scene:
        assert scene.gsd_m == 1.6
        assert scene.warnings == ()
    geo = save(tmp_path / "geo.tif", noise(3, 40, 40), **UTM)
    with open_scene(geo, CONTRACT, gsd_m=3.0) as scene:
        assert scene.gsd_m == pytest.approx(1.5, rel=1e-3)
        assert "ignored" in scene.warnings[0]
    for wrong in (0, -1.5, float("nan")):
        with pytest.raises(ConfigError, match="ground sampling distance"):
            open_scene(path, CONTRACT, gsd_m=wrong)


def test_coordinates_off_the_globe_are_no_scale_and_no_fault(tmp_path):
    places = {
        "projection": (32631, Affine(1.5, 0, 5e9, 0, -1.5, 6e6)),
        "latitude": (4326, Affine(1e-5, 0, 5.0, 0, -1e-5, 91.0)),
        "longitude": (4326, Affine(1e-5, 0, 5e5, 0, -1e-5, 50.0)),
    }
    for name, (crs, transform) in places.items():
        path = save(tmp_path / f"{name}.tif", noise(3, 40, 40), crs=CRS.from_epsg(crs), transform=transform)
        with open_scene(path, CONTRACT, gsd_m=1.6) as scene:
            assert scene.gsd_m == 1.6
            assert "without a known place" in scene.warnings[0]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([0.3, 0.62, 1.1, 2.2, 4.0]), st.sampled_from([16, 48, 80]))
def test_resampling_has_no_seams(tmp_path, gsd_m, tile_size):
    pixels = noise(3, 120, 170)
    pixels[:, 30:60, 30:60] = 0
    path = save(tmp_path / "a.tif", pixels, nodata=0)
    with open_scene(path, CONTRACT, gsd_m=gsd_m, resample=True) as scene:
        assert scene.gsd_m == 1.5
        assert scene.rows == round(120 * gsd_m / 1.5)
        served, valid = whole(scene)
        tiled, tiled_valid = joined(scene, tile_size)
        assert (served == tiled).all()
        assert (valid == tiled_valid).all()
        # Nodata does not bleed: what is valid stays in the range of the valid input around it.
        assert served[:, valid].min() >= 1
        assert not valid.all()


def test_resampling_keeps_a_flat_field_a_ramp_and_the_place(tmp_path):
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8), (3, 100, 200)).copy()
    path = save(tmp_path / "r.tif", ramp, crs=UTM["crs"], transform=Affine(0.75, 0, 500000, 0, -0.75, 2000000))
    with open_scene(path, CONTRACT, resample=True) as scene:
        assert (scene.rows, scene.cols) == (50, 100)
        assert scene.transform.a == pytest.approx(1.5)
        assert (scene.transform.c, scene.transform.f) == (500000, 2000000)
        expected = np.arange(100) * 2 + 0.5
        assert abs(whole(scene)[0] - expected).max() <= 0.5
    with pytest.raises(ContractError, match="times finer"):
        open_scene(path, Contract(gsd_m=0.1), resample=True)


def jpeg_bytes():
    return simplejpeg.encode_jpeg(np.ascontiguousarray(noise(3, 64, 64).transpose(1, 2, 0)))


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.jpg", jpeg_bytes()[:2000]), ("no_end.jpg", jpeg_bytes()[:-1]), ("zero.jpg", b""),
     ("text.jpg", b"Dear reader"),
     ("text.tif", b"II*\0 and then some words"), ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0"),
     ("x.jp2", b"\xff\x4f\xff\x51\0")],
)  # fmt: skip
def test_files_that_are_no_image_are_refused_by_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageryError, match=name) as caught, open_scene(path, CONTRACT) as scene:
        list(scene.tiles(64, 0, 16))
    assert caught.value.remedy


@pytest.mark.parametrize(("driver", "name"), [("PNG", "a.png"), ("GTiff", "a.tif"), ("JP2OpenJPEG", "a.jp2")])
def test_files_cut_short_are_refused_by_name(tmp_path, driver, name):
    path = save(tmp_path / name, noise(3, 300, 300), driver)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageryError, match=name), open_scene(path, CONTRACT) as scene:
        list(scene.tiles(64, 0, 16))


def test_nothing_of_gdal_reaches_the_user(tmp_path):
    path = save(tmp_path / "a.png", noise(3, 300, 300), "PNG")
    path.write_bytes(path.read_bytes()[:90000])
    code = (
        "import sys; from pathlib import Path; from taran_eo.imagery import *\n"
        "try:\n    list(open_scene(Path(sys.argv[1]), Contract()).tiles(64, 0, 16))\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "a.png" in done.stdout
    assert done.stderr == ""


def test_bombs_are_refused_before_they_are_opened_up(tmp_path):
    side = 60000
    sparse = {"height": side, "width": side, "count": 3, "dtype": "uint8", "driver": "GTiff", "sparse_ok": True}
    for name, profile in (
        ("tiled.tif", {"tiled": True, "compress": "deflate"}),
        ("strip.tif", {"blockysize": side, "compress": "deflate", "bigtiff": "yes"}),
    ):
        with gdal(), rasterio.open(tmp_path / name, "w", **sparse, **profile):
            pass
    png = bytearray(save(tmp_path / "a.png", noise(3, 8, 8), "PNG").read_bytes())
    png[16:24] = side.to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(png)
    jpeg = bytearray(jpeg_bytes())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = side.to_bytes(2, "big") * 2
    (tmp_path / "bomb.jpg").write_bytes(jpeg)
    for name in ("tiled.tif", "strip.tif", "bomb.png", "bomb.jpg"):
        with pytest.raises(ImageryError, match=name):
            open_scene(tmp_path / name, CONTRACT)


def test_every_real_tile_opens(shared_data):
    paths = find_scenes([shared_data / "airbus" / "val", shared_data / "geo"])
    assert len(paths) == 25
    for path in paths:
        with open_scene(path, CONTRACT) as scene:
            tile = next(scene.tiles(256, 112, 16))
            assert tile.pixels.any()


def test_folders_are_searched_and_what_is_missing_is_named(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(ImageryError, match="holds no image"):
        find_scenes([tmp_path])
    for name in ("B.JPG", "c.tiff", "notes.txt", ".hidden.png"):
        (deep / name).touch()
    found = find_scenes([tmp_path, deep / "B.JPG", deep / "notes.txt"])
    assert [path.name for path in found] == ["B.JPG", "c.tiff", "notes.txt"]
    with pytest.raises(ImageryError, match="does not exist"):
        find_scenes([tmp_path / "nowhere"])
    with pytest.raises(TaranError, match="cannot be read"):
        open_scene(tmp_path / "nowhere.jpg", CONTRACT)
