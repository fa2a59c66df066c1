"""How good a model is on labelled imagery: the on-board path, scored."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.errors import ContractError
from taran_eo.imagery import Contract, LabelledImage, open_scene
from taran_eo.metrics import TileScore, score_tile

Predict = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Pixels ``uint8[bands, rows, cols]`` to an answer ``[rows, cols]``: ship or not, or a logit."""

TILE = 768


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a predictor said of a labelled image.

    Attributes:
        image: The image.
        said: ``[rows, cols]``, as the predictor gives it.
        valid: ``bool[rows, cols]``, False where there was nothing to see.
        gsd_m: Metres a pixel.
    """

    image: LabelledImage
    said: NDArray[Any]
    valid: NDArray[np.bool_]
    gsd_m: float


def answers(
    images: Iterable[LabelledImage],
    predict: Predict,
    contract: Contract,
    *,
    halo: int,
    alignment: int,
    bands: tuple[int, ...] | None = None,
    gsd_m: float | None = None,
    tile_size: int = TILE,
    warn: Callable[[str], None] | None = None,
) -> Iterator[Prediction]:
    """Run a predictor over labelled images, read and tiled as on board.

    Args:
        images: Each with its true ships.
        predict: The predictor.
        contract: What it takes as input.
        halo: Margin of a tile, in pixels.
        alignment: Rows and columns of a tile are multiples of this.
        bands: 1-based bands of the images in the contract's order, or a single one to be repeated; None chooses.
        gsd_m: Metres a pixel of images that do not tell; None takes the contract's.
        tile_size: Side of a tile in pixels.
        warn: Called with what the user should know about an image.

    Yields:
        One answer an image, in order.

    Raises:
        ContractError: An image and its masks differ in size.
        ImageryError: An image cannot be read.
        CorruptDataError: A mask cannot be read.
        ConfigError: `bands` or `gsd_m` makes no sense.
    """
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
            said: NDArray[Any] | None = None
            valid = np.zeros((scene.rows, scene.cols), dtype=bool)
            for tile in scene.tiles(tile_size, halo, alignment):
                inner = tile.core.relative_to(tile.window).slices
                answer = predict(tile.pixels)
                said = np.zeros_like(valid, dtype=answer.dtype) if said is None else said
                said[tile.core.slices] = answer[inner]
                valid[tile.core.slices] = tile.valid[inner]
            assert said is not None  # noqa: S101 - a scene has a tile
            yield Prediction(image, said, valid, contract.gsd_m if scene.gsd_m is None else scene.gsd_m)


def evaluate(found: Iterable[Prediction], progress: Callable[[int], None] | None = None) -> list[TileScore]:
    """Score masks against the true ships.

    Args:
        found: Predictions that are ship or not, ``bool[rows, cols]``.
        progress: Called with the number of images done.

    Returns:
        The score of each image, in order; `taran_eo.metrics.aggregate` makes those of the set.

    Raises:
        As `answers`, if they come from there.
    """
    tiles: list[TileScore] = []
    for answer in found:
        tiles.append(score_tile(answer.image.parts(), answer.said, answer.valid, gsd_m=answer.gsd_m))
        if progress is not None:
            progress(len(tiles))
    return tiles
