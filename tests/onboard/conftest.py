"""A model that calls bright spots ships, and scenes with bright spots."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import simplejpeg
from rasterio import Affine

from taran_eo.formats import Integer, Scaling
from taran_eo.graph import Conv, Graph, MaxPool, Requantize, Tensor, Upsample
from taran_eo.imagery.contract import Contract
from taran_eo.model import Model


@pytest.fixture(scope="session")
def model():
    """Blurs, takes the brightest of 2 x 2, and compares: alignment 2, and a halo that matters."""
    byte, one = Integer(8, signed=False), np.array([1], np.int32)
    tensors = {
        name: Tensor(name, channels, level, fmt, Scaling.power_of_two(exponent))
        for name, channels, level, fmt, exponent in [
            ("pixels", 3, 0, byte, -8),
            ("blurred", 1, 0, byte, -4),
            ("brightest", 1, 1, byte, -4),
            ("spread", 1, 0, byte, -4),
            ("logits", 1, 0, Integer(32), -4),
        ]
    }
    ops = (
        Conv(
            "pixels",
            "blurred",
            np.ones((1, 3, 3, 3), np.int8),
            Integer(8),
            np.zeros(1, np.int32),
            Requantize(one, 5 * one),
        ),
        MaxPool("blurred", "brightest"),
        Upsample("brightest", "spread"),
        Conv("spread", "logits", np.ones((1, 1, 1, 1), np.int8), Integer(8), np.array([-120], np.int32), None),
    )
    graph = Graph("bright", tensors, ops, "pixels", "logits")
    return Model(Path("bright"), "bright", "1", "bright spots", graph, Contract(), ("sea", "ship"), 0.5)


def bright_spots(rows, cols, seed):
    """uint8[rows, cols, 3]: dim noise with bright rectangles of all sizes, some at the edges."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (rows, cols, 3), dtype=np.uint8)
    for _ in range(12):
        row, col = rng.integers(-5, rows), rng.integers(-5, cols)
        high, wide = rng.integers(3, 40, 2)
        image[max(row, 0) : row + high, max(col, 0) : col + wide] = rng.integers(150, 256)
    return image


@pytest.fixture
def write_jpeg():
    def write(path, *, rows=96, cols=80, seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(simplejpeg.encode_jpeg(bright_spots(rows, cols, seed), quality=95))
        return path

    return write


@pytest.fixture
def write_geotiff():
    def write(path, *, rows=200, cols=310, seed=0, crs="EPSG:32631"):
        image = np.moveaxis(bright_spots(rows, cols, seed), -1, 0).clip(1)
        image[:, 30:90, 120:180] = 0
        image[:, :, :40] = 0
        where = {"crs": crs, "transform": Affine(1.5, 0, 500_000, 0, -1.5, 6_000_000)}
        with rasterio.open(
            path, "w", driver="GTiff", height=rows, width=cols, count=3, dtype="uint8", nodata=0, **where
        ) as file:
            file.write(image)
        return path

    return write
