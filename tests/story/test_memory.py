"""Memory is bounded by the tiles: eight times the scene costs nothing more."""

import subprocess
import sys

import numpy as np
import pytest
import rasterio

from taran_eo.imagery import Contract
from taran_eo.model import save
from tests.graph.networks import random_unet

COLS, SMALL_ROWS, LARGE_ROWS = 1024, 768, 6144
# GDAL may keep 128 MiB, which would hold either scene; with as good as none, what grows is ours.
SCRIPT = """
from pathlib import Path
from taran_eo.imagery import source
from taran_eo.model import Model
from taran_eo.onboard import Options, run
source.GDAL_CACHE_BYTES = 2**20
model = Model.open(Path("model"))
for scene in ("small", "large"):
    summary = run([Path(f"{scene}.tif")], Path(scene), model, engine="reference", options=Options(tile_size=256))
    assert not summary.skipped
    print(summary.peak_rss_mib)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory is read in /proc")
def test_peak_memory_does_not_grow_with_the_scene(tmp_path):
    for name, rows in (("small", SMALL_ROWS), ("large", LARGE_ROWS)):
        size = {"height": rows, "width": COLS, "count": 3, "dtype": "uint8"}
        where = {"crs": "EPSG:32631", "transform": rasterio.Affine(1.5, 0, 500_000, 0, -1.5, 4_750_000)}
        rasterio.open(tmp_path / f"{name}.tif", "w", driver="GTiff", tiled=True, **size, **where).close()
    rng = np.random.default_rng(0)
    save(
        tmp_path / "model",
        name="small",
        version="1",
        task="none",
        graph=random_unet(rng, width=1, depth=0),
        contract=Contract(),
        classes=("sea", "ship"),
        threshold=0.999,
        golden_pixels=rng.integers(0, 256, (1, 3, 16, 16), np.uint8),
        card="",
    )
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True)
    small_mib, large_mib = map(float, done.stdout.split())
    # Less than one byte for each pixel that the larger scene has more; its labels alone would take that.
    assert large_mib - small_mib < (LARGE_ROWS - SMALL_ROWS) * COLS / 2**20
