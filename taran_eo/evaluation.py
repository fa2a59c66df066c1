"""How good a model is on labelled imagery: the on-board path, scored."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ContractError
from taran_eo.imagery import Contract, LabelledImage, open_scene
from taran_eo.metrics import TileScore, score_tile

Predict = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Pixels ``uint8[bands, rows, cols]`` to ship or not ``bool[rows, cols]``."""

TILE = 768


def evaluate(
    images: Sequence[LabelledImage],
    predict: Predict,
    contract: Contract,
    *,
    halo: int,
    alignment: int,
    bands: tuple[int, ...] | None = None,
    gsd_m: float | None = None,
    tile_size: int = TILE,
    progress: Callable[[int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[TileScore]:
    """Score a predictor on labelled images, read and tiled as on board.

    Args:
        images: What to score on, each with its true ships.
        predict: The predictor.
        contract: What it takes as input.
        halo: Margin of a tile, in pixels.
        alignment: Rows and columns of a tile are multiples of this.
        bands: 1-based bands of the images in the contract's order, or a single one to be repeated; None chooses.
        gsd_m: Metres a pixel of images that do not tell; None takes the contract's.
        tile_size: Side of a tile in pixels.
        progress: Called with the number of images done.
        warn: Called with what the user should know about an image.

    Returns:
        The score of each image, in order; `taran_eo.metrics.aggregate` makes those of the set.

    Raises:
        ContractError: An image and its masks differ in size.
        ImageryError: An image cannot be read.
        CorruptDataError: A mask cannot be read.
        ConfigError: `bands` or `gsd_m` makes no sense.
    """
    tiles: list[TileScore] = []
    for image in images:
        with open_scene(image.path, contract, bands=bands, gsd_m=gsd_m) as scene:
            if (scene.rows, scene.cols) != (image.rows, image.cols):
                raise ContractError(
                    f"{image.path} has {scene.rows} x {scene.cols} pixels, its masks {image.rows} x {image.cols}",
                    remedy="Give the masks' size in the columns width and height of the table",
                    path=image.path,
                )
            if warn is not None:
                for warning in scene.warnings:
                    warn(warning)
            found = np.zeros((scene.rows, scene.cols), dtype=bool)
            valid = np.zeros_like(found)
            for tile in scene.tiles(tile_size, halo, alignment):
                inner = tile.core.relative_to(tile.window).slices
                found[tile.core.slices] = predict(tile.pixels)[inner]
                valid[tile.core.slices] = tile.valid[inner]
            resolution = contract.gsd_m if scene.gsd_m is None else scene.gsd_m
            tiles.append(score_tile(image.parts(), found, valid, gsd_m=resolution))
        if progress is not None:
            progress(len(tiles))
    return tiles
