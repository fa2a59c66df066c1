"""How good a model is on labelled imagery: the on-board path, scored."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taran_eo.engines import Engine
from taran_eo.errors import ContractError
from taran_eo.gate import Gate, halo_of
from taran_eo.graph import Graph
from taran_eo.imagery import Contract, LabelledImage, open_scene
from taran_eo.metrics import GateTile, TileScore, score_gate, score_tile

Predict = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Pixels ``uint8[bands, rows, cols]`` to an answer ``[rows, cols]``: ship or not, or a logit."""

TILE = 768


def ships_by(engine: Engine, limit: int) -> Predict:
    """The predictor that says ship where an engine's logit is no less than `limit`."""

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        ship: NDArray[np.bool_] = engine.run(pixels)[0] >= limit
        return ship

    return predict


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


def score(answer: Prediction) -> TileScore:
    """Score a mask, ``bool[rows, cols]``, against the true ships."""
    return score_tile(answer.image.parts(), answer.said, answer.valid, gsd_m=answer.gsd_m)


@dataclass(frozen=True)
class Behind:
    """The scores of one image with and without a gate.

    Attributes:
        dense: Of the model by itself.
        gated: Of what is left of its answer behind the gate.
        gate: What the gate lets pass.
    """

    dense: TileScore
    gated: TileScore
    gate: GateTile


def score_looked(where: Prediction, model: Graph, gate: Gate) -> GateTile:
    """Hold what passes a gate, from `Gate.looked`, against the true ships, and against the price of a model."""
    rows, cols = (-(-side // model.alignment) * model.alignment for side in where.said.shape)
    macs, dense_macs = gate.macs(model, where.said), model.macs(rows, cols)
    return score_gate(where.image.parts(), where.said, where.valid, macs=macs, dense_macs=dense_macs)


def evaluate_gate(
    images: Sequence[LabelledImage],
    predict: Predict,
    model: Graph,
    gate: Gate,
    contract: Contract,
    *,
    bands: tuple[int, ...] | None = None,
    gsd_m: float | None = None,
    warn: Callable[[str], None] | None = None,
) -> Iterator[Behind]:
    """Score masks with and without a gate.

    On what passes, a model says behind a gate what it says without one: so it runs once, everywhere.

    Args:
        images: Each with its true ships.
        predict: The model, ship or not.
        model: Its graph.
        gate: The gate.
        contract: What both take as input.
        bands: See `answers`.
        gsd_m: See `answers`.
        warn: See `answers`.

    Raises:
        As `answers`.
    """
    read = partial(answers, images, contract=contract, alignment=model.alignment, bands=bands, gsd_m=gsd_m)
    found = read(predict=predict, halo=model.halo, warn=warn)
    looked = read(predict=gate.looked, halo=halo_of(model, gate.graph))
    for one, where in zip(found, looked, strict=True):
        yield Behind(score(one), score(replace(one, said=one.said & where.said)), score_looked(where, model, gate))
