"""Imagery: scenes in, masks out, window by window; in `taran_eo.imagery.synthetic`, scenes with known truth.

A `Scene` is opened against the input `Contract` of a model and cut into `Tile`s: chosen bands, 8 bits, pixels
without data zeroed and marked, the ground sampling distance known or asked for. Normalization is not here: it
is inside the graph. A `Mask` holds classes on the grid and is written in the scene's own georeference.
"""

from taran_eo.imagery.contract import Contract
from taran_eo.imagery.jpeg import read_jpeg
from taran_eo.imagery.labels import LabelledImage, read_labels
from taran_eo.imagery.mask import MASK_SUFFIX, NODATA, SEA, SHIP, Mask
from taran_eo.imagery.radiometry import Stretch
from taran_eo.imagery.rle import coco_decode, coco_encode, kaggle_decode, kaggle_encode
from taran_eo.imagery.scene import SUFFIXES, Scene, find_scenes, open_scene
from taran_eo.imagery.window import Tile, Window, cover
from taran_eo.imagery.writer import MaskWriter, RasterWriter, read_mask, write_mask

__all__ = [
    "MASK_SUFFIX",
    "NODATA",
    "SEA",
    "SHIP",
    "SUFFIXES",
    "Contract",
    "LabelledImage",
    "Mask",
    "MaskWriter",
    "RasterWriter",
    "Scene",
    "Stretch",
    "Tile",
    "Window",
    "coco_decode",
    "coco_encode",
    "cover",
    "find_scenes",
    "kaggle_decode",
    "kaggle_encode",
    "open_scene",
    "read_jpeg",
    "read_labels",
    "read_mask",
    "write_mask",
]
