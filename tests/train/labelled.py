"""A small labelled data set of synthetic JPEG tiles, in the competition's layout."""

import csv

import numpy as np
import simplejpeg

from taran_eo.imagery.synthetic import synthesize


def write_tiles(folder, count=6, size=96, seed=5, first=0):
    """Write `count` tiles, numbered from `first`, every second one without ships, and their table: (images, masks)."""
    images, masks = folder / "train_v2", folder / "train_ship_segmentations_v2.csv"
    images.mkdir(parents=True)
    with masks.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", "EncodedPixels", "width", "height"])
        for number in range(first, first + count):
            rng = np.random.default_rng([seed, number])
            ships = 0 if number % 2 else 4
            scene = synthesize(size, size, rng=rng, ships=ships, land=False, cloudy=False, swath_edge=False)
            name = f"{number:08x}.jpg"
            (images / name).write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(scene.image), quality=90))
            rows = [ship.kaggle(size) for ship in scene.ships] or [""]
            table.writerows([name, text, size, size] for text in rows)
    return images, masks


RECIPE = """
name = "small"
question = "Does the loop work?"
seed = 3
[network]
width = 4
depth = 2
[[source]]
images = "{images}"
masks = "{masks}"
ship_share = 0.6
empty_share = 0.4
paste = true
[schedule]
steps = 6
batch = 2
crop = 64
precision = "float32"
average = 0.5
"""

QUANTIZATION = """
[quantization]
calibration = 2
"""

PUBLICATION = """
[[held_out]]
name = "here"
images = "{images}"
masks = "{masks}"
[publication]
folder = "{folder}"
version = "0.0.1"
notes = "{notes}"
"""


def quantized(recipe, start):
    """The text of a recipe that trains the weights `start` of another on, quantized."""
    return f'start = "{start}"\n' + recipe.replace('"small"', '"small_e2m3"') + QUANTIZATION
